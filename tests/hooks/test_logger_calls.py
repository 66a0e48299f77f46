"""What a logger is told, and when; and what the metrics tables hold in the hooks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.loggers import Logger

from .recorder import RecordingData, make_trainer

Row = tuple[int | None, dict[str, float]]


class Rows(Logger):
    """Keeps the rows of metrics and the other calls."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.calls: list[Any] = []

    @property
    def name(self) -> str:
        return "rows"

    @property
    def version(self) -> int:
        return 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append((step, {name: round(float(value), 4) for name, value in metrics.items()}))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.calls.append(("log_hyperparams", dict(params)))

    def finalize(self, status: str) -> None:
        self.calls.append(("finalize", status))

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        self.calls.append("after_save_checkpoint")


class Logs(pl.LightningModule):
    """Logs the number of the training batch (from 1 on) and ten times that of the evaluation batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.n_trained = 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.n_trained += 1
        value = float(self.n_trained)
        self.log("last", value)
        self.log("mean", value, on_step=False, on_epoch=True)
        self.log("both", value, on_step=True, on_epoch=True, prog_bar=True)
        return self.layer(batch).mean()

    def validation_step(self, batch: torch.Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val", 10.0 * (batch_idx + 1) + 100 * dataloader_idx, prog_bar=True)

    def test_step(self, batch: torch.Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        value = 10.0 * (batch_idx + 1) + 100 * dataloader_idx
        self.log("test", value)
        self.log("test_both", value, on_step=True, on_epoch=True)


def fit(root: Path, module: pl.LightningModule, *, train: int, val: Any = 1, **options: Any) -> Rows:
    """The logger after one `fit` on `train` batches."""
    logger = Rows()
    trainer = make_trainer([], root, logger=logger, **options)
    trainer.fit(module, datamodule=RecordingData([], train=train, val=val))
    return logger


def step_row(step: int, value: float, epoch: int) -> Row:
    return step, {"last": value, "both_step": value, "epoch": epoch}


def epoch_rows(step: int, value: float, epoch: int) -> list[Row]:
    """The rows of the validation and of the training epoch."""
    return [
        (step, {"val": 10.0, "epoch": epoch}),
        (step, {"mean": value, "both_epoch": value, "epoch": epoch}),
    ]


def test_rows_of_every_step(tmp_path: Path) -> None:
    """A row is named after the number of steps before it."""
    logger = fit(tmp_path, Logs(), train=4, max_epochs=2, log_every_n_steps=1)
    assert logger.rows == [
        *(step_row(step, step + 1, 0) for step in range(4)),
        *epoch_rows(3, 2.5, 0),
        *(step_row(step, step + 1, 1) for step in range(4, 8)),
        *epoch_rows(7, 6.5, 1),
    ]


def test_rows_of_every_third_step(tmp_path: Path) -> None:
    """The count goes on over the epochs; epoch rows are not subject to it."""
    logger = fit(tmp_path, Logs(), train=4, max_epochs=2, log_every_n_steps=3)
    assert logger.rows == [
        *(step_row(2, 3, 0), *epoch_rows(3, 2.5, 0)),
        *(step_row(5, 6, 1), *epoch_rows(7, 6.5, 1)),
    ]


def test_rows_of_accumulated_steps(tmp_path: Path) -> None:
    """Five batches in windows of two: each row has the value of the window's last batch."""
    logger = fit(tmp_path, Logs(), train=5, max_epochs=2, log_every_n_steps=1, accumulate_grad_batches=2)
    assert logger.rows == [
        *(step_row(0, 2, 0), step_row(1, 4, 0), step_row(2, 5, 0), *epoch_rows(2, 3.0, 0)),
        *(step_row(3, 7, 1), step_row(4, 9, 1), step_row(5, 10, 1), *epoch_rows(5, 8.0, 1)),
    ]


def test_rows_of_validations_within_the_epoch(tmp_path: Path) -> None:
    logger = fit(tmp_path, Logs(), train=4, val_check_interval=2, log_every_n_steps=1)
    val = {"val": 10.0, "epoch": 0}
    assert logger.rows == [
        *(step_row(0, 1, 0), step_row(1, 2, 0), (1, val)),
        *(step_row(2, 3, 0), step_row(3, 4, 0), *epoch_rows(3, 2.5, 0)),
    ]


def test_sanity_check_is_not_logged(tmp_path: Path) -> None:
    with_check = fit(tmp_path, Logs(), train=2, num_sanity_val_steps=1, log_every_n_steps=1)
    assert with_check.rows == fit(tmp_path, Logs(), train=2, log_every_n_steps=1).rows


