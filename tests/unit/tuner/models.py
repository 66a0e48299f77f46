"""A model that notes what happens to it, and a quiet trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl


class Regression(pl.LightningModule):
    """Regression with dropout and batch norm; its loader shuffles with a generator of its own."""

    def __init__(self, lr: float = 0.1, batch_size: int = 4, samples: int = 40) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.batch_size = batch_size
        torch.manual_seed(3)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 1))
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.steps = 0
        self.generator = torch.Generator().manual_seed(7)
        self.samples = samples

    def data(self) -> TensorDataset:
        x = torch.sin(torch.arange(3 * self.samples, dtype=torch.float32)).reshape(-1, 3)
        return TensorDataset(x, x.sum(1, keepdim=True))

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.data(), self.batch_size, shuffle=True, generator=self.generator)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.data(), self.batch_size)

    test_dataloader = predict_dataloader = val_dataloader

    def loss(self, batch: list[Tensor]) -> Tensor:
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.steps += 1
        self.seen = self.seen + len(batch[0])
        loss = self.loss(batch)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.loss(batch)

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.net(batch[0])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]


def make_trainer(root: Path, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    """A quiet trainer on the CPU."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    defaults = {"accelerator": "cpu", "max_epochs": 2, "num_sanity_val_steps": 0}
    if not any(callback.saves_checkpoints for callback in callbacks):
        defaults["enable_checkpointing"] = False
    return pl.Trainer(default_root_dir=root, callbacks=list(callbacks), **(quiet | defaults | options))
