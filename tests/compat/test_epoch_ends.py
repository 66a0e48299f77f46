"""Where the hooks at the end of a training epoch come: before the validation there, or after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint

from .small import Small

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.OldSpelling")

ENDS = {
    "1.0": "training_epoch_end on_epoch_end on_train_epoch_end",
    "1.1": "on_epoch_end on_train_epoch_end training_epoch_end",
    "1.2": "on_train_epoch_end on_epoch_end training_epoch_end",
    "1.3": "training_epoch_end on_train_epoch_end on_epoch_end",
    "1.4": "training_epoch_end on_train_epoch_end on_epoch_end",
    "1.9": "training_epoch_end on_train_epoch_end",
}
"""By version, what is called when the batches of an epoch are done."""

ENDS_FIRST = {"1.1": "where it validates once in an epoch", "1.2": "always", "1.3": "always"}


class Model(Small):
    def __init__(self) -> None:
        super().__init__()
        self.log_of_calls: list[str] = []

    def note(self, name: str) -> None:
        mode = ["evaluates", "trains"][self.training] + ["", " with gradients"][torch.is_grad_enabled()]
        self.log_of_calls.append(name)
        assert name == "validate" or mode == "trains with gradients", (name, mode)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.note("batch")
        self.log("batches", 1.0, on_step=False, on_epoch=True, reduce_fx="sum")
        return self.line(batch[0]).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.note("validate")
        self.log("validated", float(self.current_epoch))

    def training_epoch_end(self, outputs: Any) -> None:
        self.note("training_epoch_end")
        self.log("ended", float(len(outputs)), reduce_fx="sum")

    def on_train_epoch_end(self, *outputs: Any) -> None:
        self.note("on_train_epoch_end")


class Early(Model):
    """With a hook whose name was called by validations too from 1.2.6 on."""

    def on_epoch_end(self) -> None:
        if self.training:
            self.note("on_epoch_end")


def fit(version: str, folder: Path, module: Model, *callbacks: pl.Callback, **arguments: Any) -> pl.Trainer:
    ckpt_path = arguments.pop("ckpt_path", None)
    defaults: dict[str, Any] = {
        "max_epochs": 2,
        "num_sanity_val_steps": 1,
        "enable_checkpointing": bool(callbacks),
    }
    trainer = pl.Trainer(
        compat=version, default_root_dir=folder, callbacks=list(callbacks), logger=False,
        enable_progress_bar=False, enable_model_summary=False, **{**defaults, **arguments},
    )  # fmt: skip
    loader = DataLoader(TensorDataset(torch.ones(4, 3)), 2)
    trainer.fit(module, loader, DataLoader(TensorDataset(torch.ones(2, 3)), 2), ckpt_path=ckpt_path)
    return trainer


def made_for(version: str) -> Model:
    return Early() if "on_epoch_end" in ENDS[version] else Model()


@pytest.mark.parametrize("version", ENDS)
@pytest.mark.parametrize("interval", [1.0, 0.5])
def test_order_of_the_end_of_an_epoch(tmp_path: Path, version: str, interval: float) -> None:
    module = made_for(version)
    fit(version, tmp_path, module, val_check_interval=interval)
    first = ENDS_FIRST.get(version)
    comes_first = first == "always" or (first is not None and interval == 1.0)
    batches = ["batch", *(["validate"] if interval == 0.5 else []), "batch"]
    ends = ENDS[version].split()
    epoch = [*batches, *ends, "validate"] if comes_first else [*batches, "validate", *ends]
    assert module.log_of_calls == ["validate", *epoch, *epoch]


@pytest.mark.parametrize("version", ["1.0", "1.3"])
def test_an_epoch_without_a_validation_ends_all_the_same(tmp_path: Path, version: str) -> None:
    module = made_for(version)
    fit(version, tmp_path, module, check_val_every_n_epoch=2, num_sanity_val_steps=0, max_epochs=1)
    assert module.log_of_calls == ["batch", "batch", *ENDS[version].split()]


def test_training_that_ends_within_an_epoch(tmp_path: Path) -> None:
    module = made_for("1.3")
    fit("1.3", tmp_path, module, max_steps=1, num_sanity_val_steps=0)
    assert module.log_of_calls == ["batch", *ENDS["1.3"].split()]


@pytest.mark.parametrize("version", ["1.2", "1.3", "1.4"])
def test_what_is_known_at_the_end_of_an_epoch(tmp_path: Path, version: str) -> None:
    """The epoch's own values always; those of the validation where that came before."""
    known: list[tuple[float, float | None]] = []

    class Reader(Model):
        def training_epoch_end(self, outputs: Any) -> None:
            metrics = self.trainer.callback_metrics
            validated = metrics.get("validated")
            known.append((float(metrics["batches"]), None if validated is None else float(validated)))

    fit(version, tmp_path, Reader())
    assert known == ([(2.0, 0.0), (2.0, 1.0)] if version == "1.4" else [(2.0, None), (2.0, 0.0)])


