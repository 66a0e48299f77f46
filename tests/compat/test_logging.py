"""`self.log` as it was: where it went nowhere, where it is an error now, and what callbacks then see."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.callbacks import EarlyStopping
from fulmen.core.logger import Logger
from fulmen.metrics import MeanMetric

from .small import Small

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.OldSpelling")


class Rows(Logger):
    """Keeps the rows that it is given."""

    def __init__(self) -> None:
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    @property
    def name(self) -> str:
        return "rows"

    @property
    def version(self) -> int:
        return 0

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows.append((step, {name: value for name, value in metrics.items() if name != "epoch"}))

    def log_hyperparams(self, params: Any, *args: Any) -> None: ...


def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.ones(4, 3)), 2)


class Module(Small):
    def test_step(self, batch: Any, batch_idx: int) -> None: ...


def fit(module: Module, **arguments: Any) -> pl.Trainer:
    given = {"max_epochs": 2, "enable_checkpointing": False, "enable_progress_bar": False, "logger": Rows()}
    given |= {"num_sanity_val_steps": 0, "enable_model_summary": False, **arguments}
    trainer = pl.Trainer(**given)
    trainer.fit(module, loader(), loader())
    return trainer


HOOKS = {  # the steps that a logger is given in two epochs of two steps
    "prepare_data": [0],
    "setup": [0],
    "configure_optimizers": [0],
    "on_fit_start": [0],
    "on_pretrain_routine_end": [0],
    "on_validation_end": [1, 3],
    "on_train_end": [3],
    "on_fit_end": [3],
    "teardown": [3],
}


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_that_no_flush_follows(hook: str) -> None:
    def log(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.log("value", torch.tensor(5.0), prog_bar=True)
        return torch.optim.SGD(self.parameters(), lr=0.1)

    kind = type("Logging", (Module,), {hook: log})
    with pytest.warns(pl.compat.OldSpelling, match=r"self.log\('value'\) in `.*`, shown at once"):
        trainer = fit(kind(), compat="1.4")
    assert trainer.logger.rows == [(step, {"value": 5.0}) for step in HOOKS[hook]]
    assert trainer.callback_metrics == {"value": 5.0}
    assert trainer.progress_bar_metrics == {"value": 5.0}
    for declared in ({"compat": "1.5"}, {}):
        with pytest.raises(pl.errors.UsageError, match="logging has no meaning"):
            fit(kind(), **declared)


def test_a_hook_of_its_time_decides() -> None:
    class Old(Module):
        def on_train_epoch_end(self, outputs: Any) -> None: ...  # up to 1.2

        def on_validation_end(self) -> None:
            self.log("value", 2)

    assert fit(Old()).callback_metrics == {"value": 2.0}


def test_metrics_and_what_goes_to_nobody_but_callbacks() -> None:
    class Old(Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean = MeanMetric()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.mean.update(float(batch_idx))

        def on_validation_end(self) -> None:
            self.log("mean", self.mean, logger=False)
            self.log("several", torch.tensor([1.0, 2.0]), logger=False)

    trainer = fit(Old(), compat="1.3")
    assert trainer.callback_metrics == {"mean": 0.5, "several": 1.5}
    assert trainer.logger.rows == []


def test_a_callback_reads_at_once_what_another_logs_where_validation_ends() -> None:
    class Writing(pl.Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            pl_module.log("value", 1.0 + trainer.current_epoch)

    class Reading(pl.Callback):
        seen: list[float]

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            self.seen.append(float(trainer.callback_metrics["value"]))

    reading = Reading()
    reading.seen = []
    fit(Module(), compat="1.0", callbacks=[Writing(), reading])
    assert reading.seen == [1.0, 2.0]


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("training_step", {"on_step": False}),
        ("training_step", {"on_step": False, "on_epoch": False, "prog_bar": True}),
        ("validation_step", {"on_epoch": False}),
        ("on_train_start", {"on_epoch": False}),
    ],
)
def test_for_neither_steps_nor_epochs(method: str, arguments: dict[str, bool]) -> None:
    """Up to 1.4 nobody saw such values, and nobody was told."""

    def log(self: Any, *args: Any) -> Any:
        self.log("value", 1.0, **arguments)
        return super(kind, self).training_step(*args) if method == "training_step" else None

    kind = type("Logging", (Module,), {method: log})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = fit(kind(), compat="1.4")
    assert sum("nobody sees it" in str(warning.message) for warning in caught) == 1
    assert not trainer.callback_metrics
    assert not trainer.logger.rows
    assert not trainer.progress_bar_metrics
    with pytest.raises(pl.errors.UsageError, match="would log nothing"):
        fit(kind(), compat="1.5")


def test_predictions_of_a_time_when_plain_names_were_of_the_last_step() -> None:
    class Predicting(Module):
        def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: Any = None) -> int:
            return batch_idx

    trainer = pl.Trainer(compat="1.3", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    assert trainer.predict(Predicting(), loader()) == [0, 1]


@pytest.mark.parametrize("version", ["1.0", "1.3", "1.4", "2.6"])
def test_what_earlier_runs_of_a_trainer_logged(version: str) -> None:
    class Logging(Module):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("validated", 1.0, prog_bar=True)

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.log("tested", 2.0)

    trainer = pl.Trainer(
        compat=version, max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    module = Logging()
    trainer.fit(module, loader(), loader())
    assert trainer.test(module, loader(), verbose=False) == [{"tested": 2.0}]
    tables = (trainer.callback_metrics, trainer.logged_metrics, trainer.progress_bar_metrics)
    is_kept = version in ("1.0", "1.3")
    assert ["validated" in table for table in tables] == [is_kept] * 3
    assert trainer.callback_metrics["tested"] == 2.0


@pytest.mark.parametrize("version", ["1.0", "1.3", "1.4"])
def test_what_callbacks_see_of_values_of_steps_and_epochs(version: str) -> None:
    """By the plain name, up to 1.3 the last step's value, since then the epoch's mean."""

    class Old(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("a", 10.0 + batch_idx, on_step=True, on_epoch=True)
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log(
                "b", torch.tensor(20.0 + batch_idx + 5 * self.current_epoch), on_step=True, on_epoch=True
            )

    class Reading(pl.Callback):
        seen: list[float]

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            self.seen.append(float(trainer.callback_metrics["b"]))

    reading = Reading()
    reading.seen = []
    stopping = EarlyStopping("b", patience=1)
    trainer = fit(Old(), compat=version, callbacks=[reading, stopping])
    of_steps = version < "1.4"
    assert reading.seen == ([21.0, 26.0] if of_steps else [20.5, 25.5])
    assert stopping.best_score == (21.0 if of_steps else 20.5)
    assert trainer.callback_metrics["a"] == (11.0 if of_steps else 10.5)
    assert trainer.callback_metrics["a_epoch"] == 10.5
    assert trainer.callback_metrics["b_epoch"] == 25.5
