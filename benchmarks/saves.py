"""Saves of a large state in the middle of training."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.work import EXTRAS_OFF, Batches, make_module

SAVE_BEFORE, WAIT_FOR_IT, SAVE = 1, 3, 6
"""The batches after which the callback acts."""
BETWEEN = (SAVE, SAVE + 4)
"""The batches between which the steps wait for the save; those are asked for one ahead."""
PLUGINS = {"fulmen": "fulmen.strategies", "lightning.pytorch": "lightning.pytorch.plugins"}
TENSOR_MB = 4
SETTLED_S = 0.3


def save_while_training(
    framework: str, batches: Batches, *, state_mb: int, in_background: bool, is_first: bool
) -> None:
    """A fit that saves a large state, for the first time or after another save that is over by then."""
    pl = importlib.import_module(framework)
    plugins = importlib.import_module(PLUGINS[framework])
    module = make_module(pl, logged_values=0)
    for index in range(state_mb // TENSOR_MB):
        module.register_buffer(f"state_{index}", torch.ones(TENSOR_MB << 18))

    with TemporaryDirectory() as folder:

        class Saves(pl.Callback):
            def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
                batch_idx = trainer.global_step - 1
                if batch_idx == SAVE or (batch_idx == SAVE_BEFORE and not is_first):
                    trainer.save_checkpoint(f"{folder}/{batch_idx}.ckpt")
                if batch_idx == WAIT_FOR_IT and not is_first:
                    wait_for(Path(folder, f"{SAVE_BEFORE}.ckpt"), state_mb << 20)

        pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            callbacks=[Saves()],
            plugins=[plugins.AsyncCheckpointIO()] if in_background else None,
            **EXTRAS_OFF,
        ).fit(module, batches)


def wait_for(path: Path, least_bytes: int) -> None:
    """Return when the file is there and grows no more."""
    size, since_s = -1, time.monotonic()
    while size < least_bytes or time.monotonic() < since_s + SETTLED_S:
        time.sleep(SETTLED_S / 10)
        seen = path.stat().st_size if path.exists() else -1
        if seen != size:
            size, since_s = seen, time.monotonic()