@pytest.mark.parametrize("version", ["1.2", "1.4"])
def test_a_validation_sees_what_was_changed_and_logged_before(tmp_path: Path, version: str) -> None:
    seen: list[tuple[float, float | None]] = []

    class Zeroing(Model):
        def training_epoch_end(self, outputs: Any) -> None:
            super().training_epoch_end(outputs)
            nn.init.zeros_(self.line.weight)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            ended = self.trainer.callback_metrics.get("ended")
            seen.append((self.line.weight.abs().sum().item(), None if ended is None else float(ended)))

    fit(version, tmp_path, Zeroing(), num_sanity_val_steps=0, max_epochs=1)
    ((weight, ended),) = seen
    assert (weight == 0.0, ended) == ((True, 2.0) if version == "1.2" else (False, None))


def test_what_was_logged_before_a_validation_is_known_at_its_end(tmp_path: Path) -> None:
    known: list[float] = []

    class Reader(Model):
        def on_validation_end(self) -> None:
            known.append(float(self.trainer.callback_metrics["ended"]))

    fit("1.2", tmp_path, Reader(), num_sanity_val_steps=0)
    assert known == [2.0, 2.0]


@pytest.mark.parametrize("moment", ["batch", "validation"])
def test_a_run_that_goes_on_ends_its_epoch_once(tmp_path: Path, moment: str) -> None:
    """From a checkpoint of before the end of the epoch, and of after it."""

    class Saver(pl.Callback):
        saves_checkpoints = True

        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            if moment == "batch" and trainer.is_last_batch and not trainer.current_epoch:
                trainer.save_checkpoint(tmp_path / "saved.ckpt")

        def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            if moment == "validation" and not trainer.sanity_checking and not trainer.current_epoch:
                trainer.save_checkpoint(tmp_path / "saved.ckpt")

    whole = fit("1.3", tmp_path, made_for("1.3"), Saver(), num_sanity_val_steps=0)
    module = made_for("1.3")
    resumed = fit("1.3", tmp_path, module, num_sanity_val_steps=0, ckpt_path=tmp_path / "saved.ckpt")
    ends = ENDS["1.3"].split()
    left = [*ends, "validate"] if moment == "batch" else []
    assert module.log_of_calls == [*left, "batch", "batch", *ends, "validate"]
    assert resumed.callback_metrics == whole.callback_metrics


def test_monitors_alone_are_not_called_before_the_validation(tmp_path: Path) -> None:
    metrics: list[set[str]] = []

    class Plain(Small):
        training_step = Model.training_step

        def note(self, name: str) -> None: ...

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("validated", 1.0)

    class Monitor(ModelCheckpoint):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            metrics.append({*trainer.callback_metrics})

    fit("1.3", tmp_path, Plain(), Monitor(tmp_path), max_epochs=1, num_sanity_val_steps=0)
    assert metrics == [{"batches", "validated"}]


def test_the_monitors_come_last(tmp_path: Path) -> None:
    """A checkpoint is chosen by, and holds, all that the epoch came to."""
    checkpoint = ModelCheckpoint(tmp_path, monitor="ended", save_top_k=-1, filename="{epoch}-{ended:.0f}")
    fit("1.3", tmp_path, made_for("1.3"), checkpoint)
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == [
        "epoch=0-ended=2.ckpt",
        "epoch=1-ended=2.ckpt",
    ]
