"""What `trainer.global_step` and `trainer.current_epoch` are in each hook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fulmen as pl

from .recorder import RecordingData, RecordingModule, make_trainer


class ProgressNotes(list[str]):
    """Appends `hook step epoch`, as the trainer says at that moment."""

    trainer: pl.Trainer

    def append(self, call: str) -> None:
        super().append(f"{call} {self.trainer.global_step} {self.trainer.current_epoch}")


def seen(root: Path, *hooks: str, train: int = 2, **options: Any) -> list[str]:
    """The notes of these hooks during one `fit`."""
    notes = ProgressNotes()
    notes.trainer = make_trainer(notes, root, **options)
    notes.trainer.fit(RecordingModule(notes), datamodule=RecordingData(notes, train=train))
    return [note for note in notes if note.split()[0] in hooks]


def test_epoch_counts_after_its_end_hooks_and_saves(tmp_path: Path) -> None:
    hooks = ("on_sanity_check_end", "on_train_start", "on_train_epoch_start", "on_validation_end")
    more = ("on_train_epoch_end", "on_save_checkpoint", "on_train_end", "on_fit_end", "teardown")
    noted = seen(
        tmp_path,
        *(f"C.{hook}" for hook in (*hooks, *more)),
        max_epochs=2,
        num_sanity_val_steps=1,
        enable_checkpointing=True,
    )
    assert noted == [
        "C.on_validation_end 0 0",
        "C.on_sanity_check_end 0 0",
        "C.on_train_start 0 0",
        "C.on_train_epoch_start 0 0",
        "C.on_validation_end 2 0",
        "C.on_train_epoch_end 2 0",
        "C.on_save_checkpoint 2 0",
        "C.on_train_epoch_start 2 1",
        "C.on_validation_end 4 1",
        "C.on_train_epoch_end 4 1",
        "C.on_save_checkpoint 4 1",
        "C.on_train_end 4 2",
        "C.on_fit_end 4 2",
        "C.teardown fit 4 2",
    ]


def test_step_counts_as_soon_as_the_optimizer_has_stepped(tmp_path: Path) -> None:
    hooks = ("on_train_batch_start", "on_before_zero_grad", "on_before_optimizer_step", "on_train_batch_end")
    noted = seen(tmp_path, *(f"C.{hook}" for hook in hooks), "M.training_step", "M.lr_scheduler_step")
    assert noted == [
        "C.on_train_batch_start 0 0",
        "M.training_step 0 0",
        "C.on_before_zero_grad 0 0",
        "C.on_before_optimizer_step 0 0",
        "C.on_train_batch_end 1 0",
        "C.on_train_batch_start 1 0",
        "M.training_step 1 0",
        "C.on_before_zero_grad 1 0",
        "C.on_before_optimizer_step 1 0",
        "M.lr_scheduler_step 2 0",
        "C.on_train_batch_end 2 0",
    ]


def test_step_counts_updates_when_gradients_accumulate(tmp_path: Path) -> None:
    """Three batches in windows of two."""
    noted = seen(tmp_path, "C.on_train_batch_end", train=3, accumulate_grad_batches=2)
    assert noted == ["C.on_train_batch_end 0 0", "C.on_train_batch_end 1 0", "C.on_train_batch_end 2 0"]


def test_progress_stays_after_fit(tmp_path: Path) -> None:
    notes = ProgressNotes()
    notes.trainer = make_trainer(notes, tmp_path, max_epochs=2)
    module, data = RecordingModule(notes), RecordingData(notes)
    notes.trainer.fit(module, datamodule=data)
    notes.clear()
    notes.trainer.test(module, datamodule=data)
    assert {
        note.split(maxsplit=1)[1] for note in notes if "setup" not in note and "teardown" not in note
    } == {"4 2"}
