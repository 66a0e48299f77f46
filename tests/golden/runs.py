"""Small runs, each with a moment at which it is saved; what they do is the same on every machine."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import fulmen as pl

SAMPLES, BATCH_SIZE, EPOCHS = 12, 3, 3
VAL_LOSSES = (3.0, 2.0, 2.5, 2.6, 2.7, 2.8)
"""By epoch, for callbacks that follow one."""


class Points(Dataset[Any]):
    """Points in space, each time a little elsewhere."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        return index, torch.tensor([index / SAMPLES, 1.0, 0.5]) + 0.1 * torch.rand(())


class Net(pl.LightningModule):
    """Writes down, for each batch, what another run would have to do as well."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))
        self.seen: list[dict[str, Any]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.note(batch, batch_idx, loss)
        return loss

    def loss(self, batch: Any) -> Tensor:
        _, x = batch
        return (self.net(x) - x.sum(1, keepdim=True)).square().mean()

    def note(self, batch: Any, batch_idx: int, loss: Tensor) -> None:
        self.seen.append(
            {
                "at": [self.current_epoch, batch_idx],
                "samples": batch[0].tolist(),
                "draws": [torch.rand(()).item(), random.random()],
                "loss": loss.item(),
                "rates": [optimizer.param_groups[0]["lr"] for optimizer in self.trainer.optimizers],
            }
        )
        self.log("loss", loss, on_epoch=True)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", VAL_LOSSES[self.current_epoch])

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.05)


class Scheduled(Net):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        each_step = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=20)
        each_epoch = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        return [optimizer], [{"scheduler": each_step, "interval": "step"}, each_epoch]


class Manual(Net):
    """Two optimizers, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        loss = torch.zeros(())
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            loss = self.loss(batch)
            self.manual_backward(loss)
            optimizer.step()
        self.note(batch, batch_idx, loss)

    def configure_optimizers(self) -> Any:
        first, second = self.net[0], self.net[2]
        return [
            torch.optim.Adam(first.parameters(), lr=0.05),
            torch.optim.SGD(second.parameters(), lr=0.05, momentum=0.5),
        ]


@dataclass(frozen=True)
class Case:
    """A run, and where it is saved."""

    module: type[Net]
    saved_after: tuple[int, int | None]
    """Epoch and batch; None for the epoch's end."""
    position: tuple[int, int]
    """Epoch and batch with which the run goes on from there."""
    steps: int
    """Optimizer steps that it has made."""
    options: dict[str, Any] = field(default_factory=dict)
    stops_early: bool = False

    def callbacks(self) -> list[pl.Callback]:
        """New ones."""
        if not self.stops_early:
            return []
        return [
            pl.callbacks.EarlyStopping("val_loss", patience=2),
            pl.callbacks.ModelCheckpoint(monitor="val_loss", save_top_k=2),
        ]


CASES = {
    "epoch_end": Case(Net, (1, None), (2, 0), 8),
    "mid_epoch": Case(Net, (1, 1), (1, 2), 6),
    "accumulated": Case(Net, (1, 1), (1, 2), 3, {"accumulate_grad_batches": 2}),
    "manual": Case(Manual, (1, 1), (1, 2), 12),
    "scaled": Case(Net, (1, 1), (1, 2), 6, {"precision": "16-mixed"}),
    "scheduled": Case(Scheduled, (1, 1), (1, 2), 6),
    "early_stopping": Case(Net, (2, None), (3, 0), 12, {"max_epochs": 6}, stops_early=True),
}


class SaveAt(pl.Callback):
    """Saves once."""

    def __init__(self, moment: tuple[int, int | None], path: Path) -> None:
        self.moment, self.path = moment, path

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == self.moment:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if (trainer.current_epoch, None) == self.moment:
            trainer.save_checkpoint(self.path)


def run(case: Case, root: Path, *, save_as: Path | None = None, resume: Path | None = None) -> Net:
    """The whole run, or the rest of it; returns the module at its end."""
    module = case.module()
    savers: list[pl.Callback] = [] if save_as is None else [SaveAt(case.saved_after, save_as)]
    options: dict[str, Any] = {"max_epochs": EPOCHS, **case.options}
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[*case.callbacks(), *savers],
        enable_checkpointing=case.stops_early,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=root,
        **options,
    )
    train = DataLoader(Points(), batch_size=BATCH_SIZE, shuffle=True)
    trainer.fit(module, train, DataLoader(Points(), batch_size=SAMPLES), ckpt_path=resume)
    return module


def digest(weights: dict[str, Tensor]) -> str:
    """The same for the same bits."""
    total = hashlib.sha256()
    for name, value in sorted(weights.items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(bytes(value.detach().contiguous().view(torch.uint8).flatten().tolist()))
    return total.hexdigest()
