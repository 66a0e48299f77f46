"""The order among several callbacks, and where EarlyStopping and ModelCheckpoint stand."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

import fulmen as pl
from fulmen.callbacks import EarlyStopping, ModelCheckpoint

from .blocks import (
    BACKWARD,
    BATCH,
    BATCH_END,
    BATCH_START,
    EVALUATED_BATCH,
    FIT_START,
    LAST_BATCH,
    SAVE,
    STEP,
    TRAIN_END,
    TRAIN_START,
    UPDATE,
    VALIDATION,
    ZERO_GRAD,
    evaluated,
    flat,
    insert_after,
    teardown,
)
from .recorder import RecordingCallback, RecordingData, RecordingModule, make_trainer, recording

NOTED = (
    *("on_train_epoch_start", "on_train_batch_end", "on_validation_end", "on_train_epoch_end"),
    *("on_save_checkpoint", "on_train_end"),
)


@recording("ES", NOTED)
class NotedStopping(EarlyStopping):
    """Notes some of its hooks."""

    def __init__(self, calls: list[str], **options: Any) -> None:
        super().__init__(**options)
        self.calls = calls


@recording("MC", NOTED)
class NotedCheckpoint(ModelCheckpoint):
    """Notes some of its hooks."""

    def __init__(self, calls: list[str], **options: Any) -> None:
        super().__init__(**options)
        self.calls = calls


class LogsLoss(RecordingModule):
    """Logs a validation loss that never changes."""

    def validate_on(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val_loss", 1.0)


def fit(root: Path, calls: list[str], *callbacks: pl.Callback, train: int = 2, **options: Any) -> pl.Trainer:
    """A trainer after one `fit` with these callbacks, on `train` batches."""
    trainer = make_trainer(calls, root, callbacks=callbacks, enable_checkpointing=True, **options)
    trainer.fit(LogsLoss(calls), datamodule=RecordingData(calls, train=train))
    return trainer


def by_all(hook: str) -> list[str]:
    """A hook of both noted callbacks, in the order of the list, checkpoints last.

    The module comes after all; but where something has ended, before the checkpoint that it is saved in.
    """
    module_and_checkpoint = (
        [f"M.{hook}", f"MC.{hook}"] if hook.endswith("_end") else [f"MC.{hook}", f"M.{hook}"]
    )
    return [f"C.{hook}", f"ES.{hook}", *module_and_checkpoint]


SAVE_OF_ALL = ["C.state_dict", "D.state_dict", *by_all("on_save_checkpoint")]


def test_checkpoints_go_last_in_the_list(tmp_path: Path) -> None:
    calls: list[str] = []
    trainer = fit(tmp_path, calls, ModelCheckpoint(), EarlyStopping("val_loss"))
    assert [type(callback) for callback in trainer.callbacks] == [
        RecordingCallback,
        EarlyStopping,
        ModelCheckpoint,
    ]


def test_stopping_and_checkpoint_follow_the_module_at_the_end_of_a_training_epoch(tmp_path: Path) -> None:
    """There and only there; so they see what the module logs in `on_train_epoch_end`."""
    calls: list[str] = []
    checkpoint, stopping = (
        NotedCheckpoint(calls, monitor="val_loss"),
        NotedStopping(calls, monitor="val_loss"),
    )
    fit(tmp_path, calls, checkpoint, stopping)
    assert calls == flat(
        TRAIN_START,
        by_all("on_train_epoch_start"),
        *(STEP, by_all("on_train_batch_end")),
        *(STEP, "M.lr_scheduler_step", by_all("on_train_batch_end")),
        *("M.on_validation_model_zero_grad", "M.on_validation_model_eval"),
        *("CM.on_validation_start", "CM.on_validation_epoch_start", EVALUATED_BATCH),
        *("CM.on_validation_epoch_end", by_all("on_validation_end"), "M.on_validation_model_train"),
        *("CM.on_train_epoch_end", "ES.on_train_epoch_end", "MC.on_train_epoch_end", SAVE_OF_ALL),
        *(by_all("on_train_end"), "CM.on_fit_end", teardown("fit")),
    )


def test_checkpoint_after_each_validation_saves_in_on_validation_end(tmp_path: Path) -> None:
    """After the module's hook: what that changes is saved."""
    calls: list[str] = []
    fit(tmp_path, calls, ModelCheckpoint(save_on_train_epoch_end=False))
    assert calls == flat(
        *(TRAIN_START, "CM.on_train_epoch_start", BATCH, LAST_BATCH),
        insert_after("M.on_validation_end", SAVE, VALIDATION),
        *("CM.on_train_epoch_end", TRAIN_END),
    )


def test_checkpoint_follows_rare_validations(tmp_path: Path) -> None:
    """Where not each epoch validates, the save is in `on_validation_end`."""
    calls: list[str] = []
    checkpoint = ModelCheckpoint(monitor="val_loss")
    fit(tmp_path, calls, checkpoint, max_epochs=2, check_val_every_n_epoch=2)
    assert calls == flat(
        *(FIT_START, "D.train_dataloader", "CM.on_train_start"),
        *("CM.on_train_epoch_start", BATCH, LAST_BATCH, "CM.on_train_epoch_end"),
        *("CM.on_train_epoch_start", BATCH, LAST_BATCH),
        *("M.on_validation_model_zero_grad", "D.val_dataloader"),
        insert_after("M.on_validation_end", SAVE, evaluated(1)),
        *("CM.on_train_epoch_end", TRAIN_END),
    )


UNVALIDATED_START = flat(FIT_START, "D.train_dataloader", "CM.on_train_start", "CM.on_train_epoch_start")
BATCH_END_SAVED = insert_after("M.on_train_batch_end", SAVE, BATCH_END)


