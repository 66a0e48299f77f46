"""Fits that a cluster ends before they are done: its job is started again, and they go on by themselves.

A note in `default_root_dir` names the checkpoint. It is found again by the job, its step, the command line
and which fit of the process this is, so that nothing takes up what something else has left.
"""

from __future__ import annotations

import itertools
import os
import sys
import zlib
from typing import TYPE_CHECKING

from fulmen.base import files, report
from fulmen.errors import FulmenError
from fulmen.runtime.clusters import ClusterEnvironment

if TYPE_CHECKING:
    from fulmen.engine.run import Run
    from fulmen.trainer import Trainer

_fits = itertools.count(1)


class Requeue:
    """One fit as a part of its job."""

    def __init__(self, environment: ClusterEnvironment, job: str, folder: str) -> None:
        self._environment = environment
        command = zlib.crc32("\0".join([os.getcwd(), *sys.argv]).encode(errors="surrogateescape"))
        self.name = f"{job}-{command:08x}-{next(_fits)}"
        """Differs from that of all other fits, and is the same when the job is started again."""
        self._note = files.hidden_beside(files.join(folder, self.name), ".checkpoint")

    @property
    def signal(self) -> int | None:
        """Upon which the job is put back."""
        return self._environment.requeue_signal

    def checkpoint(self) -> str | None:
        """What the fit goes on from; None where the job was not started again, or nothing was saved."""
        if not self._environment.restart_count():
            return None
        if not files.exists(self._note):
            report.info(
                f"This job was started again, but this fit has left nothing: there is no {self._note}"
            )
            return None
        with files.open_file(self._note) as note:
            path = note.read()
        report.info(f"This job was started again: training goes on from {path}")
        return path

    def come_back(self, run: Run) -> None:
        """Note where an interrupted fit goes on; if the signal asks for it, have the job started again."""
        saved = run.last_saved
        if not run.strategy.is_global_zero:
            return
        if saved is not None:
            files.write_whole(self._note, lambda file: file.write(saved.encode()))
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
