"""A module that does little, and a Trainer that does nothing but train it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import fulmen as pl


class Regression(pl.LightningModule):
    """One layer, trained with SGD; overrides no hook."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.layer(batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Batches:
    """So many batches of two samples."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.ones(self.count, 2, 4))


def bare_trainer(**options: Any) -> pl.Trainer:
    """A Trainer with every extra off."""
    return pl.Trainer(accelerator="cpu", barebones=True, max_epochs=1, **options)
