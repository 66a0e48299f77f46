"""Small runs for progress bars to show, and clocks that tests set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import fulmen as pl


class Clock:
    """The time that progress bars see: it stands still, until a test says otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        for module in ("drawing", "meter"):
            monkeypatch.setattr(f"fulmen.callbacks.progress.{module}.monotonic", self)

    def __call__(self) -> float:
        return self.now_s


def nothing(name: str, batch_idx: int) -> None:
    """What happens in a step unless a test says otherwise."""


class Shown(pl.LightningModule):
    """Logs to the bar; `at(name, batch_idx)` is called in each step."""

    def __init__(self, at: Callable[[str, int], Any] = nothing) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.at = at

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.at("train", batch_idx)
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("loss", 0.25 + self.current_epoch, prog_bar=True, on_step=True, on_epoch=True)
        return loss

    def test_step(self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        self.at("test", batch_idx)

    def predict_step(self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        self.at("predict", batch_idx)
        return self.layer(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Validated(Shown):
    def validation_step(self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        self.at("validation", batch_idx)
        self.log("score", 0.5, prog_bar=True)


def passing(
    clock: Clock, seconds: float, kind: type[Shown] = Shown, at: Callable[[str, int], Any] = nothing
) -> Shown:
    """A module whose steps take so long, and begin with `at`."""

    def step(name: str, batch_idx: int) -> None:
        at(name, batch_idx)
        clock.now_s += seconds

    return kind(step)


class Endless(IterableDataset):
    """Some samples of which nobody knows the number."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __iter__(self) -> Any:
        return iter([torch.ones(2)] * self.samples)


def batches(count: int) -> DataLoader:
    return DataLoader(TensorDataset(torch.ones(count, 2)), batch_size=1)


def make_trainer(folder: Path, *callbacks: pl.Callback, **arguments: Any) -> pl.Trainer:
    defaults = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "enable_progress_bar": bool(callbacks),
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "default_root_dir": folder,
    }
    return pl.Trainer(callbacks=list(callbacks), **{**defaults, **arguments})
