"""Killed before any file that several callbacks write or remove, at one moment or at several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import fulmen as pl
from fulmen.callbacks import Checkpoint, ModelCheckpoint
from fulmen.strategies import TorchCheckpointIO

from . import feeds
from .journal import Journal, differences
from .law import MOST_SHOWN, Case, Killed, Trace, temporary_folder, train, without_folder
from .nets import Average


class Fragile(TorchCheckpointIO):
    """Counts what is done to files, and dies before one of these operations."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.dies_at = dies_at
        self.done = 0

    def count(self) -> None:
        if self.done == self.dies_at:
            raise Killed
        self.done += 1

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
        self.count()
        super().save_checkpoint(checkpoint, path, storage_options)

    def remove_checkpoint(self, path: str) -> None:
        self.count()
        super().remove_checkpoint(path)


class Plain(pl.Callback):
    """One of the user's, that saves at every moment, before those do that come last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, trainer: pl.Trainer, moment: str) -> None:
        if not trainer.sanity_checking:
            name = f"{type(self).__name__}-{trainer.current_epoch}-{trainer.global_step}-{moment}.ckpt"
            trainer.save_checkpoint(self.folder / name)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.save(trainer, f"batch {batch_idx}")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.save(trainer, "validation")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.save(trainer, "epoch")


class Last(Plain, Checkpoint):
    """The same, among those that come last."""


Make = Callable[[Path], list[pl.Callback]]


def newest(folder: Path, **cadence: Any) -> ModelCheckpoint:
    return ModelCheckpoint(folder / "newest", save_last=True, **cadence)


def best(folder: Path, most: int, monitor: str = "val_loss", **options: Any) -> ModelCheckpoint:
    return ModelCheckpoint(folder / "best", "{epoch}-{step}", monitor, save_top_k=most, **options)


def savers(most: int, **cadence: Any) -> Make:
    """One that keeps the newest, and one that keeps the best."""
    return lambda folder: [newest(folder, **cadence), best(folder, most)]


def by_steps(folder: Path) -> list[pl.Callback]:
    """Both save after batches; some of these a validation follows."""
    return [newest(folder, **EVERY_SECOND), best(folder, 2, "loss_step", every_n_train_steps=1)]


def by_everybody(folder: Path) -> list[pl.Callback]:
    own = folder / "newest"
    return [Plain(own), newest(folder, **EVERY_SECOND), Last(own), best(folder, 2)]


def at_the_very_end(folder: Path) -> list[pl.Callback]:
    """Nothing is due before training has ended."""
    return [newest(folder, every_n_epochs=9), best(folder, 1, every_n_epochs=9, save_last=True)]


EVERY_SECOND: dict[str, Any] = {"every_n_train_steps": 2}


def way(title: str, callbacks: Make, loader: Callable[[], Any] = feeds.shuffled, **options: Any) -> Case:
    return Case(title, loader, callbacks=lambda f: [Average(), *callbacks(f)], options=lambda: options)


WAYS = [
    way("validated at the end", savers(2, **EVERY_SECOND)),
    way("validated often", savers(1, **EVERY_SECOND), val_check_interval=2),
    way("all kept", savers(-1, **EVERY_SECOND), val_check_interval=2),
    way("in windows", savers(2, **EVERY_SECOND), val_check_interval=2, accumulate_grad_batches=2),
    way("both at the end", savers(-1), max_epochs=3),
    way("both at the end of a stream", savers(-1), feeds.StatefulBatches),
    way("after batches", by_steps),
    way("by everybody", by_everybody, val_check_interval=2, limit_train_batches=2),
    way("at the very end", at_the_very_end),
]


def start(case: Case, folder: Path, plugin: Fragile) -> Trace:
    """One process."""
    case.seed()
    options = case.options() | {"plugins": plugin}
    return train(replace(case, options=lambda: options), folder, Journal(), ckpt_path="auto")


def lives(case: Case, deaths: Iterator[int], folder: str) -> tuple[int, Trace]:
    """How many of these kills the training met, each before an operation of its process; and its end."""
    for number in count():
        try:
            return number, without_folder(start(case, Path(folder), Fragile(next(deaths, None))), folder)
        except Killed:
            continue
    raise AssertionError


@pytest.mark.parametrize("case", WAYS, ids=str)
def test_the_next_process_ends_the_same(case: Case) -> None:
    """What the callbacks remember, what they keep, and what lies in their folders."""
    with temporary_folder() as folder:
        undisturbed = Fragile()
        whole = without_folder(start(case, Path(folder), undisturbed), folder)
    assert undisturbed.done > 1
    wrong: list[str] = []
    for number in range(undisturbed.done):
        deaths = [number, number % 3]  # the second one early, where it does what the first process has left
        with temporary_folder() as folder:
            killed, found = lives(case, iter(deaths), folder)
        assert killed >= 1
        wrong += [f"killed at {deaths}: {line}" for line in differences(found.end, whole.end)]
    assert not wrong, "\n".join([f"{len(wrong)} differences", *wrong[:MOST_SHOWN]])
