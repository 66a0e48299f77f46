"""The attributes of `trainer.fit_loop` and its like that user code reads and sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.base.seams import outer

if TYPE_CHECKING:
    from fulmen.trainer.view import RunView


class EvaluationLoopView:
    """The loaders of an evaluation."""

    def __init__(self, trainer: RunView, kind: str) -> None:
        self._trainer = trainer
        self._kind = kind

    @property
    def max_batches(self) -> list[int | float]:
        """How many batches of each loader count."""
        return self._trainer._lengths(self._kind)

    @property
    def num_dataloaders(self) -> int:
        """How many loaders there are."""
        return len(self.max_batches)

    def is_defined(self) -> bool:
        """Whether there is anything to evaluate on."""
        run = self._trainer._run
        return run is not None and run.sources[self._kind].exists

    @property
    def _data_source(self) -> EvaluationLoopView:
        return self  # which GluonTS asks whether it `is_defined`


class EpochLoopView:
    """Where the epoch under way stands."""

    def __init__(self, trainer: RunView) -> None:
        self._trainer = trainer
        self.val_loop = EvaluationLoopView(trainer, "val")

    @property
    def batch_idx(self) -> int:
        """Index of the batch under way, or of the last one; -1 before the first."""
        return self._trainer._run.batch_idx if self._trainer._run else -1

    @property
    def total_batch_idx(self) -> int:
        """The same, over all epochs."""
        progress = self._trainer._progress
        return progress.total_batch - progress.batch + self.batch_idx

    @property
    def global_step(self) -> int:
        """Number of optimizer steps."""
        return self._trainer.global_step

    @property
    def _batches_that_stepped(self) -> int:
        return self._trainer.logger_step  # by the name that who writes to a logger by hand asks for it


class FitLoopView:
    """The limits of training, which may be set to train on, and its position."""

    def __init__(self, trainer: RunView) -> None:
        self._trainer = trainer
        self.epoch_loop = EpochLoopView(trainer)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):  # what copy and pickle look for
                raise AttributeError(name)
            return outer().attribute(self, name)

    @property
    def max_epochs(self) -> int | None:
        """Most epochs to train; -1 for no limit."""
        return self._trainer.max_epochs

    @max_epochs.setter
    def max_epochs(self, epochs: int | None) -> None:
        self._trainer._limit_fit(max_epochs=epochs)

    @property
    def min_epochs(self) -> int | None:
        """Fewest epochs to train."""
        return self._trainer.min_epochs

    @min_epochs.setter
    def min_epochs(self, epochs: int | None) -> None:
        self._trainer._limit_fit(min_epochs=epochs)

    @property
    def max_steps(self) -> int:
        """Most optimizer steps to take; -1 for no limit."""
        return self._trainer.max_steps

    @max_steps.setter
    def max_steps(self, steps: int) -> None:
        self._trainer._limit_fit(max_steps=steps)

    @property
    def min_steps(self) -> int | None:
        """Fewest optimizer steps to take."""
        return self._trainer.min_steps

    @min_steps.setter
    def min_steps(self, steps: int | None) -> None:
        self._trainer._limit_fit(min_steps=steps)

    @property
    def batch_idx(self) -> int:
        """Index of the batch under way, or of the last one."""
        return self.epoch_loop.batch_idx

    @property
    def total_batch_idx(self) -> int:
        """The same, over all epochs."""
        return self.epoch_loop.total_batch_idx
