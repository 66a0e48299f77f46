"""Where a run stands: a few whole numbers, enough to go on from there."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any


class QuietPoint(str, Enum):
    """A moment at which the state of a run is complete, so that it can be saved."""

    BETWEEN_EPOCHS = "between_epochs"
    BATCH_END = "batch_end"
    """A batch is done; a validation that is due after it is not."""
    VALIDATED = "validated"
    """A batch and the validation that was due after it are done."""
    EPOCH_END = "epoch_end"
    """An epoch's batches and validations are done; schedulers that follow a metric have not stepped yet."""
    EPOCH_DONE = "epoch_done"
    """The next epoch can begin."""

    @property
    def event(self) -> str:
        """The hook in which callbacks save at this moment."""
        return _EVENTS[self]


_EVENTS = {
    QuietPoint.BETWEEN_EPOCHS: "on_train_end",
    QuietPoint.BATCH_END: "on_train_batch_end",
    QuietPoint.VALIDATED: "on_validation_end",
    QuietPoint.EPOCH_END: "on_train_epoch_end",
    QuietPoint.EPOCH_DONE: "on_train_epoch_end",
}


@dataclass
class Progress:
    """Counted from the beginning of training, over all resumes."""

    epoch: int = 0
    """Epochs that are finished; the index of the one under way."""
    batch: int = 0
    """Batches of the epoch under way that are finished."""
    total_batch: int = 0
    """Batches that are finished, over all epochs."""
    optimizer_step: int = 0
    """Updates by any optimizer."""
    window: int = 0
    """Accumulation windows that are finished: the step that loggers are given."""
    epoch_window: int = 0
    """The same, in the epoch under way."""
    is_last_batch: bool = False
    """Whether the batch that was finished last is the epoch's last."""
    schedulers_wait: bool = False
    """Whether schedulers that follow a metric at each step have not stepped for the last batch yet."""
    point: QuietPoint = QuietPoint.BETWEEN_EPOCHS
    savers_left: list[str] = field(default_factory=list)
    """The state keys of callbacks that save checkpoints, and are still to be called in the point's event."""
    saves: int = 0
    """Checkpoints that were written."""

    @property
    def resumes_epoch(self) -> bool:
        """Whether the run goes on inside an epoch."""
        return self.point not in (QuietPoint.BETWEEN_EPOCHS, QuietPoint.EPOCH_DONE)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        return asdict(self) | {"point": self.point.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state that `state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, QuietPoint(value) if name == "point" else type(getattr(self, name))(value))
        if self.point is QuietPoint.EPOCH_DONE and not self.savers_left:
            self.start_next_epoch()

    def before_window(self, batches: int) -> Progress:
        """Where the run stood before the accumulation window under way, of which `batches` are done.

        Its gradients are in no checkpoint, so a run that is taken up begins it again.
        """
        if not batches:
            return self
        return replace(
            self,
            batch=self.batch - batches,
            total_batch=self.total_batch - batches,
            is_last_batch=False,
            schedulers_wait=False,
            point=QuietPoint.VALIDATED,
            savers_left=[],
        )

    def finish_batch(self, *, is_last: bool, updated: bool) -> None:
        """A training batch is done, and with it an accumulation window if it `updated` the weights."""
        self.batch += 1
        self.total_batch += 1
        self.is_last_batch, self.schedulers_wait = is_last, updated
        self.point = QuietPoint.BATCH_END
        if updated:
            self.window += 1
            self.epoch_window += 1

    def start_next_epoch(self) -> None:
        """The epoch under way is finished."""
        self.epoch += 1
        self.start_epoch()

    def start_epoch(self) -> None:
        """Nothing of the epoch under way is done."""
        self.batch = self.epoch_window = 0
        self.is_last_batch = self.schedulers_wait = False
        self.point = QuietPoint.BETWEEN_EPOCHS
        self.savers_left = []
