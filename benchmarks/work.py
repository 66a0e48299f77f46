"""What is run: a small net on ready-made batches, in a bare loop, with the Lightning API, and with ignite."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

Batch = tuple[Tensor, Tensor]
EXTRAS_OFF = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Batches:
    """Ready-made batches. Takes a reading when batch `first` is asked for, and another one at batch `last`.

    What lies between the two is the same for every loop, and nothing of a loop's beginning or end is in it.
    With `first=-1`, the first reading is of now.
    """

    def __init__(self, first: int, last: int, read: Callable[[], float]) -> None:
        self._batches = [(torch.randn(8, 16), torch.randint(0, 4, (8,))) for _ in range(16)]
        self._marks = (first, last)
        self._read = read
        self._readings = [read()] if first < 0 else []

    def __len__(self) -> int:
        return self._marks[1] + 2  # so that the last batch, after which much may happen, is not in between

    def __iter__(self) -> Iterator[Batch]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> Batch:
        if index in self._marks:
            self._readings.append(self._read())
        return self._batches[index % len(self._batches)]

    @property
    def change(self) -> float:
        """What was read at `last`, less what was read at `first`."""
        before, after = self._readings
        return after - before


def make_net() -> nn.Module:
    """Two layers, 16-16-4."""
    return nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))


def make_optimizer(net: nn.Module) -> torch.optim.Optimizer:
    """Plain SGD."""
    return torch.optim.SGD(net.parameters(), lr=0.01)


def compute_loss(net: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy."""
    inputs, labels = batch
    return cross_entropy(net(inputs), labels)


def train_bare(framework: str, batches: Batches) -> None:
    """The loop that everybody would write."""
    net = make_net()
    optimizer = make_optimizer(net)
    for batch in batches:
        loss = compute_loss(net, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def validate_bare(framework: str, batches: Batches) -> None:
    """Losses, kept on the device until the end."""
    net = make_net().eval()
    with torch.inference_mode():
        losses = [compute_loss(net, batch) for batch in batches]
        torch.stack(losses).mean().item()


def train_with_ignite(framework: str, batches: Batches) -> None:
    """ignite's engine around the body of the bare loop."""
    net = make_net()
    optimizer = make_optimizer(net)

    def update(engine: Any, batch: Batch) -> Tensor:
        loss = compute_loss(net, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    importlib.import_module("ignite.engine").Engine(update).run(batches, max_epochs=1)


def make_module(pl: Any, *, logged_values: int, **arguments: bool) -> Any:
    """The same net as a LightningModule, of whoever offers that class; the arguments are those of `log`."""
    names = [f"value_{index}" for index in range(logged_values)]

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_net()

        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            loss = compute_loss(self.net, batch)
            for name in names:
                self.log(name, loss, **arguments)
            return loss

        def validation_step(self, batch: Batch, batch_idx: int) -> None:
            loss = compute_loss(self.net, batch)
            for name in names:
                self.log(name, loss)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return make_optimizer(self.net)

    return Module()


def train(framework: str, batches: Batches, *, logged_values: int = 0) -> None:
    """A fit with every extra off."""
    pl = importlib.import_module(framework)
    module = make_module(pl, logged_values=logged_values)
    pl.Trainer(accelerator="cpu", max_epochs=1, **EXTRAS_OFF).fit(module, batches)


def train_on_data_set(framework: str, batches: Batches, *, exact_data: bool) -> None:
    """A fit with every extra off, with a loader over a data set that nobody knows: it might draw numbers."""
    pl = importlib.import_module(framework)
    loader: Any = DataLoader(batches, batch_size=None)  # pyright: ignore[reportArgumentType]  # all that is asked for
    trainer = pl.Trainer(accelerator="cpu", max_epochs=1, exact_data=exact_data, **EXTRAS_OFF)
    trainer.fit(make_module(pl, logged_values=0), loader)


def train_with_defaults(framework: str, batches: Batches, *, logged_values: int = 0) -> None:
    """A fit with progress bar, CSV logger, checkpoints and model summary."""
    pl = importlib.import_module(framework)
    module = make_module(pl, logged_values=logged_values, prog_bar=True)
    with TemporaryDirectory() as folder:
        logger = importlib.import_module(f"{framework}.loggers").CSVLogger(folder)
        trainer = pl.Trainer(accelerator="cpu", max_epochs=1, logger=logger)
        trainer.fit(module, batches)


def validate(framework: str, batches: Batches) -> None:
    """A validation with one value logged."""
    pl = importlib.import_module(framework)
    trainer = pl.Trainer(accelerator="cpu", **EXTRAS_OFF)
    trainer.validate(make_module(pl, logged_values=1), batches, verbose=False)
