"""Under which names logged values appear, in which table, and until when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fulmen.errors import UsageError

from .small import Given, Rows, Small, batches, callback, fit, make_trainer, numbers, small


def log_all_ways(self: Small, prefix: str, value: float) -> None:
    self.log(f"{prefix}s", value, on_step=True, on_epoch=False)
    self.log(f"{prefix}e", value, on_step=False, on_epoch=True, prog_bar=True)
    self.log(f"{prefix}b", value, on_step=True, on_epoch=True, prog_bar=True)


class Logs(Small):
    """Logs a value per step, per epoch, and both ways: in training (t), validation (v) and test (x)."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        log_all_ways(self, "t", 4.0 * self.current_epoch + batch_idx + 1)
        return self(batch).mean()

    def validation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        log_all_ways(self, "v", 10.0 * (batch_idx + 1) + 100 * dataloader_idx)

    def test_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        log_all_ways(self, "x", 10.0 * (batch_idx + 1) + 100 * dataloader_idx)


def tables_in(root: Path, hook: str, *, val: Any = 2, **options: Any) -> list[tuple[dict[str, float], ...]]:
    """The three tables as a callback sees them, at each call of a hook."""
    seen: list[tuple[dict[str, float], ...]] = []

    def look(self: Any, trainer: Any, *args: Any) -> None:
        tables = (trainer.callback_metrics, trainer.logged_metrics, trainer.progress_bar_metrics)
        seen.append(tuple(map(numbers, tables)))

    fit(root, Logs(), val=val, callbacks=[callback(**{hook: look})], **options)
    return seen


def test_training_batches_and_what_persists_from_the_epoch_before(tmp_path: Path) -> None:
    first, second, third, fourth = tables_in(tmp_path, "on_train_batch_end", max_epochs=2, val=1)
    of_validation = {"ve": 10.0, "vb": 10.0, "vb_epoch": 10.0}
    of_epoch = {"te": 1.5, "tb_epoch": 1.5}
    assert first[0] == {"ts": 1, "tb": 1, "tb_step": 1}
    assert second[0] == {"ts": 2, "tb": 2, "tb_step": 2}
    assert third[0] == {"ts": 5, "tb": 5, "tb_step": 5, **of_epoch, **of_validation}
    assert fourth[0] == {"ts": 6, "tb": 6, "tb_step": 6, **of_epoch, **of_validation}


def test_readers_see_each_batch_however_seldom_it_is_flushed(tmp_path: Path) -> None:
    """The bar's numbers are on the host, so that they are as old as the last flush."""
    first, second = tables_in(tmp_path, "on_train_batch_end", log_every_n_steps=100)
    assert first == ({"ts": 1, "tb": 1, "tb_step": 1}, {"ts": 1, "tb_step": 1}, {})
    assert second == ({"ts": 2, "tb": 2, "tb_step": 2}, {"ts": 2, "tb_step": 2}, {})


def test_validation_batches_leave_callback_metrics_alone(tmp_path: Path) -> None:
    for table, *_ in tables_in(tmp_path, "on_validation_batch_end"):
        assert set(table) == {"ts", "tb", "tb_step"}


@pytest.mark.parametrize("hook", ["on_validation_epoch_end", "on_validation_end"])
def test_means_are_there_when_the_validation_epoch_ends(tmp_path: Path, hook: str) -> None:
    ((callback_metrics, _, _),) = tables_in(tmp_path, hook)
    assert callback_metrics == {"ts": 2, "tb": 2, "tb_step": 2, "ve": 15, "vb": 15, "vb_epoch": 15}


def test_all_tables_when_validation_is_over(tmp_path: Path) -> None:
    """`logged_metrics` never has the plain name of what is logged both ways."""
    ((_, logged, bar),) = tables_in(tmp_path, "on_validation_end")
    assert logged == {"ts": 2, "tb_step": 2, "vs": 20, "vb_step": 20, "ve": 15, "vb_epoch": 15}
    assert bar == {"tb_step": 2, "ve": 15, "vb_step": 20, "vb_epoch": 15}


def test_all_tables_when_the_training_epoch_ends(tmp_path: Path) -> None:
    ((callback_metrics, _, _),) = tables_in(tmp_path, "on_train_epoch_end")
    of_validation = {"ve": 15, "vb": 15, "vb_epoch": 15}
    assert callback_metrics == {"ts": 2, "te": 1.5, "tb": 1.5, "tb_step": 2, "tb_epoch": 1.5, **of_validation}


