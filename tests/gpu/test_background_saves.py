"""Saves of what is on a GPU, written while training goes on there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import fulmen as pl
from fulmen.strategies import AsyncCheckpointIO, TorchCheckpointIO
from fulmen.strategies.host_copies import HostCopies

from .cuda import Regression, batches, make_trainer, needs_cuda

pytestmark = needs_cuda


def test_copies_are_pinned_and_in_the_same_memory_again() -> None:
    copies = HostCopies()
    weight = torch.randn(300, 300, device="cuda")
    places = set()
    for _ in range(2):
        weight.add_(1)
        expected = weight.cpu()
        copied = copies.take({"weight": weight, "row": weight[2]})
        weight.mul_(2)
        assert copied["weight"].is_pinned()
        assert copied["weight"].equal(expected)
        assert copied["row"].equal(expected[2])
        assert copied["row"].untyped_storage().data_ptr() == copied["weight"].untyped_storage().data_ptr()
        places.add(copied["weight"].data_ptr())
    assert len(places) == 1


class SavesAt(pl.Callback):
    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def test_a_fit_writes_what_a_synchronous_one_writes(tmp_path: Path) -> None:
    found = []
    for io in (TorchCheckpointIO(), AsyncCheckpointIO()):
        pl.seed_everything(1, verbose=False)
        path = tmp_path / f"{type(io).__name__}.ckpt"
        make_trainer(plugins=io, callbacks=[SavesAt(2, path)]).fit(Regression(), batches(4))
        found.append(torch.load(path, weights_only=True))
    at_once, meanwhile = found
    torch.testing.assert_close(
        meanwhile["state_dict"], at_once["state_dict"], rtol=0, atol=0, check_device=False
    )
    torch.testing.assert_close(
        meanwhile["optimizer_states"], at_once["optimizer_states"], rtol=0, atol=0, check_device=False
    )
