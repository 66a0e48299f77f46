"""The order of hooks around an update: schedulers, closures, skipped steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from .blocks import (
    BACKWARD,
    BATCH,
    BATCH_END,
    BATCH_START,
    LAST_BATCH,
    STEP,
    TRAIN_END,
    TRAIN_START,
    UPDATE,
    VALIDATION,
    ZERO_GRAD,
    flat,
)
from .recorder import RecordingData, RecordingModule, make_trainer


def fit(root: Path, module: RecordingModule, *, train: int = 2, **options: Any) -> list[str]:
    """The calls of one `fit` on `train` batches."""
    trainer = make_trainer(module.calls, root, **options)
    trainer.fit(module, datamodule=RecordingData(module.calls, train=train))
    return module.calls


class SteppedEachUpdate(RecordingModule):
    """Its scheduler has interval `step`."""

    def make_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def test_step_scheduler_steps_after_each_update(tmp_path: Path) -> None:
    assert fit(tmp_path, SteppedEachUpdate([])) == flat(
        TRAIN_START,
        "CM.on_train_epoch_start",
        *(STEP, "M.lr_scheduler_step", BATCH_END),
        *(STEP, "M.lr_scheduler_step", BATCH_END),
        VALIDATION,
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


def test_step_scheduler_waits_for_the_end_of_the_accumulation_window(tmp_path: Path) -> None:
    assert fit(tmp_path, SteppedEachUpdate([]), train=3, accumulate_grad_batches=2) == flat(
        TRAIN_START,
        "CM.on_train_epoch_start",
        *(BATCH_START, "M.training_step", ZERO_GRAD, BACKWARD, BATCH_END),
        *(BATCH_START, "M.optimizer_step", "M.training_step", BACKWARD, UPDATE),
        *("M.lr_scheduler_step", BATCH_END),
        *(STEP, "M.lr_scheduler_step", BATCH_END),
        VALIDATION,
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


class OnPlateau(RecordingModule):
    """Its scheduler watches the validation loss."""

    def make_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}

    def validate_on(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val_loss", 1.0)


def test_plateau_scheduler_steps_after_the_epoch_end_hooks(tmp_path: Path) -> None:
    epoch = flat(
        *("CM.on_train_epoch_start", BATCH, BATCH, VALIDATION, "CM.on_train_epoch_end"),
        "M.lr_scheduler_step",
    )
    assert fit(tmp_path, OnPlateau([]), max_epochs=2) == flat(TRAIN_START, epoch, epoch, TRAIN_END)


class OnPlateauOfTraining(RecordingModule):
    """Its scheduler watches the training loss and steps with each batch."""

    def make_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        config = {"scheduler": scheduler, "monitor": "loss", "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": config}

    def train_on(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss = self.loss(batch)
        self.log("loss", loss)
        return loss


def test_plateau_scheduler_of_interval_step_follows_the_batch_and_its_validation(tmp_path: Path) -> None:
    assert fit(tmp_path, OnPlateauOfTraining([])) == flat(
        TRAIN_START,
        "CM.on_train_epoch_start",
        *(BATCH, "M.lr_scheduler_step"),
        *(BATCH, VALIDATION, "M.lr_scheduler_step"),
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


class WithLBFGS(RecordingModule):
    """An optimizer that evaluates the closure three times in each step."""

    def make_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(
            self.parameters(), lr=0.1, max_iter=3, tolerance_grad=0.0, tolerance_change=0.0
        )


def test_lbfgs_runs_the_closure_several_times_in_one_optimizer_step(tmp_path: Path) -> None:
    closure = flat("M.training_step", ZERO_GRAD, BACKWARD, UPDATE)
    assert fit(tmp_path, WithLBFGS([]), train=1) == flat(
        TRAIN_START,
        "CM.on_train_epoch_start",
        *(BATCH_START, "M.optimizer_step", closure * 3, BATCH_END),
        VALIDATION,
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


class StepsByClosure(RecordingModule):
    """Overrides `optimizer_step` in the usual way."""

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        self.calls.append("M.optimizer_step begins")
        optimizer.step(closure=optimizer_closure)
        self.calls.append("M.optimizer_step ends")


def test_overridden_optimizer_step_encloses_the_closure_and_the_update(tmp_path: Path) -> None:
    assert fit(tmp_path, StepsByClosure([]), train=1) == flat(
        TRAIN_START,
        "CM.on_train_epoch_start",
        *(BATCH_START, "M.optimizer_step begins"),
        *("M.training_step", ZERO_GRAD, BACKWARD, UPDATE),
        *("M.optimizer_step ends", "M.lr_scheduler_step", BATCH_END),
        VALIDATION,
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


class CallsClosureItself(RecordingModule):
    """Overrides `optimizer_step`: evaluates first, steps every second batch."""

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        self.calls.append("M.optimizer_step begins")
        loss = optimizer_closure()
        assert isinstance(loss, torch.Tensor)
        self.calls.append("closure returned the loss")
        if batch_idx % 2 == 1:
            optimizer.step()
        self.calls.append("M.optimizer_step ends")


def test_update_hooks_run_in_step_when_the_closure_was_called_before(tmp_path: Path) -> None:
    """No `on_before_optimizer_step` in the batch that does not step."""
    evaluated = flat(
        *(BATCH_START, "M.optimizer_step begins", "M.training_step", ZERO_GRAD, BACKWARD),
        "closure returned the loss",
    )
    assert fit(tmp_path, CallsClosureItself([])) == flat(
        TRAIN_START,
        "CM.on_train_epoch_start",
        *(evaluated, "M.optimizer_step ends", BATCH_END),
        *(evaluated, UPDATE, "M.optimizer_step ends", "M.lr_scheduler_step", BATCH_END),
        VALIDATION,
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


class ForgetsClosure(RecordingModule):
    """Overrides `optimizer_step` and never evaluates."""

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        optimizer.step()


def test_optimizer_step_that_never_runs_the_closure_is_an_error(tmp_path: Path) -> None:
    module = ForgetsClosure([])
    with pytest.raises(Exception, match="closure"):
        fit(tmp_path, module, train=1)
    assert "M.training_step" not in module.calls
    assert module.calls[-2:] == ["C.on_exception", "D.on_exception"]


class WithoutOptimizer(RecordingModule):
    """`configure_optimizers` returns None."""

    def make_optimizers(self) -> None:
        return None


@pytest.mark.filterwarnings("ignore:.*configure_optimizers.*")
def test_without_optimizer_the_hooks_are_the_same(tmp_path: Path) -> None:
    assert fit(tmp_path, WithoutOptimizer([])) == flat(
        TRAIN_START,
        "CM.on_train_epoch_start",
        BATCH,
        BATCH,
        VALIDATION,
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


class ReturnsNone(RecordingModule):
    """`training_step` skips the given batches."""

    def __init__(self, calls: list[str], *skipped: int) -> None:
        super().__init__(calls)
        self.skipped = skipped

    def train_on(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor | None:
        return None if batch_idx in self.skipped else self.loss(batch)


@pytest.mark.filterwarnings("ignore:.*returned.*None.*")
def test_training_step_that_returns_none_skips_backward_alone(tmp_path: Path) -> None:
    skipped = flat(BATCH_START, "M.optimizer_step", "M.training_step", ZERO_GRAD, UPDATE)
    assert fit(tmp_path, ReturnsNone([], 0, 1)) == flat(
        TRAIN_START,
        "CM.on_train_epoch_start",
        *(skipped, BATCH_END),
        *(skipped, "M.lr_scheduler_step", BATCH_END),
        VALIDATION,
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


@pytest.mark.filterwarnings("ignore:.*returned.*None.*")
@pytest.mark.parametrize("skipped", [0, 1])
def test_none_inside_an_accumulation_window_does_not_move_its_end(tmp_path: Path, skipped: int) -> None:
    backward = [[] if batch_idx == skipped else BACKWARD for batch_idx in (0, 1)]
    calls = fit(tmp_path, ReturnsNone([], skipped), train=4, accumulate_grad_batches=2)
    assert calls == flat(
        TRAIN_START,
        "CM.on_train_epoch_start",
        *(BATCH_START, "M.training_step", ZERO_GRAD, backward[0], BATCH_END),
        *(BATCH_START, "M.optimizer_step", "M.training_step", backward[1], UPDATE, BATCH_END),
        *(BATCH_START, "M.training_step", ZERO_GRAD, BACKWARD, BATCH_END),
        *(BATCH_START, "M.optimizer_step", "M.training_step", BACKWARD, UPDATE),
        *("M.lr_scheduler_step", BATCH_END),
        VALIDATION,
        "CM.on_train_epoch_end",
        TRAIN_END,
    )


def test_scheduler_with_a_frequency_of_two_epochs(tmp_path: Path) -> None:
    class EverySecondEpoch(RecordingModule):
        def make_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "frequency": 2}}

    quiet = flat("CM.on_train_epoch_start", BATCH, BATCH, VALIDATION, "CM.on_train_epoch_end")
    stepped = flat("CM.on_train_epoch_start", BATCH, LAST_BATCH, VALIDATION, "CM.on_train_epoch_end")
    assert fit(tmp_path, EverySecondEpoch([]), max_epochs=4) == flat(
        TRAIN_START, quiet, stepped, quiet, stepped, TRAIN_END
    )


def test_scheduler_with_a_frequency_of_two_steps_counts_from_the_start_of_the_epoch(tmp_path: Path) -> None:
    class EverySecondStep(RecordingModule):
        def make_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)
            config = {"scheduler": scheduler, "interval": "step", "frequency": 2}
            return {"optimizer": optimizer, "lr_scheduler": config}

    epoch = flat(
        *("CM.on_train_epoch_start", BATCH, STEP, "M.lr_scheduler_step", BATCH_END, BATCH),
        *(VALIDATION, "CM.on_train_epoch_end"),
    )
    assert fit(tmp_path, EverySecondStep([]), train=3, max_epochs=2) == flat(
        TRAIN_START, epoch, epoch, TRAIN_END
    )