def test_tables_after_fit(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Logs(), val=2)
    assert numbers(trainer.callback_metrics) == {
        "ts": 2,
        "te": 1.5,
        "tb": 1.5,
        "tb_step": 2,
        "tb_epoch": 1.5,
        "ve": 15,
        "vb": 15,
        "vb_epoch": 15,
    }
    assert numbers(trainer.logged_metrics) == {
        "ts": 2,
        "te": 1.5,
        "tb_step": 2,
        "tb_epoch": 1.5,
        "vs": 20,
        "ve": 15,
        "vb_step": 20,
        "vb_epoch": 15,
    }
    assert numbers(trainer.progress_bar_metrics) == {
        "te": 1.5,
        "tb_step": 2,
        "tb_epoch": 1.5,
        "ve": 15,
        "vb_step": 20,
        "vb_epoch": 15,
    }
    assert all(isinstance(value, Tensor) for value in trainer.callback_metrics.values())
    assert all(isinstance(value, Tensor) for value in trainer.logged_metrics.values())


@pytest.mark.parametrize("every", [0, 1, 2, 3, 50])
def test_mean_stands_under_the_plain_name_when_the_epoch_is_over(tmp_path: Path, every: int) -> None:
    """Whether or not the last batch was one of those that are flushed: what monitors read is the mean."""
    ((callback_metrics, logged, bar),) = tables_in(
        tmp_path, "on_train_epoch_end", log_every_n_steps=every, val=1
    )
    assert callback_metrics["tb"] == callback_metrics["tb_epoch"] == 1.5
    assert callback_metrics["tb_step"] == 2
    assert (logged["tb_epoch"], bar["tb_epoch"]) == (1.5, 1.5)
    trainer = fit(tmp_path, Logs(), log_every_n_steps=every)
    assert numbers(trainer.callback_metrics)["tb"] == 1.5


def test_last_step_before_the_end_is_flushed_to_readers(tmp_path: Path) -> None:
    """Two steps and a flush every 50: the bar shows the last step nevertheless."""
    trainer = fit(tmp_path, Logs(), log_every_n_steps=50)
    assert numbers(trainer.callback_metrics)["ts"] == 2
    assert numbers(trainer.progress_bar_metrics)["tb_step"] == 2
    assert set(trainer.logged_metrics) == {"ts", "tb_step", "te", "tb_epoch"}


def test_tables_after_test_are_its_own(tmp_path: Path) -> None:
    module = Logs()
    trainer = fit(tmp_path, module, val=2)
    trainer.test(module, batches(), verbose=False)
    assert numbers(trainer.callback_metrics) == {"xe": 15, "xb": 15, "xb_epoch": 15}
    assert numbers(trainer.logged_metrics) == {"xs": 20, "xe": 15, "xb_step": 20, "xb_epoch": 15}
    assert numbers(trainer.progress_bar_metrics) == {"xe": 15, "xb_step": 20, "xb_epoch": 15}


def test_predict_empties_the_tables(tmp_path: Path) -> None:
    module = Logs()
    trainer = fit(tmp_path, module)
    trainer.predict(module, batches())
    assert (dict(trainer.callback_metrics), dict(trainer.logged_metrics)) == ({}, {})


def test_sanity_check_is_seen_at_its_end_and_then_forgotten(tmp_path: Path) -> None:
    ((at_end, *_),) = tables_in(tmp_path, "on_sanity_check_end", num_sanity_val_steps=2)
    assert at_end == {"ve": 15, "vb": 15, "vb_epoch": 15}
    (tables,) = tables_in(tmp_path, "on_train_start", num_sanity_val_steps=2)
    assert tables == ({}, {}, {})


def test_sanity_check_does_not_enter_the_first_validation(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Logs(), val=3, num_sanity_val_steps=1)
    assert float(trainer.callback_metrics["ve"]) == 20


def test_value_logged_at_the_end_of_an_epoch_is_seen_next(tmp_path: Path) -> None:
    """Logged by the module after the callbacks had their turn; those that monitor come after it."""
    seen: dict[str, bool] = {}

    def look(hook: str) -> Any:
        return lambda self, trainer, *args: seen.update({hook: "late" in trainer.callback_metrics})

    looking = callback(on_train_epoch_end=look("on_train_epoch_end"), on_train_end=look("on_train_end"))
    monitoring = callback(on_train_epoch_end=look("monitoring"))
    type(monitoring).monitors_metrics = True
    module = small(on_train_epoch_end=lambda self: self.log("late", 1.0))
    fit(tmp_path, module, callbacks=[looking, monitoring])
    assert seen == {"on_train_epoch_end": False, "monitoring": True, "on_train_end": True}


