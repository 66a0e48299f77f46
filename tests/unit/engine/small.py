"""The smallest module there can be, a quiet Trainer for it, and a logger that keeps what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

import fulmen as pl
from fulmen.core.logger import Logger

LEARNING_RATE = 0.5


class TrainsOnly(pl.LightningModule):
    """One weight `w`, zero at first, and the loss `w * mean(batch)`: its gradient is the batch's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(()))

    def forward(self, batch: Tensor) -> Tensor:
        return self.w * batch

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self(batch).mean()

    def predict_step(self, batch: Tensor, batch_idx: int) -> Any:
        return batch

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=LEARNING_RATE)


class Small(TrainsOnly):
    """With steps for evaluation, which do nothing."""

    def validation_step(self, batch: Tensor, batch_idx: int) -> Any:
        pass

    def test_step(self, batch: Tensor, batch_idx: int) -> Any:
        pass


def small(**hooks: Callable[..., Any]) -> Small:
    """A Small with these functions, `self` first, as methods."""
    return type("Scripted", (Small,), hooks)()


def callback(**hooks: Callable[..., Any]) -> pl.Callback:
    """A callback with these functions, `self` first, as methods."""
    return type("ScriptedCallback", (pl.Callback,), hooks)()


def batches(count: int = 2, *, first: float = 1.0, batch_size: int = 1, **options: Any) -> DataLoader[Any]:
    """A loader over the numbers from `first` on, `count` batches of them."""
    numbers = first + torch.arange(count * batch_size, dtype=torch.float32)
    return DataLoader(numbers, batch_size=batch_size, **options)  # pyright: ignore[reportArgumentType]


class Stream(IterableDataset[Tensor]):
    """The numbers 1 to `count`, without telling how many there are."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Any:
        return iter(1.0 + torch.arange(self.count, dtype=torch.float32))


def stream(count: int) -> DataLoader[Any]:
    """A loader without a length that gives the numbers 1 to `count`, one in a batch."""
    return DataLoader(Stream(count), batch_size=1)


class Given:
    """A loader that gives these batches as they are, and counts how often it was begun."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = batches
        self.begun = 0

    def __iter__(self) -> Iterator[Any]:
        self.begun += 1
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Rows(Logger):
    """Keeps the rows of metrics, and the names of the other calls."""

    name = "rows"  # pyright: ignore[reportAssignmentType]
    version = 0  # pyright: ignore[reportAssignmentType]

    def __init__(self) -> None:
        self.rows: list[tuple[int | None, dict[str, float]]] = []
        self.calls: list[Any] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.calls.append(("log_hyperparams", dict(params)))

    def save(self) -> None:
        self.calls.append("save")

    def finalize(self, status: str) -> None:
        self.calls.append(("finalize", status))

    def named(self, name: str) -> list[tuple[int | None, float]]:
        """(step, value) of each row that has this name."""
        return [(step, row[name]) for step, row in self.rows if name in row]


QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "max_epochs": 1,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def make_trainer(root: Path, **options: Any) -> pl.Trainer:
    """A Trainer of one epoch without bar, summary, sanity check and checkpoints; `options` replace these."""
    return pl.Trainer(default_root_dir=root, **(QUIET | options))


def fit(
    root: Path, module: pl.LightningModule, *, train: Any = 2, val: Any = None, **options: Any
) -> pl.Trainer:
    """The Trainer after a fit on `train` batches of one number each, or on these loaders."""
    trainer = make_trainer(root, **({"limit_val_batches": 0} if val is None else {}), **options)
    train = batches(train) if isinstance(train, int) else train
    val = batches(val) if isinstance(val, int) else val
    trainer.fit(module, train, val)
    return trainer


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """A table of metrics as plain numbers."""
    return {name: float(value) for name, value in metrics.items()}


class Remembers(pl.Callback):
    """Has a state."""

    def __init__(self, state: Any = 1) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = state_dict["state"]
