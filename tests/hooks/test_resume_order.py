"""The order of hooks in `fit` that continues from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint

from .blocks import (
    BACKWARD,
    BATCH,
    BATCH_END,
    BATCH_START,
    LAST_BATCH,
    RESTORED_FIT_START,
    SAVE,
    TRAIN_END,
    UPDATE,
    VALIDATION,
    ZERO_GRAD,
    evaluated,
    flat,
    teardown,
)
from .recorder import RecordingData, RecordingModule, make_trainer

RESTORED_TRAIN_START = flat(RESTORED_FIT_START, "D.train_dataloader", "D.val_dataloader", "CM.on_train_start")


def save_all(folder: Path, *, train: int, each_step: bool = False, **options: Any) -> Path:
    """The folder with the checkpoints of one epoch, one after the epoch or one after each step."""
    keep = ModelCheckpoint(
        dirpath=folder, filename="{step}", save_top_k=-1, every_n_train_steps=1 if each_step else None
    )
    trainer = make_trainer([], folder, callbacks=[keep], enable_checkpointing=True, **options)
    trainer.fit(RecordingModule([]), datamodule=RecordingData([], train=train))
    return folder


def resume(root: Path, checkpoint: Path, *, train: int, **options: Any) -> tuple[list[str], pl.Trainer]:
    """The calls of a new `fit` from the checkpoint, and its trainer."""
    calls: list[str] = []
    trainer = make_trainer(calls, root, **options)
    trainer.fit(
        RecordingModule(calls), datamodule=RecordingData(calls, train=train), ckpt_path=str(checkpoint)
    )
    return calls, trainer


def progress(trainer: pl.Trainer) -> tuple[int, int]:
    return trainer.global_step, trainer.current_epoch


def test_resume_after_an_epoch_starts_the_next_one(tmp_path: Path) -> None:
    """The sanity check runs again."""
    saved = save_all(tmp_path / "saved", train=2)
    calls, trainer = resume(
        *(tmp_path, saved / "step=2.ckpt"),
        train=2,
        max_epochs=2,
        num_sanity_val_steps=1,
        enable_checkpointing=True,
    )
    assert calls == flat(
        RESTORED_FIT_START,
        *("C.on_sanity_check_start", "D.val_dataloader", evaluated(1), "C.on_sanity_check_end"),
        *("D.train_dataloader", "CM.on_train_start"),
        *("CM.on_train_epoch_start", BATCH, LAST_BATCH, VALIDATION, "CM.on_train_epoch_end", SAVE),
        TRAIN_END,
    )
    assert progress(trainer) == (4, 2)


def test_resume_of_a_finished_run_trains_nothing(tmp_path: Path) -> None:
    saved = save_all(tmp_path / "saved", train=2)
    calls, trainer = resume(tmp_path, saved / "step=2.ckpt", train=2, max_epochs=1)
    assert [call for call in calls if call != "D.train_dataloader"] == flat(
        RESTORED_FIT_START, "CM.on_fit_end", teardown("fit")
    )
    assert progress(trainer) == (2, 1)


def test_resume_within_an_epoch_trains_the_batches_that_are_left(tmp_path: Path) -> None:
    """The epoch has started before: no `on_train_epoch_start`."""
    saved = save_all(tmp_path / "saved", train=3, each_step=True)
    calls, trainer = resume(tmp_path, saved / "step=1.ckpt", train=3)
    assert calls == flat(
        RESTORED_TRAIN_START, BATCH, LAST_BATCH, VALIDATION, "CM.on_train_epoch_end", TRAIN_END
    )
    assert progress(trainer) == (3, 1)


def test_resume_within_an_epoch_then_trains_whole_epochs(tmp_path: Path) -> None:
    saved = save_all(tmp_path / "saved", train=2, each_step=True)
    calls, trainer = resume(tmp_path, saved / "step=1.ckpt", train=2, max_epochs=2)
    assert calls == flat(
        RESTORED_TRAIN_START,
        *(LAST_BATCH, VALIDATION, "CM.on_train_epoch_end"),
        *("CM.on_train_epoch_start", BATCH, LAST_BATCH, VALIDATION, "CM.on_train_epoch_end"),
        TRAIN_END,
    )
    assert progress(trainer) == (4, 2)


@pytest.mark.parametrize("max_epochs", [1, 2])
def test_resume_after_the_last_batch_ends_the_epoch_as_if_never_interrupted(
    tmp_path: Path, max_epochs: int
) -> None:
    """What followed the save is still to be done: validation, the end of the epoch, the next epochs."""
    saved = save_all(tmp_path / "saved", train=3, each_step=True)
    calls, trainer = resume(tmp_path, saved / "step=3.ckpt", train=3, max_epochs=max_epochs)
    epoch = flat(
        *("CM.on_train_epoch_start", BATCH, BATCH, LAST_BATCH),
        *(VALIDATION, "CM.on_train_epoch_end"),
    )
    assert calls == flat(
        RESTORED_TRAIN_START,
        *(VALIDATION, "CM.on_train_epoch_end"),
        epoch * (max_epochs - 1),
        TRAIN_END,
    )
    assert progress(trainer) == (3 * max_epochs, max_epochs)


def test_resume_runs_the_validation_that_was_due_after_the_save(tmp_path: Path) -> None:
    saved = save_all(tmp_path / "saved", train=3, each_step=True, val_check_interval=1)
    calls, _ = resume(tmp_path, saved / "step=1.ckpt", train=3, val_check_interval=1)
    assert calls == flat(
        RESTORED_TRAIN_START,
        VALIDATION,
        *(BATCH, VALIDATION, LAST_BATCH, VALIDATION),
        *("CM.on_train_epoch_end", TRAIN_END),
    )


def test_resume_after_a_validation_within_the_epoch_does_not_repeat_it(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    keep = ModelCheckpoint(dirpath=folder, filename="{step}", save_top_k=-1, save_on_train_epoch_end=False)
    trainer = make_trainer([], folder, callbacks=[keep], enable_checkpointing=True, val_check_interval=1)
    trainer.fit(RecordingModule([]), datamodule=RecordingData([], train=3))

    calls, _ = resume(tmp_path, folder / "step=1.ckpt", train=3, val_check_interval=1)
    assert calls == flat(
        RESTORED_TRAIN_START,
        *(BATCH, VALIDATION, LAST_BATCH, VALIDATION),
        *("CM.on_train_epoch_end", TRAIN_END),
    )

    calls, _ = resume(tmp_path, folder / "step=3.ckpt", train=3, val_check_interval=1, max_epochs=2)
    assert calls == flat(
        RESTORED_TRAIN_START,
        "CM.on_train_epoch_end",
        *("CM.on_train_epoch_start", BATCH, VALIDATION, BATCH, VALIDATION, LAST_BATCH, VALIDATION),
        *("CM.on_train_epoch_end", TRAIN_END),
    )


def test_resume_starts_a_new_accumulation_window(tmp_path: Path) -> None:
    """Five batches in windows of two; the checkpoint stands after the first window."""
    saved = save_all(tmp_path / "saved", train=5, each_step=True, accumulate_grad_batches=2)
    calls, trainer = resume(tmp_path, saved / "step=1.ckpt", train=5, accumulate_grad_batches=2)
    assert calls == flat(
        RESTORED_TRAIN_START,
        *(BATCH_START, "M.training_step", ZERO_GRAD, BACKWARD, BATCH_END),
        *(BATCH_START, "M.optimizer_step", "M.training_step", BACKWARD, UPDATE, BATCH_END),
        *(LAST_BATCH, VALIDATION, "CM.on_train_epoch_end", TRAIN_END),
    )
    assert progress(trainer) == (3, 1)
