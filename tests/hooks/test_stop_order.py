"""The order of hooks where training ends early: skipped epochs, limits, stop requests, exceptions."""

from __future__ import annotations

import os
import signal
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
    FIT_START,
    LAST_BATCH,
    SAVE,
    TRAIN_END,
    TRAIN_START,
    TRANSFER,
    UPDATE,
    VALIDATION,
    ZERO_GRAD,
    flat,
    prepare,
    teardown,
)
from .recorder import RecordingData, RecordingModule, make_trainer


def fit(root: Path, module: RecordingModule, *, train: int = 3, **options: Any) -> pl.Trainer:
    """The trainer after one `fit` on `train` batches; the calls are in `module.calls`."""
    trainer = make_trainer(module.calls, root, **options)
    trainer.fit(module, datamodule=RecordingData(module.calls, train=train))
    return trainer


class SkipsRest(RecordingModule):
    """Returns -1 from `on_train_batch_start` at the given batch."""

    def __init__(self, calls: list[str], skipped: int) -> None:
        super().__init__(calls)
        self.skipped = skipped

    def on_train_batch_start(self, batch: torch.Tensor, batch_idx: int) -> int | None:
        super().on_train_batch_start(batch, batch_idx)
        return -1 if batch_idx == self.skipped else None


@pytest.mark.filterwarnings("ignore:Detected call of .lr_scheduler.step")  # nothing was trained before it
@pytest.mark.parametrize("trained", [0, 1, 2])
def test_minus_one_skips_the_rest_of_the_epoch_and_its_validation(tmp_path: Path, trained: int) -> None:
    """The epoch ends with its scheduler and its end hooks; the skipped batch has no end hook."""
    module = SkipsRest([], skipped=trained)
    trainer = fit(tmp_path, module, max_epochs=2)
    epoch = flat(
        *("CM.on_train_epoch_start", BATCH * trained, BATCH_START),
        *("M.lr_scheduler_step", "CM.on_train_epoch_end"),
    )
    assert module.calls == flat(TRAIN_START, epoch, epoch, TRAIN_END)
    assert (trainer.global_step, trainer.current_epoch) == (2 * trained, 2)


@pytest.mark.parametrize("limits", [{"max_epochs": -1}, {"max_epochs": 5}])
def test_max_steps_within_an_epoch_ends_it_without_validation(tmp_path: Path, limits: dict[str, int]) -> None:
    module = RecordingModule([])
    trainer = fit(tmp_path, module, max_steps=2, enable_checkpointing=True, **limits)
    assert module.calls == flat(
        *(TRAIN_START, "CM.on_train_epoch_start", BATCH, BATCH),
        *("CM.on_train_epoch_end", SAVE, TRAIN_END),
    )
    assert (trainer.global_step, trainer.current_epoch) == (2, 1)


def test_max_steps_at_the_end_of_an_epoch_validates(tmp_path: Path) -> None:
    module = RecordingModule([])
    fit(tmp_path, module, train=2, max_steps=4, max_epochs=5)
    epoch = flat("CM.on_train_epoch_start", BATCH, LAST_BATCH, VALIDATION, "CM.on_train_epoch_end")
    assert module.calls == flat(TRAIN_START, epoch, epoch, TRAIN_END)


def test_max_steps_counts_updates_not_batches(tmp_path: Path) -> None:
    module = RecordingModule([])
    fit(tmp_path, module, train=5, max_steps=1, max_epochs=-1, accumulate_grad_batches=2)
    assert module.calls == flat(
        *(TRAIN_START, "CM.on_train_epoch_start"),
        *(BATCH_START, "M.training_step", ZERO_GRAD, BACKWARD, BATCH_END),
        *(BATCH_START, "M.optimizer_step", "M.training_step", BACKWARD, UPDATE, BATCH_END),
        *("CM.on_train_epoch_end", TRAIN_END),
    )


class Stop(pl.Callback):
    """Asks the trainer to stop in the named hook of the first batch."""

    def __init__(self, hook: str = "on_train_batch_end") -> None:
        super().__init__()
        self.hook = hook

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.hook == "on_train_batch_end" and batch_idx == 0:
            trainer.should_stop = True

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.hook == "on_validation_end":
            trainer.should_stop = True


def test_stop_request_within_an_epoch_validates_and_ends_it(tmp_path: Path) -> None:
    """The scheduler of the unfinished epoch does not step."""
    module = RecordingModule([])
    trainer = fit(tmp_path, module, callbacks=[Stop()], max_epochs=3, enable_checkpointing=True)
    assert module.calls == flat(
        *(TRAIN_START, "CM.on_train_epoch_start", BATCH, VALIDATION),
        *("CM.on_train_epoch_end", SAVE, TRAIN_END),
    )
    assert (trainer.global_step, trainer.current_epoch) == (1, 1)


@pytest.mark.parametrize(
    ("limits", "n_epochs"), [({"min_epochs": 1}, 1), ({"min_epochs": 2}, 2), ({"min_steps": 3}, 1)]
)
def test_stop_request_waits_for_the_minimum(tmp_path: Path, limits: dict[str, int], n_epochs: int) -> None:
    module = RecordingModule([])
    fit(tmp_path, module, callbacks=[Stop()], max_epochs=3, **limits)
    epoch = flat(
        *("CM.on_train_epoch_start", BATCH, BATCH, LAST_BATCH),
        *(VALIDATION, "CM.on_train_epoch_end"),
    )
    assert module.calls == flat(TRAIN_START, epoch * n_epochs, TRAIN_END)


