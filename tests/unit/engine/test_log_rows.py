"""The exact rows that loggers get, when they get them, and the history of a fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from torch import Tensor

import fulmen as pl
from fulmen.engine.history import History

from .small import Rows, Small, batches, callback, fit, make_trainer, small

Row = tuple[int | None, dict[str, float]]


class Logs(Small):
    """In training the number of the batch since the beginning; in evaluation ten times that of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.trained = 0

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        self.trained += 1
        value = float(self.trained)
        self.log("ts", value)
        self.log("te", value, on_step=False, on_epoch=True)
        self.log("tb", value, on_step=True, on_epoch=True)
        return self(batch).mean()

    def validation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        value = 10.0 * (batch_idx + 1) + 100 * dataloader_idx
        self.log("vs", value, on_step=True, on_epoch=False)
        self.log("ve", value)
        self.log("vb", value, on_step=True, on_epoch=True)

    test_step = validation_step


def rows(root: Path, module: Small | None = None, **options: Any) -> list[Row]:
    logger = Rows()
    fit(root, module or Logs(), **{"val": 1, "logger": logger, **options})
    return logger.rows


def t(step: int, value: float, epoch: int) -> Row:
    return step, {"ts": value, "tb_step": value, "epoch": epoch}


def v(step: int) -> Row:
    return step, {"vs": 10, "vb_step": 10}


def epoch(step: int, mean: float, epoch: int) -> list[Row]:
    """The rows of the one validation, and of the training epoch after it."""
    return [
        (step, {"ve": 10, "vb_epoch": 10, "epoch": epoch}),
        (step, {"te": mean, "tb_epoch": mean, "epoch": epoch}),
    ]


def test_every_step(tmp_path: Path) -> None:
    assert rows(tmp_path, train=4, max_epochs=2) == [
        *(t(0, 1, 0), t(1, 2, 0), t(2, 3, 0), t(3, 4, 0), v(0), *epoch(3, 2.5, 0)),
        *(t(4, 5, 1), t(5, 6, 1), t(6, 7, 1), t(7, 8, 1), v(1), *epoch(7, 6.5, 1)),
    ]


def test_every_third_step(tmp_path: Path) -> None:
    """Rows of evaluation steps and of epochs are not subject to `log_every_n_steps`."""
    assert rows(tmp_path, train=4, max_epochs=2, log_every_n_steps=3) == [
        *(t(2, 3, 0), v(0), *epoch(3, 2.5, 0)),
        *(t(5, 6, 1), v(1), *epoch(7, 6.5, 1)),
    ]


@pytest.mark.parametrize("every", [0, 50, None])
def test_no_steps(tmp_path: Path, every: int | None) -> None:
    """The default is 50; 0 is never."""
    assert rows(tmp_path, train=4, max_epochs=2, log_every_n_steps=every) == [
        *(v(0), *epoch(3, 2.5, 0)),
        *(v(1), *epoch(7, 6.5, 1)),
    ]


def test_accumulated_steps(tmp_path: Path) -> None:
    """A step's row has the value of the last batch of its window; the epoch's mean has all batches."""
    assert rows(tmp_path, train=5, max_epochs=2, accumulate_grad_batches=2) == [
        *(t(0, 2, 0), t(1, 4, 0), t(2, 5, 0), v(0), *epoch(2, 3, 0)),
        *(t(3, 7, 1), t(4, 9, 1), t(5, 10, 1), v(1), *epoch(5, 8, 1)),
    ]


def test_every_second_accumulated_step(tmp_path: Path) -> None:
    found = rows(tmp_path, train=4, max_epochs=2, accumulate_grad_batches=2, log_every_n_steps=2)
    assert found == [*(t(1, 4, 0), v(0), *epoch(1, 2.5, 0)), *(t(3, 8, 1), v(1), *epoch(3, 6.5, 1))]


def test_validations_within_accumulation_windows(tmp_path: Path) -> None:
    """They stand at the step that the window will be."""
    found = rows(tmp_path, train=6, accumulate_grad_batches=3, val_check_interval=1)
    assert [step for step, row in found if "ve" in row] == [0, 0, 0, 1, 1, 1]
    assert [step for step, row in found if "te" in row] == [1]


