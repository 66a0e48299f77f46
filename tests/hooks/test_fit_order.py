"""The order of hooks in `fit`, where nothing special happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import fulmen as pl

from .blocks import (
    BACKWARD,
    BATCH,
    BATCH_END,
    BATCH_START,
    FIT_START,
    LAST_BATCH,
    SAVE,
    TRAIN_END,
    TRAIN_START,
    TRANSFER,
    UPDATE,
    VALIDATION,
    ZERO_GRAD,
    evaluated,
    flat,
    teardown,
)
from .recorder import TRANSFER_HOOKS, RecordingData, RecordingModule, make_trainer, recording


def fit(root: Path, data: RecordingData | None = None, **options: Any) -> list[str]:
    """The calls of one `fit`; `data` brings the list that they are written to."""
    data = data or RecordingData([])
    trainer = make_trainer(data.calls, root, **options)
    trainer.fit(RecordingModule(data.calls), datamodule=data)
    return data.calls


def test_one_epoch_with_sanity_check_and_checkpoint(tmp_path: Path) -> None:
    """The whole contract, spelled out."""
    assert fit(tmp_path, num_sanity_val_steps=1, enable_checkpointing=True) == [
        "M.configure_callbacks",
        "D.prepare_data",
        "M.prepare_data",
        "D.setup fit",
        "C.setup fit",
        "M.setup fit",
        "M.configure_model",
        "M.configure_optimizers",
        "C.on_fit_start",
        "M.on_fit_start",
        "C.on_sanity_check_start",
        "D.val_dataloader",
        "M.on_validation_model_eval",
        "C.on_validation_start",
        "M.on_validation_start",
        "C.on_validation_epoch_start",
        "M.on_validation_epoch_start",
        "M.on_before_batch_transfer",
        "M.transfer_batch_to_device",
        "M.on_after_batch_transfer",
        "C.on_validation_batch_start",
        "M.on_validation_batch_start",
        "M.validation_step",
        "C.on_validation_batch_end",
        "M.on_validation_batch_end",
        "C.on_validation_epoch_end",
        "M.on_validation_epoch_end",
        "C.on_validation_end",
        "M.on_validation_end",
        "M.on_validation_model_train",
        "C.on_sanity_check_end",
        "D.train_dataloader",
        "C.on_train_start",
        "M.on_train_start",
        "C.on_train_epoch_start",
        "M.on_train_epoch_start",
        # first batch
        "M.on_before_batch_transfer",
        "M.transfer_batch_to_device",
        "M.on_after_batch_transfer",
        "C.on_train_batch_start",
        "M.on_train_batch_start",
        "M.optimizer_step",
        "M.training_step",
        "C.on_before_zero_grad",
        "M.on_before_zero_grad",
        "M.optimizer_zero_grad",
        "C.on_before_backward",
        "M.on_before_backward",
        "M.backward",
        "C.on_after_backward",
        "M.on_after_backward",
        "C.on_before_optimizer_step",
        "M.on_before_optimizer_step",
        "M.configure_gradient_clipping",
        "M.clip_gradients",
        "C.on_train_batch_end",
        "M.on_train_batch_end",
        # second batch, the last of the epoch
        "M.on_before_batch_transfer",
        "M.transfer_batch_to_device",
        "M.on_after_batch_transfer",
        "C.on_train_batch_start",
        "M.on_train_batch_start",
        "M.optimizer_step",
        "M.training_step",
        "C.on_before_zero_grad",
        "M.on_before_zero_grad",
        "M.optimizer_zero_grad",
        "C.on_before_backward",
        "M.on_before_backward",
        "M.backward",
        "C.on_after_backward",
        "M.on_after_backward",
        "C.on_before_optimizer_step",
        "M.on_before_optimizer_step",
        "M.configure_gradient_clipping",
        "M.clip_gradients",
        "M.lr_scheduler_step",
        "C.on_train_batch_end",
        "M.on_train_batch_end",
        # validation
        "M.on_validation_model_zero_grad",
        "M.on_validation_model_eval",
        "C.on_validation_start",
        "M.on_validation_start",
        "C.on_validation_epoch_start",
        "M.on_validation_epoch_start",
        "M.on_before_batch_transfer",
        "M.transfer_batch_to_device",
        "M.on_after_batch_transfer",
        "C.on_validation_batch_start",
        "M.on_validation_batch_start",
        "M.validation_step",
        "C.on_validation_batch_end",
        "M.on_validation_batch_end",
        "C.on_validation_epoch_end",
        "M.on_validation_epoch_end",
        "C.on_validation_end",
        "M.on_validation_end",
        "M.on_validation_model_train",
        # end of the epoch, checkpoint
        "C.on_train_epoch_end",
        "M.on_train_epoch_end",
        "C.state_dict",
        "D.state_dict",
        "C.on_save_checkpoint",
        "M.on_save_checkpoint",
        "C.on_train_end",
        "M.on_train_end",
        "C.on_fit_end",
        "M.on_fit_end",
        "D.teardown fit",
        "C.teardown fit",
        "M.teardown fit",
    ]


def test_without_sanity_check_both_loaders_are_made_before_training(tmp_path: Path) -> None:
    assert fit(tmp_path) == flat(
        FIT_START,
        "D.train_dataloader",
        "D.val_dataloader",
        "CM.on_train_start",
        "CM.on_train_epoch_start",
        BATCH,
        LAST_BATCH,
        VALIDATION,
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


def test_two_epochs_save_after_each(tmp_path: Path) -> None:
    epoch = flat("CM.on_train_epoch_start", BATCH, LAST_BATCH, VALIDATION, "CM.on_train_epoch_end", SAVE)
    assert fit(tmp_path, max_epochs=2, enable_checkpointing=True) == flat(
        TRAIN_START, epoch, epoch, TRAIN_END
    )


def test_accumulation_zeroes_at_the_first_batch_and_steps_at_the_last(tmp_path: Path) -> None:
    """Three batches in windows of two: the last window has one batch."""
    calls = fit(tmp_path, RecordingData([], train=3), accumulate_grad_batches=2)
    assert calls == flat(
        TRAIN_START,
        "CM.on_train_epoch_start",
        # first of the window: no optimizer_step
        *(BATCH_START, "M.training_step", ZERO_GRAD, BACKWARD, BATCH_END),
        # last of the window: no zero_grad
        *(BATCH_START, "M.optimizer_step", "M.training_step", BACKWARD, UPDATE, BATCH_END),
        # a window of its own
        LAST_BATCH,
        VALIDATION,
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


def test_validation_within_an_accumulation_window_keeps_the_gradients(tmp_path: Path) -> None:
    """No `on_validation_model_zero_grad` there."""
    calls = fit(tmp_path, RecordingData([], train=2), accumulate_grad_batches=2, val_check_interval=1)
    assert calls == flat(
        TRAIN_START,
        "CM.on_train_epoch_start",
        *(BATCH_START, "M.training_step", ZERO_GRAD, BACKWARD, BATCH_END),
        evaluated(1),
        *(BATCH_START, "M.optimizer_step", "M.training_step", BACKWARD, UPDATE, "M.lr_scheduler_step"),
        BATCH_END,
        VALIDATION,
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


@pytest.mark.parametrize("options", [{"gradient_clip_val": 1.0}, {"gradient_clip_algorithm": "value"}])
def test_clipping_hooks_run_whether_or_not_there_is_a_threshold(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    assert fit(tmp_path, **options) == fit(tmp_path)


def test_val_check_interval_validates_after_each_batch(tmp_path: Path) -> None:
    assert fit(tmp_path, val_check_interval=1) == flat(
        TRAIN_START,
        "CM.on_train_epoch_start",
        BATCH,
        VALIDATION,
        LAST_BATCH,
        VALIDATION,
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


def test_val_check_interval_counts_across_epochs_on_request(tmp_path: Path) -> None:
    calls = fit(tmp_path, val_check_interval=3, check_val_every_n_epoch=None, max_epochs=2)
    assert calls == flat(
        TRAIN_START,
        *("CM.on_train_epoch_start", BATCH, LAST_BATCH, "CM.on_train_epoch_end"),
        *("CM.on_train_epoch_start", BATCH, VALIDATION, LAST_BATCH, "CM.on_train_epoch_end"),
        TRAIN_END,
    )


def test_check_val_every_n_epoch_makes_the_loader_when_it_is_needed(tmp_path: Path) -> None:
    assert fit(tmp_path, check_val_every_n_epoch=2, max_epochs=2) == flat(
        FIT_START,
        "D.train_dataloader",
        "CM.on_train_start",
        *("CM.on_train_epoch_start", BATCH, LAST_BATCH, "CM.on_train_epoch_end"),
        *("CM.on_train_epoch_start", BATCH, LAST_BATCH),
        *("M.on_validation_model_zero_grad", "D.val_dataloader", evaluated(1)),
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


def test_several_validation_loaders_run_one_after_the_other(tmp_path: Path) -> None:
    """Loaders of one and two batches; the sanity check takes one batch of each."""
    calls = fit(tmp_path, RecordingData([], train=1, val=(1, 2)), num_sanity_val_steps=1)
    assert calls == flat(
        FIT_START,
        "C.on_sanity_check_start",
        "D.val_dataloader",
        evaluated(2),
        "C.on_sanity_check_end",
        "D.train_dataloader",
        "CM.on_train_start",
        "CM.on_train_epoch_start",
        LAST_BATCH,
        "M.on_validation_model_zero_grad",
        evaluated(3),
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


def test_fast_dev_run_is_one_batch_of_each_without_sanity_check_and_checkpoint(tmp_path: Path) -> None:
    calls = fit(
        tmp_path,
        RecordingData([], val=3),
        fast_dev_run=True,
        enable_checkpointing=True,
        num_sanity_val_steps=2,
    )
    assert calls == flat(
        TRAIN_START,
        "CM.on_train_epoch_start",
        LAST_BATCH,
        VALIDATION,
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


def test_overfit_batches_limits_training_and_validation(tmp_path: Path) -> None:
    assert fit(tmp_path, RecordingData([], val=3), overfit_batches=1) == flat(
        TRAIN_START,
        "CM.on_train_epoch_start",
        LAST_BATCH,
        VALIDATION,
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


def test_limit_val_batches_zero_never_asks_for_the_loader(tmp_path: Path) -> None:
    calls = fit(tmp_path, limit_val_batches=0, num_sanity_val_steps=2, enable_checkpointing=True)
    assert calls == flat(
        FIT_START,
        "D.train_dataloader",
        "CM.on_train_start",
        "CM.on_train_epoch_start",
        BATCH,
        LAST_BATCH,
        "CM.on_train_epoch_end",
        SAVE,
        TRAIN_END,
    )


def test_limit_train_batches_zero_trains_nothing(tmp_path: Path) -> None:
    assert fit(tmp_path, limit_train_batches=0) == flat(FIT_START, "CM.on_fit_end", teardown("fit"))


@pytest.mark.parametrize("options", [{"max_epochs": 0}, {"max_steps": 0}])
def test_no_epoch_to_train_trains_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    calls = fit(tmp_path, **options)
    assert [call for call in calls if call != "D.train_dataloader"] == flat(
        FIT_START, "CM.on_fit_end", teardown("fit")
    )


def test_module_without_validation_step_is_not_validated(tmp_path: Path) -> None:
    class WithoutValidation(RecordingModule):
        validation_step = pl.LightningModule.validation_step

    calls: list[str] = []
    trainer = make_trainer(calls, tmp_path, num_sanity_val_steps=1)
    trainer.fit(WithoutValidation(calls), RecordingData([]).train_dataloader())
    assert calls == flat(
        *("M.configure_callbacks", "M.prepare_data", "CM.setup fit", "M.configure_model"),
        *("M.configure_optimizers", "CM.on_fit_start"),
        "CM.on_train_start",
        "CM.on_train_epoch_start",
        BATCH,
        LAST_BATCH,
        "CM.on_train_epoch_end",
        *("CM.on_train_end", "CM.on_fit_end", "CM.teardown fit"),
    )


class Stream(IterableDataset):
    """Three samples, a number that it does not tell."""

    def __iter__(self) -> Any:
        return iter(torch.ones(3, 2))


class StreamData(RecordingData):
    """Trains on a loader without a length."""

    def loaders(self, split: str) -> Any:
        return DataLoader(Stream(), batch_size=1) if split == "train" else super().loaders(split)


@pytest.mark.parametrize("options", [{}, {"limit_train_batches": 10}])
def test_loader_without_length_knows_its_last_batch(tmp_path: Path, options: dict[str, Any]) -> None:
    """The scheduler steps in it and validation follows, also where a limit is never reached."""
    epoch = flat("CM.on_train_epoch_start", BATCH, BATCH, LAST_BATCH, VALIDATION, "CM.on_train_epoch_end")
    assert fit(tmp_path, StreamData([]), max_epochs=2, **options) == flat(
        TRAIN_START, epoch, epoch, TRAIN_END
    )


def test_loader_without_length_ends_the_accumulation_window(tmp_path: Path) -> None:
    assert fit(tmp_path, StreamData([]), accumulate_grad_batches=2) == flat(
        TRAIN_START,
        "CM.on_train_epoch_start",
        *(BATCH_START, "M.training_step", ZERO_GRAD, BACKWARD, BATCH_END),
        *(BATCH_START, "M.optimizer_step", "M.training_step", BACKWARD, UPDATE, BATCH_END),
        LAST_BATCH,
        VALIDATION,
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


def test_loader_without_length_validates_by_number_of_batches(tmp_path: Path) -> None:
    assert fit(tmp_path, StreamData([]), val_check_interval=2) == flat(
        TRAIN_START,
        "CM.on_train_epoch_start",
        BATCH,
        BATCH,
        VALIDATION,
        LAST_BATCH,
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


def test_loaders_are_made_again_every_n_epochs(tmp_path: Path) -> None:
    """The training loader before the epoch starts, the validation loader when validation starts."""
    calls = fit(tmp_path, reload_dataloaders_every_n_epochs=2, max_epochs=3)
    assert calls == flat(
        TRAIN_START,
        *("CM.on_train_epoch_start", BATCH, LAST_BATCH, VALIDATION, "CM.on_train_epoch_end"),
        *("CM.on_train_epoch_start", BATCH, LAST_BATCH, VALIDATION, "CM.on_train_epoch_end"),
        "D.train_dataloader",
        *("CM.on_train_epoch_start", BATCH, LAST_BATCH),
        *("M.on_validation_model_zero_grad", "D.val_dataloader", evaluated(1)),
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


@recording("D", TRANSFER_HOOKS)
class TransferringData(RecordingData):
    """Has the three transfer hooks of its own."""


def test_transfer_hooks_of_the_datamodule_replace_those_of_the_module(tmp_path: Path) -> None:
    with_module_hooks = fit(tmp_path, RecordingData([]))
    assert fit(tmp_path, TransferringData([])) == [
        call.replace("M.", "D.") if call in TRANSFER else call for call in with_module_hooks
    ]


def test_loaders_that_are_passed_need_no_datamodule(tmp_path: Path) -> None:
    calls: list[str] = []
    data = RecordingData([], train=1)
    trainer = make_trainer(calls, tmp_path)
    trainer.fit(RecordingModule(calls), data.train_dataloader(), data.val_dataloader())
    assert calls == flat(
        *("M.configure_callbacks", "M.prepare_data", "CM.setup fit", "M.configure_model"),
        *("M.configure_optimizers", "CM.on_fit_start"),
        "CM.on_train_start",
        "CM.on_train_epoch_start",
        LAST_BATCH,
        VALIDATION,
        "CM.on_train_epoch_end",
        *("CM.on_train_end", "CM.on_fit_end", "CM.teardown fit"),
    )


def test_second_fit_of_a_finished_trainer_has_nothing_to_do(tmp_path: Path) -> None:
    calls: list[str] = []
    trainer, module, data = make_trainer(calls, tmp_path), RecordingModule(calls), RecordingData(calls)
    trainer.fit(module, datamodule=data)
    calls.clear()
    trainer.fit(module, datamodule=data)
    assert [call for call in calls if call != "D.train_dataloader"] == flat(
        FIT_START, "CM.on_fit_end", teardown("fit")
    )
