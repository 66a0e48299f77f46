"""What the tests here have in common: a device, and a small model on it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")

QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def make_trainer(**options: Any) -> pl.Trainer:
    """A quiet trainer on the first GPU."""
    return pl.Trainer(**{**QUIET, "accelerator": "gpu", "devices": [0], "max_epochs": 1, **options})


class Regression(pl.LightningModule):
    """A net with dropout that fits the first column of its input."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))
        self.losses: list[Tensor] = []

    def loss_of(self, batch: Any) -> Tensor:
        return nn.functional.mse_loss(self.net(batch[0]), batch[0][:, :1])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss_of(batch)
        self.losses.append(loss.detach())
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss_of(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.01, fused=True)


def batches(count: int, *, width: int = 8, size: int = 4, **options: Any) -> DataLoader:
    """Random samples, the same each time."""
    samples = torch.randn(count * size, width, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(samples), batch_size=size, **options)