def test_validation_within_the_epoch(tmp_path: Path) -> None:
    of_validation = {"ve": 10, "vb_epoch": 10, "epoch": 0}
    assert rows(tmp_path, train=4, val_check_interval=2) == [
        *(t(0, 1, 0), t(1, 2, 0), v(0), (1, of_validation)),
        *(t(2, 3, 0), t(3, 4, 0), v(1), *epoch(3, 2.5, 0)),
    ]


def test_sanity_check_writes_nothing_and_shifts_nothing(tmp_path: Path) -> None:
    assert rows(tmp_path, num_sanity_val_steps=1) == rows(tmp_path)


def test_manual_steps_count_batches(tmp_path: Path) -> None:
    """Two optimizers, two updates a batch; the logger's step is that of the batch."""

    class Manual(Logs):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            super().training_step(batch, batch_idx)
            for optimizer in self.optimizers():
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(2)]

    logger = Rows()
    trainer = fit(tmp_path, Manual(), logger=logger)
    assert logger.named("ts") == [(0, 1), (1, 2)]
    assert trainer.global_step == 4


def test_batches_without_a_loss_are_logged_as_usual(tmp_path: Path) -> None:
    class Skips(Logs):
        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            super().training_step(batch, batch_idx)

    assert rows(tmp_path, Skips()) == rows(tmp_path)


@pytest.mark.parametrize("every", [1, 2, 50])
def test_steps_of_several_evaluation_loaders_count_by_themselves(tmp_path: Path, every: int) -> None:
    first, second = "/dataloader_idx_0", "/dataloader_idx_1"
    found = rows(tmp_path, val=[batches(1), batches(2)], max_epochs=2, log_every_n_steps=every)
    found = [row for row in found if "ts" not in row[1]]
    steps = [row for row in found if "epoch" not in row[1]]
    assert steps == [
        *((0, {f"vs{first}": 10, f"vb_step{first}": 10}), (0, {f"vs{second}": 110, f"vb_step{second}": 110})),
        (1, {f"vs{second}": 120, f"vb_step{second}": 120}),
        *((1, {f"vs{first}": 10, f"vb_step{first}": 10}), (2, {f"vs{second}": 110, f"vb_step{second}": 110})),
        (3, {f"vs{second}": 120, f"vb_step{second}": 120}),
    ]
    (of_first_epoch, _) = [row for row in found if f"ve{first}" in row[1]]
    assert of_first_epoch == (
        1,
        {
            f"ve{first}": 10,
            f"vb_epoch{first}": 10,
            f"ve{second}": 115,
            f"vb_epoch{second}": 115,
            "epoch": 0,
        },
    )


@pytest.mark.parametrize("method", ["test", "validate"])
def test_evaluation_after_fit(tmp_path: Path, method: str) -> None:
    """The steps count anew; the means stand at the present step and epoch."""
    logger, module = Rows(), Logs()
    trainer = fit(tmp_path, module, max_epochs=2, logger=logger, val=1)
    logger.rows.clear()
    getattr(trainer, method)(module, batches(2), verbose=False)
    assert logger.rows == [
        *(v(0), (1, {"vs": 20, "vb_step": 20})),
        (4, {"ve": 15, "vb_epoch": 15, "epoch": 2}),
    ]


def test_evaluation_before_any_training(tmp_path: Path) -> None:
    logger = Rows()
    make_trainer(tmp_path, logger=logger).test(Logs(), batches(1), verbose=False)
    assert logger.rows == [v(0), (0, {"ve": 10, "vb_epoch": 10, "epoch": 0})]