def test_checkpoint_every_n_train_steps_saves_in_on_train_batch_end(tmp_path: Path) -> None:
    """After the module's hook and the scheduler: what they change is saved."""
    calls: list[str] = []
    fit(tmp_path, calls, ModelCheckpoint(every_n_train_steps=1), limit_val_batches=0)
    assert calls == flat(
        UNVALIDATED_START,
        *(STEP, BATCH_END_SAVED),
        *(STEP, "M.lr_scheduler_step", BATCH_END_SAVED),
        *("CM.on_train_epoch_end", TRAIN_END),
    )


def test_checkpoint_every_n_train_steps_waits_for_a_validation_that_is_due(tmp_path: Path) -> None:
    """So it knows what the validation logs, and nothing is left to do after the batch that it stands for."""
    calls: list[str] = []
    fit(tmp_path, calls, ModelCheckpoint(every_n_train_steps=1))
    assert calls == flat(
        *(TRAIN_START, "CM.on_train_epoch_start"),
        *(STEP, BATCH_END_SAVED),
        *(LAST_BATCH, insert_after("M.on_validation_end", SAVE, VALIDATION)),
        *("CM.on_train_epoch_end", TRAIN_END),
    )


def test_checkpoint_every_n_train_steps_waits_for_the_end_of_the_accumulation_window(tmp_path: Path) -> None:
    calls: list[str] = []
    every_step = ModelCheckpoint(every_n_train_steps=1)
    fit(tmp_path, calls, every_step, limit_val_batches=0, accumulate_grad_batches=2)
    assert calls == flat(
        UNVALIDATED_START,
        *(BATCH_START, "M.training_step", ZERO_GRAD, BACKWARD, BATCH_END),
        *(BATCH_START, "M.optimizer_step", "M.training_step", BACKWARD, UPDATE),
        *("M.lr_scheduler_step", BATCH_END_SAVED),
        *("CM.on_train_epoch_end", TRAIN_END),
    )


def test_checkpoint_by_time_saves_in_on_train_batch_end(tmp_path: Path) -> None:
    calls: list[str] = []
    always = ModelCheckpoint(train_time_interval=timedelta(seconds=0))
    fit(tmp_path, calls, always, train=1, limit_val_batches=0)
    assert calls == flat(
        UNVALIDATED_START,
        *(STEP, "M.lr_scheduler_step", BATCH_END_SAVED),
        *("CM.on_train_epoch_end", TRAIN_END),
    )


def test_checkpoint_every_second_epoch(tmp_path: Path) -> None:
    calls: list[str] = []
    fit(tmp_path, calls, ModelCheckpoint(every_n_epochs=2), max_epochs=2)
    epoch = flat("CM.on_train_epoch_start", BATCH, LAST_BATCH, VALIDATION, "CM.on_train_epoch_end")
    assert calls == flat(TRAIN_START, epoch, epoch, SAVE, TRAIN_END)


def test_checkpoint_that_is_not_among_the_best_is_not_written(tmp_path: Path) -> None:
    """The loss of the second epoch is no better."""
    calls: list[str] = []
    fit(tmp_path, calls, ModelCheckpoint(monitor="val_loss"), max_epochs=2)
    epoch = flat("CM.on_train_epoch_start", BATCH, LAST_BATCH, VALIDATION, "CM.on_train_epoch_end")
    assert calls == flat(TRAIN_START, epoch, SAVE, epoch, TRAIN_END)


def test_early_stopping_ends_training_after_the_epoch(tmp_path: Path) -> None:
    calls: list[str] = []
    trainer = fit(tmp_path, calls, EarlyStopping("val_loss", patience=1), max_epochs=5)
    epoch = flat("CM.on_train_epoch_start", BATCH, LAST_BATCH, VALIDATION, "CM.on_train_epoch_end", SAVE)
    assert calls == flat(TRAIN_START, epoch, epoch, TRAIN_END)
    assert trainer.should_stop


def test_early_stopping_by_each_validation_ends_training_within_the_epoch(tmp_path: Path) -> None:
    calls: list[str] = []
    stopping = EarlyStopping("val_loss", patience=1, check_on_train_epoch_end=False)
    make_trainer(calls, tmp_path, callbacks=[stopping], val_check_interval=0.25, max_epochs=5).fit(
        LogsLoss(calls), datamodule=RecordingData(calls, train=4)
    )
    assert calls == flat(
        *(TRAIN_START, "CM.on_train_epoch_start", BATCH, VALIDATION, BATCH, VALIDATION),
        *("CM.on_train_epoch_end", TRAIN_END),
    )


def test_checkpoint_saved_by_hand_calls_the_state_hooks(tmp_path: Path) -> None:
    calls: list[str] = []
    trainer = make_trainer(calls, tmp_path)
    trainer.fit(RecordingModule(calls), datamodule=RecordingData(calls))
    calls.clear()
    trainer.save_checkpoint(tmp_path / "by_hand.ckpt")
    assert calls == SAVE


class Second(pl.Callback):
    """Notes its `on_fit_start`."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__()
        self.calls = calls

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.calls.append("second callback")


class BringsCallback(RecordingModule):
    """Has a callback of its own."""

    def configure_callbacks(self) -> list[pl.Callback]:
        return [Second(self.calls)]


def test_callbacks_of_the_module_follow_those_of_the_trainer(tmp_path: Path) -> None:
    calls: list[str] = []
    make_trainer(calls, tmp_path).fit(BringsCallback(calls), datamodule=RecordingData(calls))
    start = calls.index("C.on_fit_start")
    assert calls[start : start + 3] == ["C.on_fit_start", "second callback", "M.on_fit_start"]
