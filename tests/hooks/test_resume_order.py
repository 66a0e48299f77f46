"""The order of hooks in `fit` that continues from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl

from .blocks import (
    BACKWARD,
    BATCH,
    BATCH_END,
    BATCH_START,
    LAST_BATCH,
    RESTORED_FIT_START,
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


class SavesIn(pl.Callback):
    """Saves `<global_step>.ckpt` whenever the named hook is called."""

    def __init__(self, hook: str, folder: Path) -> None:
        super().__init__()
        self.hook, self.folder = hook, folder

    def save(self, hook: str, trainer: pl.Trainer) -> None:
        if hook == self.hook:
            trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        self.save("on_train_batch_end", trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.save("on_validation_end", trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.save("on_train_epoch_end", trainer)


def save_in(
    hook: str,
    root: Path,
    *,
    train: int,
    module: type[RecordingModule] = RecordingModule,
    **options: Any,
) -> Path:
    """The folder with the checkpoints that a run of one epoch has saved in the hook."""
    folder = root / "saved"
    trainer = make_trainer([], root, callbacks=[SavesIn(hook, folder)], **options)
    trainer.fit(module([]), datamodule=RecordingData([], train=train))
    return folder


def resume(
    root: Path,
    checkpoint: Path,
    *,
    train: int,
    module: type[RecordingModule] = RecordingModule,
    **options: Any,
) -> tuple[list[str], pl.Trainer]:
    """The calls of a new `fit` from the checkpoint, and its trainer."""
    calls: list[str] = []
    trainer = make_trainer(calls, root, **options)
    trainer.fit(module(calls), datamodule=RecordingData(calls, train=train), ckpt_path=str(checkpoint))
    return calls, trainer


def progress(trainer: pl.Trainer) -> tuple[int, int]:
    return trainer.global_step, trainer.current_epoch


def test_resume_after_an_epoch_starts_the_next_one(tmp_path: Path) -> None:
    """The sanity check runs again."""
    saved = save_in("on_train_epoch_end", tmp_path, train=2)
    calls, trainer = resume(tmp_path, saved / "2.ckpt", train=2, max_epochs=2, num_sanity_val_steps=1)
    assert calls == flat(
        RESTORED_FIT_START,
        *("C.on_sanity_check_start", "D.val_dataloader", evaluated(1), "C.on_sanity_check_end"),
        *("D.train_dataloader", "CM.on_train_start"),
        *("CM.on_train_epoch_start", BATCH, LAST_BATCH, VALIDATION, "CM.on_train_epoch_end"),
        TRAIN_END,
    )
    assert progress(trainer) == (4, 2)


def test_resume_of_a_finished_run_trains_nothing(tmp_path: Path) -> None:
    saved = save_in("on_train_epoch_end", tmp_path, train=2)
    calls, trainer = resume(tmp_path, saved / "2.ckpt", train=2, max_epochs=1)
    assert [call for call in calls if call != "D.train_dataloader"] == flat(
        RESTORED_FIT_START, "CM.on_fit_end", teardown("fit")
    )
    assert progress(trainer) == (2, 1)


def test_resume_within_an_epoch_trains_the_batches_that_are_left(tmp_path: Path) -> None:
    """The epoch has started before: no `on_train_epoch_start`."""
    saved = save_in("on_train_batch_end", tmp_path, train=3)
    calls, trainer = resume(tmp_path, saved / "1.ckpt", train=3)
    assert calls == flat(
        RESTORED_TRAIN_START, BATCH, LAST_BATCH, VALIDATION, "CM.on_train_epoch_end", TRAIN_END
    )
    assert progress(trainer) == (3, 1)


def test_resume_within_an_epoch_then_trains_whole_epochs(tmp_path: Path) -> None:
    saved = save_in("on_train_batch_end", tmp_path, train=2)
    calls, trainer = resume(tmp_path, saved / "1.ckpt", train=2, max_epochs=2)
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
    saved = save_in("on_train_batch_end", tmp_path, train=3)
    calls, trainer = resume(tmp_path, saved / "3.ckpt", train=3, max_epochs=max_epochs)
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
    saved = save_in("on_train_batch_end", tmp_path, train=3, val_check_interval=1)
    calls, _ = resume(tmp_path, saved / "1.ckpt", train=3, val_check_interval=1)
    assert calls == flat(
        *(RESTORED_TRAIN_START, VALIDATION),
        *(BATCH, VALIDATION, LAST_BATCH, VALIDATION),
        *("CM.on_train_epoch_end", TRAIN_END),
    )


def test_resume_after_a_validation_does_not_repeat_it(tmp_path: Path) -> None:
    saved = save_in("on_validation_end", tmp_path, train=3, val_check_interval=1)
    calls, _ = resume(tmp_path, saved / "1.ckpt", train=3, val_check_interval=1)
    assert calls == flat(
        RESTORED_TRAIN_START,
        *(BATCH, VALIDATION, LAST_BATCH, VALIDATION),
        *("CM.on_train_epoch_end", TRAIN_END),
    )


def test_resume_after_the_validation_of_an_epoch_ends_it(tmp_path: Path) -> None:
    saved = save_in("on_validation_end", tmp_path, train=2)
    calls, _ = resume(tmp_path, saved / "2.ckpt", train=2, max_epochs=2)
    assert calls == flat(
        *(RESTORED_TRAIN_START, "CM.on_train_epoch_end"),
        *("CM.on_train_epoch_start", BATCH, LAST_BATCH, VALIDATION, "CM.on_train_epoch_end"),
        TRAIN_END,
    )


def test_resume_after_an_accumulation_window_opens_a_new_one(tmp_path: Path) -> None:
    """Five batches in windows of two; the checkpoint stands after the first window."""
    saved = save_in("on_validation_end", tmp_path, train=5, accumulate_grad_batches=2, val_check_interval=2)
    calls, trainer = resume(
        *(tmp_path, saved / "1.ckpt"), train=5, accumulate_grad_batches=2, limit_val_batches=0
    )
    assert calls == flat(
        *(RESTORED_FIT_START, "D.train_dataloader", "CM.on_train_start"),
        *(BATCH_START, "M.training_step", ZERO_GRAD, BACKWARD, BATCH_END),
        *(BATCH_START, "M.optimizer_step", "M.training_step", BACKWARD, UPDATE, BATCH_END),
        *(LAST_BATCH, "CM.on_train_epoch_end", TRAIN_END),
    )
    assert progress(trainer) == (3, 1)


class OnPlateau(RecordingModule):
    """Its scheduler watches a validation loss that never falls."""

    def make_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}

    def validate_on(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val_loss", 1.0)


def test_resume_after_an_epoch_does_not_lose_the_step_of_a_plateau_scheduler(tmp_path: Path) -> None:
    """It comes after `on_train_epoch_end`, where checkpoints are saved."""
    saved = save_in("on_train_epoch_end", tmp_path, train=2, module=OnPlateau)
    _, resumed = resume(tmp_path, saved / "2.ckpt", train=2, module=OnPlateau, max_epochs=3)
    whole = make_trainer([], tmp_path, max_epochs=3)
    whole.fit(OnPlateau([]), datamodule=RecordingData([], train=2))
    states = [trainer.lr_scheduler_configs[0].scheduler.state_dict() for trainer in (resumed, whole)]
    assert states[0] == states[1]