def test_one_row_for_all_that_a_batch_logs(tmp_path: Path) -> None:
    """In whatever hook, by whomever."""
    module = small(
        on_train_batch_start=lambda self, *args: self.log("start", 1.0),
        training_step=lambda self, *args: self.log("step", 2.0) or self.log("x", 2.5),
        on_before_optimizer_step=lambda self, *args: self.log("before", 3.0),
        on_train_batch_end=lambda self, *args: self.log("end", 4.0),
    )
    by_callback = callback(
        on_train_batch_end=lambda self, trainer, module, *args: module.log("callback", 5.0)
    )
    logger = Rows()
    fit(tmp_path, module, train=1, logger=logger, callbacks=[by_callback])
    assert logger.rows == [(2, {"start": 1, "x": 2.5, "before": 3, "end": 4, "callback": 5, "epoch": 0})]


def test_one_row_for_all_that_an_epoch_logs(tmp_path: Path) -> None:
    logger = Rows()
    module = small(
        on_train_start=lambda self: self.log("train_start", 1.0),
        on_train_epoch_start=lambda self: self.log("epoch_start", 2.0),
        on_train_epoch_end=lambda self: self.log("epoch_end", 3.0),
        validation_step=lambda self, batch, batch_idx: None,
        on_validation_start=lambda self: self.log("val_start", 4.0),
        on_validation_epoch_end=lambda self: self.log("val_end", 5.0),
    )
    fit(tmp_path, module, val=1, max_epochs=2, logger=logger)
    assert logger.rows == [
        (1, {"val_start": 4, "val_end": 5, "epoch": 0}),
        (1, {"train_start": 1, "epoch_start": 2, "epoch_end": 3, "epoch": 0}),
        (3, {"val_start": 4, "val_end": 5, "epoch": 1}),
        (3, {"epoch_start": 2, "epoch_end": 3, "epoch": 1}),
    ]


def test_what_only_the_bar_shows_is_not_logged(tmp_path: Path) -> None:
    logger = Rows()

    def training_step(self: Small, batch: Tensor, batch_idx: int) -> None:
        self.log("bar", 1.0, logger=False, prog_bar=True, on_step=True, on_epoch=True)

    trainer = fit(tmp_path, small(training_step=training_step), logger=logger)
    assert logger.rows == []
    assert dict(trainer.logged_metrics) == {}
    assert dict(trainer.progress_bar_metrics) == {"bar_step": 1.0, "bar_epoch": 1.0}
    assert set(trainer.callback_metrics) == {"bar", "bar_step", "bar_epoch"}


def test_the_name_step_replaces_the_axis_of_its_row(tmp_path: Path) -> None:
    logger = Rows()

    def training_step(self: Small, batch: Tensor, batch_idx: int) -> None:
        self.log("step", 100.0 + batch_idx)
        self.log("x", 1.0)

    trainer = fit(tmp_path, small(training_step=training_step), logger=logger)
    assert logger.rows == [(100, {"x": 1, "epoch": 0}), (101, {"x": 1, "epoch": 0})]
    assert float(trainer.callback_metrics["step"]) == 101


def test_the_name_epoch_replaces_the_epoch_of_its_row(tmp_path: Path) -> None:
    logger = Rows()

    def training_step(self: Small, batch: Tensor, batch_idx: int) -> None:
        self.log("epoch", 0.5)

    fit(tmp_path, small(training_step=training_step), logger=logger)
    assert logger.rows == [(0, {"epoch": 0.5}), (1, {"epoch": 0.5})]


def test_every_logger_gets_every_row(tmp_path: Path) -> None:
    """And rows of its own: what one logger does to its row is not seen by the others."""

    class Spoils(Rows):
        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            super().log_metrics(metrics, step)
            metrics.clear()

    loggers = [Spoils(), Rows()]
    trainer = fit(tmp_path, Logs(), val=1, logger=loggers)
    assert loggers[0].rows == loggers[1].rows == rows(tmp_path)
    assert trainer.loggers == loggers
    assert trainer.logger is loggers[0]


