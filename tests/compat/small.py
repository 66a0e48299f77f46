"""A module that does as little as possible, for tests that look at something else."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import fulmen as pl


class Small(pl.LightningModule):
    """Trains a line, and validates nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.line(batch[0]).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None: ...

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)
