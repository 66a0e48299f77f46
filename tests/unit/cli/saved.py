"""Checkpoints to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl

LIGHTNINGS = Path(__file__).parents[2] / "fixtures"
"""Checkpoints that Lightning 2.6 wrote."""


class Module(pl.LightningModule):
    """Two layers, of which the second has the first one's weight."""

    def __init__(self, width: int = 3, title: str = "a b") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.first = torch.nn.Linear(width, width, bias=False)
        self.net = torch.nn.ModuleDict({"second": torch.nn.Linear(width, width)})
        self.net["second"].weight = self.first.weight

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.net["second"](self.first(batch[0])).square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters())


class SaveAt(pl.Callback):
    """Saves once, after so many steps."""

    def __init__(self, steps: int, path: Path | str, weights_only: bool) -> None:
        self.steps, self.path, self.weights_only = steps, path, weights_only

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.steps:
            trainer.save_checkpoint(self.path, weights_only=self.weights_only)


def save(path: Path | str, *, steps: int = 5, weights_only: bool = False) -> None:
    """A checkpoint after so many steps of two epochs of three."""
    keeps_best = pl.callbacks.ModelCheckpoint(monitor="loss")
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        callbacks=[SaveAt(steps, path, weights_only)] + [keeps_best] * ("://" not in str(path)),
        enable_checkpointing="://" not in str(path),
        default_root_dir=Path(path).parent,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), DataLoader(TensorDataset(torch.ones(3, 3))))