def test_loggers_are_called_by_keyword(tmp_path: Path) -> None:
    calls: list[Any] = []

    class Keywords(Rows):
        def log_metrics(self, *args: Any, **kwargs: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            calls.append((args, sorted(kwargs)))

    fit(tmp_path, Logs(), train=1, logger=Keywords())
    assert calls == [((), ["metrics", "step"])] * 2


def test_logger_is_told_before_and_after(tmp_path: Path) -> None:
    """Hyperparameters first, then everything that was logged before a checkpoint is saved, then the end."""

    class WithHyperparameters(Logs):
        def __init__(self, width: int = 3) -> None:
            super().__init__()
            self.save_hyperparameters()

    logger = Rows()
    fit(tmp_path, WithHyperparameters(), logger=logger, enable_checkpointing=True)
    assert logger.calls[0] == ("log_hyperparams", {"width": 3})
    assert "save" in logger.calls
    assert logger.calls[-1] == ("finalize", "success")


@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_logger_is_told_of_other_runs_too(tmp_path: Path, method: str) -> None:
    logger, module = Rows(), Logs()
    module.save_hyperparameters({"a": 1})
    trainer = make_trainer(tmp_path, logger=logger)
    getattr(trainer, method)(module, batches(1), **({} if method == "predict" else {"verbose": False}))
    assert logger.calls[0] == ("log_hyperparams", {"a": 1})
    assert logger.calls[-1] == ("finalize", "success")


class DataWithHyperparameters(pl.LightningDataModule):
    def __init__(self, **hparams: Any) -> None:
        super().__init__()
        self.save_hyperparameters(hparams)

    def train_dataloader(self) -> Any:
        return batches()


def logged_hparams(
    root: Path, of_module: dict[str, Any], of_data: dict[str, Any], **options: Any
) -> list[Any]:
    logger, module = Rows(), Small()
    module.save_hyperparameters(of_module)
    trainer = make_trainer(root, logger=logger, limit_val_batches=0, **options)
    trainer.fit(module, datamodule=DataWithHyperparameters(**of_data))
    return [call for call in logger.calls if "log_hyperparams" in call]


def test_hyperparameters_of_module_and_datamodule_are_merged(tmp_path: Path) -> None:
    assert logged_hparams(tmp_path, {"a": 1, "b": 2}, {"b": 2, "c": 3}) == [
        ("log_hyperparams", {"a": 1, "b": 2, "c": 3})
    ]


def test_hyperparameters_that_differ(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'b' differs"):
        logged_hparams(tmp_path, {"b": 1}, {"b": 2})


def test_hyperparameters_are_not_logged_where_that_is_off(tmp_path: Path) -> None:
    assert logged_hparams(tmp_path, {"a": 1}, {}, enable_autolog_hparams=False) == []


def test_hyperparameters_saved_without_logger(tmp_path: Path) -> None:
    logger, module = Rows(), Small()
    module.save_hyperparameters({"a": 1}, logger=False)
    fit(tmp_path, module, logger=logger)
    assert logger.calls == [("finalize", "success")]


def test_history_has_every_number_in_order(tmp_path: Path) -> None:
    result = make_trainer(tmp_path, max_epochs=2).fit(Logs(), batches(2), batches(1))
    assert result.history["ts"] == [(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)]
    assert result.history["ve"] == [(1, 10.0), (3, 10.0)]
    assert result.history["te"] == [(1, 1.5), (3, 3.5)]
    assert result.history["vs"] == [(0, 10.0), (1, 10.0)]
    assert result.history.names == ["ts", "tb_step", "vs", "vb_step", "ve", "vb_epoch", "te", "tb_epoch"]


def test_history_as_a_table(tmp_path: Path) -> None:
    result = make_trainer(tmp_path, limit_val_batches=0).fit(Logs(), batches(2))
    table = pandas.DataFrame(result.history)
    assert table.columns.tolist() == ["step", "name", "value"]
    assert len(table) == len(result.history) == 6  # ts and tb_step twice, te and tb_epoch once
    assert table[table["name"] == "ts"]["value"].tolist() == [1.0, 2.0]


def test_history_of_an_unknown_name() -> None:
    with pytest.raises(KeyError, match="nothing"):
        History()["nothing"]


def test_history_of_a_fit_that_logged_nothing(tmp_path: Path) -> None:
    history = make_trainer(tmp_path, limit_val_batches=0).fit(Small(), batches(2)).history
    assert (len(history), list(history), history.names) == (0, [], [])
