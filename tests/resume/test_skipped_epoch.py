"""An epoch that a hook ends is saved at its end like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import fulmen as pl

from . import feeds
from .journal import Journal
from .nets import Net


class EndsEpochs(pl.Callback):
    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == 2 else None


def test_saved_at_the_end_of_an_epoch_that_was_cut_short(tmp_path: Path) -> None:
    """Also where taking a batch does what cannot be done again, so that saves wait after it."""
    saver = pl.callbacks.ModelCheckpoint(tmp_path, save_top_k=-1)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[EndsEpochs(), saver],
        logger=False,
        enable_progress_bar=False,
    )
    trainer.fit(Net(Journal()), feeds.OpaqueBatches(), feeds.validation_data())
    saved = sorted(tmp_path.glob("*.ckpt"))
    assert [torch.load(path, weights_only=True)["global_step"] for path in saved] == [2, 4]