def test_value_logged_when_validation_ends_is_seen_at_its_very_end(tmp_path: Path) -> None:
    seen = []
    looking = callback(
        on_validation_end=lambda self, trainer, module: seen.append(dict(trainer.callback_metrics))
    )
    module = small(on_validation_epoch_end=lambda self: self.log("late", 1.0))
    fit(tmp_path, module, val=1, callbacks=[looking])
    assert seen == [{"late": 1.0}]


def test_each_of_several_loaders_has_its_names(tmp_path: Path) -> None:
    """The suffix comes last; each loader's mean is of its own batches."""
    module = Logs()
    trainer = make_trainer(tmp_path)
    trainer.validate(module, [batches(1), batches(2)], verbose=False)
    first, second = "/dataloader_idx_0", "/dataloader_idx_1"
    assert numbers(trainer.callback_metrics) == {
        f"ve{first}": 10,
        f"vb{first}": 10,
        f"vb_epoch{first}": 10,
        f"ve{second}": 115,
        f"vb{second}": 115,
        f"vb_epoch{second}": 115,
    }
    assert set(trainer.logged_metrics) == {
        f"{name}{suffix}" for name in ("vs", "ve", "vb_step", "vb_epoch") for suffix in (first, second)
    }
    assert set(trainer.progress_bar_metrics) == {
        f"{name}{suffix}" for name in ("ve", "vb_step", "vb_epoch") for suffix in (first, second)
    }