def test_stop_request_of_a_validation_within_an_epoch_ends_it(tmp_path: Path) -> None:
    module = RecordingModule([])
    fit(tmp_path, module, callbacks=[Stop("on_validation_end")], max_epochs=3, val_check_interval=1)
    assert module.calls == flat(
        *(TRAIN_START, "CM.on_train_epoch_start", BATCH, VALIDATION),
        *("CM.on_train_epoch_end", TRAIN_END),
    )


def test_batch_that_validates_anyway_validates_once_when_asked_to_stop(tmp_path: Path) -> None:
    module = RecordingModule([])
    fit(tmp_path, module, callbacks=[Stop()], max_epochs=3, val_check_interval=1)
    assert module.calls == flat(
        *(TRAIN_START, "CM.on_train_epoch_start", BATCH, VALIDATION),
        *("CM.on_train_epoch_end", TRAIN_END),
    )


class Fails(RecordingModule):
    """Raises at the second batch of training."""

    def __init__(self, calls: list[str], exception: BaseException) -> None:
        super().__init__(calls)
        self.exception = exception

    def train_on(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        if batch_idx == 1:
            raise self.exception
        return self.loss(batch)


UNTIL_FAILURE = flat(
    *(TRAIN_START, "CM.on_train_epoch_start", BATCH),
    *(BATCH_START, "M.optimizer_step", "M.training_step"),
)


def test_exception_calls_on_exception_and_nothing_else(tmp_path: Path) -> None:
    module = Fails([], ValueError("bad batch"))
    with pytest.raises(ValueError, match="bad batch"):
        fit(tmp_path, module)
    assert module.calls == flat(UNTIL_FAILURE, "C.on_exception", "D.on_exception")


class FailsInValidation(RecordingModule):
    """Raises in every validation batch."""

    def validate_on(self, batch: torch.Tensor, batch_idx: int) -> None:
        raise ValueError("bad batch")


EVALUATION_START = ("M.on_validation_model_eval", "CM.on_validation_start", "CM.on_validation_epoch_start")


def test_exception_in_the_sanity_check(tmp_path: Path) -> None:
    module = FailsInValidation([])
    with pytest.raises(ValueError, match="bad batch"):
        fit(tmp_path, module, num_sanity_val_steps=1)
    assert module.calls == flat(
        *(FIT_START, "C.on_sanity_check_start", "D.val_dataloader", *EVALUATION_START),
        *(TRANSFER, "CM.on_validation_batch_start", "M.validation_step"),
        *("C.on_exception", "D.on_exception"),
    )


def test_exception_in_validate(tmp_path: Path) -> None:
    module = FailsInValidation([])
    with pytest.raises(ValueError, match="bad batch"):
        make_trainer(module.calls, tmp_path).validate(module, datamodule=RecordingData(module.calls))
    assert module.calls == flat(
        *(prepare("validate"), "D.val_dataloader", *EVALUATION_START),
        *(TRANSFER, "CM.on_validation_batch_start", "M.validation_step"),
        *("C.on_exception", "D.on_exception"),
    )


def test_exception_in_setup(tmp_path: Path) -> None:
    class FailsInSetup(RecordingModule):
        def setup(self, stage: str) -> None:
            super().setup(stage)
            raise ValueError("no data")

    module = FailsInSetup([])
    with pytest.raises(ValueError, match="no data"):
        fit(tmp_path, module)
    until_failure = [call for call in prepare("fit") if call != "M.configure_model"]
    assert module.calls == flat(until_failure, "C.on_exception", "D.on_exception")


@pytest.mark.filterwarnings("ignore:.*[Ii]nterrupt.*")
def test_keyboard_interrupt_raised_by_user_code_ends_the_run_without_raising(tmp_path: Path) -> None:
    module = Fails([], KeyboardInterrupt())
    trainer = make_trainer(module.calls, tmp_path)
    result = trainer.fit(module, datamodule=RecordingData(module.calls, train=3))
    assert module.calls == flat(UNTIL_FAILURE, "C.on_exception", "D.on_exception", teardown("fit"))
    assert result.interrupted
    assert trainer.interrupted


@pytest.mark.filterwarnings("ignore:.*[Ii]nterrupt.*")
def test_interrupt_signal_lets_the_step_end(tmp_path: Path) -> None:
    class InterruptsItself(RecordingModule):
        def train_on(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            if batch_idx == 1:
                os.kill(os.getpid(), signal.SIGINT)
            return self.loss(batch)

    module = InterruptsItself([])
    trainer = make_trainer(module.calls, tmp_path, max_epochs=3)
    result = trainer.fit(module, datamodule=RecordingData(module.calls, train=3))
    begin = flat(TRAIN_START, "CM.on_train_epoch_start", BATCH, BATCH)
    assert module.calls[: len(begin)] == begin
    assert module.calls.count("M.training_step") == 2
    assert module.calls[-3:] == teardown("fit")
    assert result.interrupted
