"""The processes of this run that this one has started and looks after."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fulmen.base import report
from fulmen.errors import DistributedError
from fulmen.runtime import rendezvous
from fulmen.runtime.launch.launcher import how_ended
from fulmen.runtime.processes import exit_at_once, wait_for_those_at_work

GRACE_S = 5.0
"""How long this process may go on after another one has failed: what it waits for may never come."""

END_OF_SCRIPT_S = 30.0
"""How long, at the script's end, the others may do nothing and not come there as well."""

END_OF_FAILURE_S = 2.0
"""The same, after an error."""

STOP_S = 4.0
"""From SIGTERM to SIGKILL."""


class Peers:
    """Runs beside this process, to its end: then none of them is left, and its exit code tells of theirs."""

    def __init__(self, children: dict[int, subprocess.Popen], temporary: str | None = None) -> None:
        self._children = children
        self._temporary = temporary
        self._process = os.getpid()
        self._outside = threading.Event()
        self._outside.set()
        self._failed_here = False
        self._failure: str | None = None
        self._stopping = False
        self._watchers = [
            threading.Thread(target=self._watch, args=child, daemon=True, name=f"fulmen-rank-{child[0]}")
            for child in children.items()
        ]
        for watcher in self._watchers:
            watcher.start()
        atexit.register(self._end_with_script)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While inside, this process needs the others: it is ended if one fails and it does not find out."""
        if self._failure is not None:
            raise DistributedError(
                f"{self._failure} What comes now cannot do without it.", fix="start the script again"
            )
        self._outside.clear()
        try:
            yield
        except BaseException:
            self._failed_here = True
            raise
        finally:
            self._outside.set()

    def end(self) -> bool:
        """Wait for the others to end, and end those that do not; whether all have ended well."""
        late: list[int] = []
        with suppress(KeyboardInterrupt):
            if self._failed_here or self._failure is not None:
                self._wait(END_OF_FAILURE_S)
            else:
                left = wait_for_those_at_work(self._wait, END_OF_SCRIPT_S)
                late = [rank for rank, child in self._children.items() if child.pid in left]
        if late:
            ranks = " and ".join(f"Rank {rank}" for rank in late)
            self._failure = (
                f"{ranks} did not come to the script's end: stopped after {END_OF_SCRIPT_S:g} idle s."
            )
            report.log.error(self._failure)
        self._stop()
        atexit.unregister(self._end_with_script)
        return self._failure is None

    def _watch(self, rank: int, child: subprocess.Popen) -> None:
        code = child.wait()
        if code == 0 or self._stopping:
            return
        told_to_end = code - 128 in {number.value for number in signal.Signals}
        if told_to_end and self._outside.wait(GRACE_S):
            return  # and so was this process, whose own exit code says it
        failure = f"Rank {rank} (pid {child.pid}) {how_ended(code)}."
        self._failure = self._failure or failure
        report.log.error(failure)
        rendezvous.give_up(failure)
        if not self._outside.wait(GRACE_S):
            report.log.error("This process has not found out within %g s: all are ended.", GRACE_S)
            self._stop()
            exit_at_once(1)

    def _wait(self, limit_s: float) -> list[int]:
        """The pids of those that have not ended within the limit."""
        deadline_s = time.monotonic() + limit_s
        for watcher in self._watchers:
            if watcher is not threading.current_thread():
                watcher.join(max(0.0, deadline_s - time.monotonic()))
        return [child.pid for child in self._children.values() if child.returncode is None]

    def _stop(self) -> None:
        self._stopping = True
        for end in (subprocess.Popen.terminate, subprocess.Popen.kill):
            for child in self._children.values():
                if child.returncode is None:
                    end(child)
            self._wait(STOP_S)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _end_with_script(self) -> None:
        if os.getpid() != self._process:
            return  # in a fork of this process
        all_well = self.end()
        if not all_well and getattr(sys, "last_value", None) is None:  # else an error sets the exit code
            exit_at_once(1)
