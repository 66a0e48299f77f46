"""Between two flushes of the log, the host never waits for the device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from fulmen.loggers import CSVLogger

from .cuda import Regression, batches, make_trainer, needs_cuda

pytestmark = needs_cuda

FLUSH_EVERY = 20
BATCHES = 3 * FLUSH_EVERY
WARM = 3  # batches after which caches and buffers are there


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


class ForbidsWaiting(pl.Callback):
    """Makes waiting for the device an error: once all is warm, until a batch ends that a flush follows."""

    def __init__(self) -> None:
        self.watched_batches = 0

    def start(self, batch_idx: int) -> None:
        if batch_idx >= WARM:
            torch.cuda.set_sync_debug_mode("error")
            self.watched_batches += 1

    def end(self, batch_idx: int) -> None:
        if (batch_idx + 1) % FLUSH_EVERY == 0:
            torch.cuda.set_sync_debug_mode("default")

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.start(batch_idx)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.end(batch_idx)

    def on_validation_batch_start(self, *args: Any) -> None:
        self.start(args[3])

    def on_validation_batch_end(self, *args: Any) -> None:
        self.end(args[4])


class Talkative(Regression):
    """Logs in every way."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss, prog_bar=True, on_step=True, on_epoch=True)
        self.log("most", loss, on_step=False, on_epoch=True, reduce_fx="max")
        self.log("sum", loss, on_epoch=True, reduce_fx="sum", batch_size=3)
        self.log_dict({"square": loss**2, "index": batch_idx})
        return {"loss": loss, "batch": batch}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = self.loss_of(batch)
        self.log("val_loss", loss, prog_bar=True)
        self.log("val_least", loss, reduce_fx="min", on_step=True)


def test_the_watch_sees_a_wait() -> None:
    class Reads(Talkative):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            returned = super().training_step(batch, batch_idx)
            if batch_idx == 10:
                returned["loss"].item()
            return returned

    with pytest.raises(RuntimeError, match="synchronizing"):
        make_trainer(log_every_n_steps=FLUSH_EVERY, callbacks=[ForbidsWaiting()]).fit(
            Reads(), batches(BATCHES)
        )


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_clip_val": 0.1},
        {"accumulate_grad_batches": 2},
        {"precision": "bf16-mixed"},
        {"precision": "bf16-true"},
        {"precision": "16-mixed"},
        {"precision": "16-mixed", "gradient_clip_val": 0.1},
        {"enable_progress_bar": True},
    ],
    ids=str,
)
def test_training_does_not_wait(options: dict[str, Any], pinned: bool, tmp_path: Path) -> None:
    """With a fused optimizer, which looks for infinite gradients on the device."""
    watch = ForbidsWaiting()
    callbacks = [
        watch,
        LearningRateMonitor(),
        EarlyStopping("loss_epoch", check_on_train_epoch_end=True),
        ModelCheckpoint(tmp_path, every_n_train_steps=10_000),
    ]
    trainer = make_trainer(
        callbacks=callbacks,
        logger=CSVLogger(tmp_path),
        enable_checkpointing=True,
        log_every_n_steps=FLUSH_EVERY // options.get("accumulate_grad_batches", 1),
        **options,
    )
    trainer.fit(Talkative(), batches(BATCHES, pin_memory=pinned))
    assert watch.watched_batches == BATCHES - WARM


def test_validation_does_not_wait(tmp_path: Path) -> None:
    watch = ForbidsWaiting()
    trainer = make_trainer(callbacks=[watch], logger=CSVLogger(tmp_path), log_every_n_steps=FLUSH_EVERY)
    trainer.validate(Talkative(), batches(BATCHES), verbose=False)
    assert watch.watched_batches == BATCHES - WARM


def test_manual_optimization_does_not_wait() -> None:
    class Manual(Talkative):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer = self.optimizers()
            loss = super().training_step(batch, batch_idx)["loss"]
            optimizer.zero_grad()
            self.manual_backward(loss)
            self.clip_gradients(optimizer, 0.1)
            optimizer.step()

    watch = ForbidsWaiting()
    make_trainer(callbacks=[watch], log_every_n_steps=FLUSH_EVERY).fit(Manual(), batches(BATCHES))
    assert watch.watched_batches == BATCHES - WARM
