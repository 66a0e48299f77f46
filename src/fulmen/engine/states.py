"""Names for what a Trainer is doing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fulmen.base.seams import AsksOutside


class TrainerFn(str, Enum):
    """The method that was called; equal to the string that `setup(stage)` gets."""

    FITTING = "fit"
    VALIDATING = "validate"
    TESTING = "test"
    PREDICTING = "predict"

    def __str__(self) -> str:
        return self.value


class TrainerStatus(str, Enum):
    """How it is going."""

    INITIALIZING = "initializing"
    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"

    def __str__(self) -> str:
        return self.value

    @property
    def stopped(self) -> bool:
        """Whether nothing goes on any more."""
        return self in (TrainerStatus.FINISHED, TrainerStatus.INTERRUPTED)


class RunningStage(str, Enum):
    """What kind of batch is under way."""

    TRAINING = "train"
    SANITY_CHECKING = "sanity_check"
    VALIDATING = "validate"
    TESTING = "test"
    PREDICTING = "predict"

    def __str__(self) -> str:
        return self.value

    @property
    def evaluating(self) -> bool:
        """Whether it is validation or a test."""
        return self in (RunningStage.VALIDATING, RunningStage.TESTING, RunningStage.SANITY_CHECKING)

    @property
    def dataloader_prefix(self) -> str | None:
        """As in `val_dataloader`."""
        return {"sanity_check": "val", "validate": "val"}.get(self.value, self.value)


@dataclass
class TrainerState(metaclass=AsksOutside):
    """What a Trainer is doing."""

    status: TrainerStatus = TrainerStatus.INITIALIZING
    fn: TrainerFn | None = None
    stage: RunningStage | None = None

    @property
    def finished(self) -> bool:
        """Whether the last run went to its end."""
        return self.status is TrainerStatus.FINISHED

    @property
    def stopped(self) -> bool:
        """Whether nothing goes on any more."""
        return self.status.stopped
