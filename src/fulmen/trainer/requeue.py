"""Fits that a cluster ends before they are done: its job is started again, and they go on by themselves.

A note in `default_root_dir` names the checkpoint. It is found again by the job, its step, the command line
and which fit of the process this is, so that nothing takes up what something else has left. Both are removed
when the script has come to its end: until then the job may be started again, and with it each of its fits.
"""

from __future__ import annotations

import atexit
import itertools
import os
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from fulmen.base import files, report
from fulmen.callbacks import ModelCheckpoint
from fulmen.engine.interruption import FILE_NAME
from fulmen.errors import FulmenError
from fulmen.runtime.clusters import ClusterEnvironment

if TYPE_CHECKING:
    from fulmen.engine.run import Run
    from fulmen.strategies import Strategy
    from fulmen.trainer import Trainer

_fits = itertools.count(1)
_done: list[Callable[[], None]] = []
"""What removes that which fits that have come to their end had left on their way."""


class Requeue:
    """One fit as a part of its job."""

    def __init__(self, environment: ClusterEnvironment, job: str, folder: str) -> None:
        self._environment = environment
        command = zlib.crc32("\0".join([os.getcwd(), *sys.argv]).encode(errors="surrogateescape"))
        # Differs from that of all other fits, and is the same when the job is started again.
        name = f"{job}-{command:08x}-{next(_fits)}"
        self._note = files.hidden_beside(files.join(folder, name), ".checkpoint")
        self.file_name = f"{FILE_NAME}-{name}{ModelCheckpoint.FILE_EXTENSION}"
        """What the fit is saved to when it is interrupted; no other fit saves to it."""

    @property
    def signal(self) -> int | None:
        """Upon which the job is put back."""
        return self._environment.requeue_signal

    def checkpoint(self) -> str | None:
        """What the fit goes on from; None where the job was not started again, or nothing was saved."""
        if not self._environment.restart_count():
            return None
        path = self._noted()
        report.info(
            f"This job was started again, but this fit has left nothing: there is no {self._note}"
            if path is None
            else f"This job was started again: training goes on from {path}"
        )
        return path

    def end(self, run: Run, *, interrupted: bool) -> None:
        """See to what becomes of a fit that was not ended by an error."""
        if not run.strategy.is_global_zero:
            return
        if interrupted:
            _done.clear()  # the fits before it are those that the job begins with when it is started again
            self._come_back(run)
        else:
            _done.append(partial(self._forget, run.strategy))

    def _noted(self) -> str | None:
        if not files.exists(self._note):
            return None
        with files.open_file(self._note, "rb") as note:
            return os.fsdecode(note.read())

    def _forget(self, strategy: Strategy) -> None:
        self._remove(self._noted(), strategy)
        files.remove(self._note)

    def _remove(self, path: str | None, strategy: Strategy) -> None:
        if path is not None and path.endswith(self.file_name):  # what others have asked for stays
            strategy.remove(path)

    def _come_back(self, run: Run) -> None:
        """Note where an interrupted fit goes on; if the signal asks for it, have the job started again."""
        saved = run.last_whole
        if saved is not None:
            before = self._noted()
            files.write_whole(self._note, lambda file: file.write(os.fsencode(saved)))
            if before != saved:
                self._remove(before, run.strategy)
        if run.signals.noted != self.signal:
            return
        if saved is None and not run.signals.untouched:
            report.warn("Nothing of this fit is saved: its job is not put back into the queue.")
            return
        try:
            self._environment.requeue()
        except FulmenError as error:  # the run has ended as it should
            report.log.error("%s", error)
        else:
            report.info("The job is put back into the queue.")


def of_next_fit(trainer: Trainer) -> Requeue | None:
    """How the fit that begins comes back; None where nothing starts it again."""
    environment, world = trainer.strategy.environment, trainer.strategy.world
    job = None if environment is None else environment.job()
    if environment is None or job is None or trainer.fast_dev_run:
        return None
    if environment.detect() and environment.world_size() != world.size:
        return None  # one of several that run beside each other, and are one job
    return Requeue(environment, job, trainer.default_root_dir)


@atexit.register
def remove_what_is_done() -> None:
    """The script ends: where it was not an error that ended it, nothing goes on from its fits any more."""
    if getattr(sys, "last_value", None) is None:
        for remove in _done:
            with suppress(FulmenError, OSError):
                remove()