def test_several_loaders_get_a_suffix_each(tmp_path: Path) -> None:
    logger = fit(tmp_path, Logs(), train=1, val=(1, 2))
    assert logger.rows[0] == (0, {"val/dataloader_idx_0": 10.0, "val/dataloader_idx_1": 115.0, "epoch": 0})


@pytest.mark.parametrize(
    ("test", "returned"),
    [
        (2, [{"test": 15.0, "test_both_epoch": 15.0}]),
        (
            (1, 2),
            [
                {"test/dataloader_idx_0": 10.0, "test_both_epoch/dataloader_idx_0": 10.0},
                {"test/dataloader_idx_1": 115.0, "test_both_epoch/dataloader_idx_1": 115.0},
            ],
        ),
    ],
)
def test_test_returns_and_logs_the_means_at_the_present_step(
    tmp_path: Path, test: int | tuple[int, ...], returned: list[dict[str, float]]
) -> None:
    logger = Rows()
    trainer = make_trainer([], tmp_path, logger=logger, max_epochs=2)
    module, data = Logs(), RecordingData([], train=2, test=test)
    trainer.fit(module, datamodule=data)
    logger.rows.clear()
    assert trainer.test(module, datamodule=data, verbose=False) == returned

    means = {name: value for of_loader in returned for name, value in of_loader.items()}
    assert logger.rows[-1] == (4, {**means, "epoch": 2})
    assert "epoch" not in {name for _, row in logger.rows[:-1] for name in row}  # those of single batches


class Look(pl.Callback):
    """Keeps `callback_metrics` of each batch, and all three tables of later hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[tuple[Any, ...]] = []

    def look(self, hook: str, *tables: Mapping[str, Any]) -> None:
        self.tables.append((hook, *({name: float(table[name]) for name in table} for table in tables)))

    def look_at_all(self, hook: str, trainer: pl.Trainer) -> None:
        self.look(hook, trainer.callback_metrics, trainer.logged_metrics, trainer.progress_bar_metrics)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.look("on_train_batch_end", trainer.callback_metrics)

    def on_validation_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.look_at_all("on_validation_end", trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.look_at_all("on_train_epoch_end", trainer)


def test_tables_seen_by_callbacks(tmp_path: Path) -> None:
    """`both` is the last value until the epoch is over, then the mean; it is logged by its two names."""
    look = Look()
    trainer = make_trainer([], tmp_path, callbacks=[look], log_every_n_steps=1)
    trainer.fit(Logs(), datamodule=RecordingData([], train=2, val=2))
    assert look.tables == [
        ("on_train_batch_end", {"last": 1, "both": 1, "both_step": 1}),
        ("on_train_batch_end", {"last": 2, "both": 2, "both_step": 2}),
        (
            "on_validation_end",
            {"last": 2, "both": 2, "both_step": 2, "val": 15},
            {"last": 2, "both_step": 2, "val": 15},
            {"both_step": 2, "val": 15},
        ),
        (
            "on_train_epoch_end",
            {"last": 2, "both": 1.5, "both_step": 2, "both_epoch": 1.5, "mean": 1.5, "val": 15},
            {"last": 2, "both_step": 2, "both_epoch": 1.5, "mean": 1.5, "val": 15},
            {"both_step": 2, "both_epoch": 1.5, "val": 15},
        ),
    ]


def test_tables_after_test_hold_its_values_alone(tmp_path: Path) -> None:
    trainer = make_trainer([], tmp_path)
    module, data = Logs(), RecordingData([], test=2)
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
    assert dict(trainer.callback_metrics) == {"test": 15.0, "test_both": 15.0, "test_both_epoch": 15.0}


class WithHyperparameters(Logs):
    """Two hyperparameters."""

    def __init__(self, width: int = 3, kind: str = "wide") -> None:
        super().__init__()
        self.save_hyperparameters()


def test_logger_is_told_hyperparameters_saves_and_the_end(tmp_path: Path) -> None:
    logger = fit(tmp_path, WithHyperparameters(), train=2, enable_checkpointing=True)
    assert logger.calls == [
        ("log_hyperparams", {"width": 3, "kind": "wide"}),
        "after_save_checkpoint",
        ("finalize", "success"),
    ]


def test_logger_is_told_of_no_hyperparameters_when_there_are_none(tmp_path: Path) -> None:
    assert fit(tmp_path, Logs(), train=2).calls == [("finalize", "success")]


def test_logger_is_told_of_a_failure(tmp_path: Path) -> None:
    class Fails(Logs):
        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            raise ValueError("bad batch")

    logger = Rows()
    trainer = make_trainer([], tmp_path, logger=logger)
    with pytest.raises(ValueError, match="bad batch"):
        trainer.fit(Fails(), datamodule=RecordingData([]))
    assert logger.calls == [("finalize", "failed")]
