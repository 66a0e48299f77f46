"""The end of a training epoch, which from 1.1 to 1.3 came before the validation that was due there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fulmen.compat.lightning.versions import Era
from fulmen.engine.validation import is_due

if TYPE_CHECKING:
    from fulmen.engine.run import Run

Call = Callable[..., Any]


class EpochEnd:
    """Calls those who listen to the end of an epoch, once: before the validation there, or else at the end.

    That it was done before is seen from where the run stands, so that a checkpoint need not say it.
    """

    def __init__(self, run: Run, era: Era) -> None:
        self._run = run
        self._order = era.epoch_ends_before_validation
        self._calls: list[Call] = []

    def listeners(self, calls: list[Call]) -> list[Call]:
        """Those of `on_train_epoch_end`, of which `calls` are to be called."""
        if self._order == "never":
            return calls
        self._calls = [self._run.logbook.within("on_train_epoch_end", *calls)] if calls else []
        return [self._at_the_end] if calls else []

    def before_validation(self, call: Call) -> Call:
        """The module's own hook that every validation while training begins with."""

        def begin() -> None:
            if self._comes_first():
                self._run.logbook.close_epoch("train")
                for listener in self._calls:
                    listener()
                self._run.logbook.settle()  # for who reads it only when the validation has its own
            call()

        return begin

    def _at_the_end(self) -> None:
        if not self._comes_first():
            for listener in self._calls:
                listener()

    def _comes_first(self) -> bool:
        """Whether the batch that was finished last ends an epoch, and a validation was or is due after it."""
        run = self._run
        if self._order == "never" or (self._order == "alone" and run.validates_within_epochs):
            return False
        return run.progress.is_last_batch and is_due(run, is_last_batch=True)
