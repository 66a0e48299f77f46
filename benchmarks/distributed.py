"""Training in two processes: the loop that everybody would write, and a fit."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from benchmarks.work import EXTRAS_OFF, Batch, Batches, compute_loss, make_net, make_optimizer

RANKS = 2
FLUSH_EVERY_STEPS = 50
BARE = "bare"
"""In the place of a framework: without any."""


def train_bare_ddp(framework: str, batches: Batches) -> None:
    """The bare loop, with torch's wrapper."""
    net = DistributedDataParallel(make_net())
    optimizer = make_optimizer(net)
    for batch in batches:
        loss = compute_loss(net, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def train_ddp(
    framework: str, batches: Batches, *, logged_values: int = 0, in_every_step: bool = False
) -> None:
    """A fit with every extra off; values are logged in every step, or where they go to the loggers."""
    pl = importlib.import_module(framework)
    names = [f"value_{index}" for index in range(logged_values)]

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_net()

        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            loss = compute_loss(self.net, batch)
            if in_every_step or (batch_idx + 1) % FLUSH_EVERY_STEPS == 0:
                for name in names:
                    self.log(name, loss, sync_dist=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return make_optimizer(self.net)

    fit_ddp(pl, Module(), batches, max_epochs=1)


def fit_ddp(pl: Any, module: Any, batches: Batches, **arguments: Any) -> None:
    """A fit in two processes; those that are missing are started."""
    trainer = pl.Trainer(
        accelerator="cpu",
        strategy="ddp",
        devices=RANKS,
        log_every_n_steps=FLUSH_EVERY_STEPS,
        **EXTRAS_OFF,
        **arguments,
    )
    trainer.fit(module, batches)
