"""Between two flushes nothing is read from the device, whatever is logged and shown; a flush reads once."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fulmen as pl
from fulmen.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint, RichProgressBar
from fulmen.loggers import CSVLogger

from .host_reads import watch_reads
from .small_runs import Batches, Regression, bare_trainer

FLUSH_EVERY = 50


class Talkative(Regression):
    """Logs in every way, and knows which batch is under way."""

    batch_idx = -1

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        self.batch_idx = batch_idx
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss, prog_bar=True)
        self.log("loss_both", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("loss_sum", loss, on_epoch=True, reduce_fx="sum", batch_size=2)
        self.log("loss_most", loss, on_step=False, on_epoch=True, reduce_fx=torch.max)
        self.log_dict({"square": loss**2, "root": loss.sqrt()}, on_step=True)
        self.log("index", batch_idx)
        return {"loss": loss, "more": batch}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.log("again", outputs["loss"], on_step=True, on_epoch=True)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.batch_idx = batch_idx
        loss = super().training_step(batch, batch_idx)
        self.log("val_loss", loss, prog_bar=True)
        self.log("val_least", loss, reduce_fx="min")


def reads_per_batch(module: Talkative, trainer: pl.Trainer, method: str, batches: int) -> Counter[int]:
    """How often something was read between a batch's step and the next one's; the last batch is left out."""
    reads: Counter[int] = Counter()
    with watch_reads(lambda name: reads.update([module.batch_idx])):
        getattr(trainer, method)(module, Batches(batches))
    return Counter({index: count for index, count in reads.items() if 0 <= index < batches - 1})


@pytest.mark.parametrize("options", [{}, {"gradient_clip_val": 1.0}], ids=str)
def test_a_fit_with_everything_on_reads_once_per_flush(options: dict[str, Any], tmp_path: Path) -> None:
    screen = io.StringIO()
    callbacks = [
        RichProgressBar(console_kwargs={"file": screen, "force_terminal": True}),
        EarlyStopping("loss_both", check_on_train_epoch_end=True),
        LearningRateMonitor(),
        ModelCheckpoint(monitor="loss_both", every_n_train_steps=10_000),
    ]
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_val_batches=0,
        log_every_n_steps=FLUSH_EVERY,
        logger=CSVLogger(tmp_path),
        callbacks=callbacks,
        enable_model_summary=False,
        **options,
    )

    reads = reads_per_batch(Talkative(), trainer, "fit", 2 * FLUSH_EVERY + 10)

    assert reads == {FLUSH_EVERY - 1: 1, 2 * FLUSH_EVERY - 1: 1}
    assert "loss_both" in screen.getvalue()
    assert "loss_both_epoch" in (Path(str(trainer.log_dir)) / "metrics.csv").read_text()


def test_a_validation_reads_nothing_before_its_end() -> None:
    trainer = bare_trainer()
    assert reads_per_batch(Talkative(), trainer, "validate", 3 * FLUSH_EVERY) == {}
    assert trainer.logged_metrics.keys() == {"val_loss", "val_least"}


@pytest.mark.parametrize(
    "read",
    [float, bool, str, Tensor.item, Tensor.tolist, Tensor.numpy, lambda x: x.to("cpu"), lambda x: max(x, x)],
)
def test_the_watch_sees_reads(read: Any) -> None:
    seen: list[str] = []
    with watch_reads(seen.append):
        read(torch.ones(()) + 1)
    assert len(seen) == 1


def test_the_watch_sees_reads_in_torchs_own_code() -> None:
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.grad = torch.ones(1)
    optimizer = torch.optim.Adam([parameter], foreach=False)  # reads the number of its steps
    seen: list[str] = []
    with watch_reads(seen.append):
        optimizer.step()
    assert seen
