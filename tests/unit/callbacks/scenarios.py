"""A module that logs what it is told to, and a trainer without anything that a test does not ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.core.logger import Logger


class Scripted(pl.LightningModule):
    """Logs `train_loss` (the number of updates so far) per batch, and one of `val_losses` per validation."""

    def __init__(
        self,
        val_losses: Sequence[float] = (),
        *,
        fails_at: int | None = None,
        error: BaseException | None = None,
    ) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.val_losses = list(val_losses)
        self.validations = 0
        self.fails_at = fails_at
        self.error = error or RuntimeError("scripted")

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.log("train_loss", float(self.trainer.global_step))
        if self.trainer.global_step == self.fails_at:
            raise self.error
        return self.layer(batch[0]).pow(2).mean()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        if self.val_losses:
            self.log("val_loss", self.val_losses[self.validations % len(self.val_losses)])

    def on_validation_end(self) -> None:
        self.validations += not self.trainer.sanity_checking

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        pass

    def predict_step(self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0) -> int:
        return 10 * dataloader_idx + batch_idx

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class MemoryLogger(Logger):
    """Keeps what it is given."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.rows: list[tuple[int | None, dict[str, float]]] = []
        self.checkpoints_seen: list[str] = []

    @property
    def name(self) -> str:
        return "memory"

    @property
    def version(self) -> int:
        return 3

    @property
    def save_dir(self) -> str | None:
        return None if self.folder is None else str(self.folder)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        self.checkpoints_seen.append(Path(checkpoint_callback.best_model_path).name)


def batches(count: int = 4) -> DataLoader:
    """A loader of `count` batches of one sample."""
    return DataLoader(TensorDataset(torch.zeros(count, 2)), batch_size=1)


def make_trainer(root: Path, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    """A quiet trainer on the CPU."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    defaults = {"accelerator": "cpu", "max_epochs": 3, "num_sanity_val_steps": 0, "log_every_n_steps": 1}
    if not any(callback.saves_checkpoints for callback in callbacks):
        defaults["enable_checkpointing"] = False
    return pl.Trainer(default_root_dir=root, callbacks=list(callbacks), **(quiet | defaults | options))


def fit(root: Path, *callbacks: pl.Callback, module: Scripted | None = None, **options: Any) -> pl.Trainer:
    """A trainer after three epochs of four batches, or as `options` says."""
    trainer = make_trainer(root, *callbacks, **options)
    trainer.fit(module or Scripted((3, 1, 2, 0.5, 1.5)), batches(), batches(1))
    return trainer


def names(folder: Path | str) -> list[str]:
    """The files below a folder that are not hidden; links with what they point to."""
    found = []
    for path in sorted(path for path in Path(folder).rglob("*") if not path.name.startswith(".")):
        if path.is_symlink():
            found.append(f"{path.relative_to(folder)} -> {path.readlink()}")
        elif path.is_file():
            found.append(str(path.relative_to(folder)))
    return found
