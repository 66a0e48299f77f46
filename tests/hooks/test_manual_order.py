"""The order of hooks where the user's `training_step` optimizes by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import fulmen as pl

from .blocks import (
    BACKWARD,
    BATCH_END,
    BATCH_START,
    TRAIN_END,
    TRAIN_START,
    VALIDATION,
    flat,
)
from .recorder import RecordingData, RecordingModule, make_trainer


class Manual(RecordingModule):
    """Two optimizers, one backward and one step of each in every batch."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__(calls)
        self.automatic_optimization = False
        self.other_layer = torch.nn.Linear(2, 1)

    def make_optimizers(self) -> Any:
        first = torch.optim.SGD(self.layer.parameters(), lr=0.1)
        second = torch.optim.SGD(self.other_layer.parameters(), lr=0.1)
        return [first, second], [torch.optim.lr_scheduler.StepLR(first, step_size=1)]

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        return (self.layer(batch) + self.other_layer(batch)).pow(2).mean()

    def train_on(self, batch: torch.Tensor, batch_idx: int) -> None:
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()
        self.lr_schedulers().step()


def fit(root: Path, module: RecordingModule, *, train: int = 1) -> tuple[list[str], pl.Trainer]:
    """The calls of one `fit` on `train` batches, and its trainer."""
    trainer = make_trainer(module.calls, root)
    trainer.fit(module, datamodule=RecordingData(module.calls, train=train))
    return module.calls, trainer


def epoch(*batches: str | list[str]) -> list[str]:
    """A whole run of one epoch around these batches."""
    return flat(
        *(TRAIN_START, "CM.on_train_epoch_start", *batches),
        *(VALIDATION, "CM.on_train_epoch_end", TRAIN_END),
    )


def test_two_optimizers(tmp_path: Path) -> None:
    """No hook of the automatic optimization: optimizer_step, zero_grad, clipping, lr_scheduler_step."""
    batch = flat(
        *(BATCH_START, "M.training_step"),
        *(BACKWARD, "CM.on_before_optimizer_step"),
        *(BACKWARD, "CM.on_before_optimizer_step"),
        BATCH_END,
    )
    calls, trainer = fit(tmp_path, Manual([]), train=2)
    assert calls == epoch(batch, batch)
    assert trainer.global_step == 4


def test_closure_runs_before_the_update_hook(tmp_path: Path) -> None:
    class WithClosure(Manual):
        def train_on(self, batch: torch.Tensor, batch_idx: int) -> None:
            optimizer = self.optimizers()[0]

            def closure() -> torch.Tensor:
                optimizer.zero_grad()
                loss = self.loss(batch)
                self.manual_backward(loss)
                return loss

            self.toggle_optimizer(optimizer)
            optimizer.step(closure=closure)
            self.untoggle_optimizer(optimizer)

    calls, _ = fit(tmp_path, WithClosure([]))
    assert calls == epoch(
        BATCH_START, "M.training_step", BACKWARD, flat("CM.on_before_optimizer_step"), BATCH_END
    )


def test_clip_gradients_is_called_where_the_user_calls_it(tmp_path: Path) -> None:
    class Clipping(Manual):
        def train_on(self, batch: torch.Tensor, batch_idx: int) -> None:
            optimizer = self.optimizers()[0]
            self.manual_backward(self.loss(batch))
            self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
            optimizer.step()

    calls, _ = fit(tmp_path, Clipping([]))
    assert calls == epoch(
        *(BATCH_START, "M.training_step", BACKWARD, "M.clip_gradients"),
        *(flat("CM.on_before_optimizer_step"), BATCH_END),
    )


def test_gradients_may_be_accumulated_by_hand(tmp_path: Path) -> None:
    class Accumulating(Manual):
        def train_on(self, batch: torch.Tensor, batch_idx: int) -> None:
            optimizer = self.optimizers()[0]
            self.manual_backward(self.loss(batch))
            if batch_idx % 2 == 1:
                optimizer.step()
                optimizer.zero_grad()

    calls, trainer = fit(tmp_path, Accumulating([]), train=4)
    window = flat(
        *(BATCH_START, "M.training_step", BACKWARD, BATCH_END),
        *(BATCH_START, "M.training_step", BACKWARD, "CM.on_before_optimizer_step", BATCH_END),
    )
    assert calls == epoch(window, window)
    assert trainer.global_step == 2
