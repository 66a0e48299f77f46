"""Killed before any file that two ModelCheckpoints write or remove, at one moment or at several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint
from fulmen.strategies import CheckpointIO, TorchCheckpointIO

from .journal import Journal, differences
from .law import MOST_SHOWN, Case, Killed, Trace, temporary_folder, train, without_folder
from .nets import Average


class Fragile(CheckpointIO):
    """Counts what is done to files, and dies before one of these operations."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.dies_at = dies_at
        self.done = 0
        self.inner = TorchCheckpointIO()

    def count(self) -> None:
        if self.done == self.dies_at:
            raise Killed
        self.done += 1

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
        self.count()
        self.inner.save_checkpoint(checkpoint, path)

    def load_checkpoint(self, path: str, map_location: Any = None, weights_only: bool | None = None) -> Any:
        return self.inner.load_checkpoint(path, map_location, weights_only)

    def remove_checkpoint(self, path: str) -> None:
        self.count()
        self.inner.remove_checkpoint(path)


def savers(most: int, **cadence: Any) -> Callable[[Path], list[pl.Callback]]:
    """One that keeps the newest, and one that keeps the best."""
    return lambda folder: [
        Average(),
        ModelCheckpoint(folder / "newest", save_last=True, **cadence),
        ModelCheckpoint(folder / "best", monitor="val_loss", save_top_k=most, filename="{epoch}-{step}"),
    ]


EVERY_SECOND: dict[str, Any] = {"every_n_train_steps": 2}
WAYS: dict[str, tuple[dict[str, Any], Callable[[Path], list[pl.Callback]]]] = {
    "validated at the end": ({}, savers(2, **EVERY_SECOND)),
    "validated often": ({"val_check_interval": 2}, savers(1, **EVERY_SECOND)),
    "all kept": ({"val_check_interval": 2}, savers(-1, **EVERY_SECOND)),
    "in windows": ({"accumulate_grad_batches": 2, "val_check_interval": 2}, savers(2, **EVERY_SECOND)),
    "both at the end": ({"max_epochs": 3}, savers(-1)),
}


def start(way: str, folder: Path, plugin: Fragile) -> Trace:
    """One process."""
    options, callbacks = WAYS[way]
    case = Case(way, callbacks=callbacks, options=lambda: {"plugins": plugin, **options})
    case.seed()
    return train(case, folder, Journal(), ckpt_path="auto")


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.replace(" ", "_"))
def test_the_next_process_ends_the_same(way: str) -> None:
    """What the callbacks remember, what they keep, and what lies in their folders."""
    with temporary_folder() as folder:
        undisturbed = Fragile()
        whole = without_folder(start(way, Path(folder), undisturbed), folder)
    assert undisturbed.done > 5
    wrong: list[str] = []
    for number in range(undisturbed.done):
        with temporary_folder() as folder:
            with pytest.raises(Killed):
                start(way, Path(folder), Fragile(dies_at=number))
            found = without_folder(start(way, Path(folder), Fragile()), folder)
        wrong += [f"operation {number}: {line}" for line in differences(found.end, whole.end)]
    assert not wrong, "\n".join([f"{len(wrong)} differences", *wrong[:MOST_SHOWN]])