def test_one_loader_in_a_list_has_no_suffix(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    (returned,) = trainer.validate(Logs(), [batches(2)], verbose=False)
    assert returned == {"ve": 15.0, "vb_epoch": 15.0}


def test_what_several_loaders_return(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    first, second = trainer.test(Logs(), [batches(1), batches(2)], verbose=False)
    assert first == {"xe/dataloader_idx_0": 10.0, "xb_epoch/dataloader_idx_0": 10.0}
    assert second == {"xe/dataloader_idx_1": 115.0, "xb_epoch/dataloader_idx_1": 115.0}
    assert {type(value) for value in (*first.values(), *second.values())} == {float}


def test_loaders_told_apart_by_number_and_not_by_digit(tmp_path: Path) -> None:
    returned = make_trainer(tmp_path).test(Logs(), [batches(1) for _ in range(11)], verbose=False)
    assert [len(metrics) for metrics in returned] == [2] * 11
    assert returned[1] == {"xe/dataloader_idx_1": 110.0, "xb_epoch/dataloader_idx_1": 110.0}
    assert returned[10] == {"xe/dataloader_idx_10": 1010.0, "xb_epoch/dataloader_idx_10": 1010.0}


def test_suffix_in_batch_hooks_and_none_in_epoch_hooks(tmp_path: Path) -> None:
    """What is logged once for all loaders belongs to each of them in what `validate` returns."""

    def validation_step(self: Small, batch: Tensor, batch_idx: int, dataloader_idx: int) -> None:
        pass

    def on_validation_batch_end(
        self: Small, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.log("batch", float(dataloader_idx))

    module = small(
        validation_step=validation_step,
        on_validation_batch_end=on_validation_batch_end,
        on_validation_epoch_start=lambda self: self.log("start", 3.0),
        on_validation_epoch_end=lambda self: self.log("end", 4.0),
    )
    returned = make_trainer(tmp_path).validate(module, [batches(1), batches(1)], verbose=False)
    assert returned == [
        {"batch/dataloader_idx_0": 0.0, "start": 3.0, "end": 4.0},
        {"batch/dataloader_idx_1": 1.0, "start": 3.0, "end": 4.0},
    ]


def named_by_hand(names: list[str]) -> Small:
    def validation_step(self: Small, batch: Tensor, batch_idx: int, dataloader_idx: int) -> None:
        self.log(names[dataloader_idx], float(dataloader_idx), add_dataloader_idx=False)

    return small(validation_step=validation_step)


def test_without_the_suffix_each_loader_needs_a_name_of_its_own(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.validate(named_by_hand(["a", "b"]), [batches(1), batches(1)], verbose=False)
    assert numbers(trainer.callback_metrics) == {"a": 0.0, "b": 1.0}


@pytest.mark.parametrize("names", [["a", "a", "b"], ["a", "b", "b"], ["a", "b", "a"]])
def test_one_name_for_two_loaders(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(UsageError, match="add_dataloader_idx"):
        make_trainer(tmp_path).validate(named_by_hand(names), [batches(1)] * 3, verbose=False)


def test_log_dict_logs_each_entry(tmp_path: Path) -> None:
    def training_step(self: Small, batch: Tensor, batch_idx: int) -> None:
        values = {"a": 1.0 + batch_idx, "b": torch.tensor(2.0)}
        self.log_dict(values, prog_bar=True, on_step=True, on_epoch=True)

    trainer = fit(tmp_path, small(training_step=training_step))
    assert numbers(trainer.callback_metrics) == {
        "a": 1.5,
        "a_step": 2.0,
        "a_epoch": 1.5,
        "b": 2.0,
        "b_step": 2.0,
        "b_epoch": 2.0,
    }
    assert set(trainer.progress_bar_metrics) == {"a_step", "a_epoch", "b_step", "b_epoch"}


def test_names_may_contain_slashes(tmp_path: Path) -> None:
    module = small(training_step=lambda self, batch, batch_idx: self.log("train/loss", 1.0))
    assert numbers(fit(tmp_path, module).callback_metrics) == {"train/loss": 1.0}


def test_a_value_not_logged_in_an_epoch_keeps_what_it_was(tmp_path: Path) -> None:
    """Logged in the first epoch only: neither zero nor an empty mean takes its place."""

    def training_step(self: Small, batch: Tensor, batch_idx: int) -> None:
        if self.current_epoch == 0:
            self.log("first", 5.0, on_step=False, on_epoch=True)
        self.log("each", float(self.current_epoch), on_step=False, on_epoch=True)

    trainer = fit(tmp_path, small(training_step=training_step), max_epochs=2)
    assert numbers(trainer.callback_metrics) == {"first": 5.0, "each": 1.0}


def test_log_in_a_callback_through_the_module(tmp_path: Path) -> None:
    logging = callback(
        on_train_batch_end=lambda self, trainer, module, *args: module.log("c", 1.0, prog_bar=True)
    )
    trainer = fit(tmp_path, Small(), callbacks=[logging])
    assert numbers(trainer.callback_metrics) == numbers(trainer.progress_bar_metrics) == {"c": 1.0}


def test_callback_log_methods(tmp_path: Path) -> None:
    """Callbacks may call `self.log` and `self.log_dict` of their own, which mean the module's."""

    def on_train_batch_end(self: Any, *args: Any) -> None:
        self.log("own", 1.0)
        self.log_dict({"a": 2.0})

    trainer = fit(tmp_path, Small(), callbacks=[callback(on_train_batch_end=on_train_batch_end)])
    assert numbers(trainer.callback_metrics) == {"own": 1.0, "a": 2.0}


def test_names_come_in_the_order_of_their_first_values(tmp_path: Path) -> None:
    """In what `validate` returns, and in a row of the epoch; whichever hooks they are logged in."""

    def training_step(self: Small, batch: Tensor, batch_idx: int) -> None:
        self.log("t", 1.0, on_step=False, on_epoch=True)

    def validation_step(self: Small, batch: Tensor, batch_idx: int) -> None:
        self.log("z", 1.0)
        self.log("a", 1.0)

    def on_validation_epoch_end(self: Small) -> None:
        self.log("end", 1.0)

    def on_validation_epoch_start(self: Small) -> None:
        self.log("start", 1.0)

    def on_train_epoch_end(self: Small) -> None:
        self.log("b", 1.0)

    module = small(
        training_step=training_step, on_train_epoch_end=on_train_epoch_end, validation_step=validation_step,
        on_validation_epoch_end=on_validation_epoch_end, on_validation_epoch_start=on_validation_epoch_start,
    )  # fmt: skip
    rows = Rows()
    trainer = fit(tmp_path, module, val=2, logger=rows)
    order = ["start", "z", "a", "end"]
    assert [[name for name in row if name != "epoch"] for _, row in rows.rows] == [order, ["t", "b"]]
    assert list(trainer.validate(module, Given([torch.zeros(1, 1)]), verbose=False)[0]) == order
