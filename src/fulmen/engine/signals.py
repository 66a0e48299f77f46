"""Signals that ask the process to end: noted at any moment, obeyed where the run's state is complete.

The loops look at `noted` after each batch, and end there. Where a batch takes long to come the wait is given
up; what else takes longer than `GRACE_S` is broken off, and then nothing can be saved of that moment.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from fulmen.base.report import info
from fulmen.engine.states import TrainerFn

if TYPE_CHECKING:
    from fulmen.engine.run import Run

GRACE_S = 30.0
"""How long a run that was told to end may take to come to a point at which it can be saved."""
PATIENCE_S = 0.2
"""How long it waits for a batch that is on its way."""

if sys.platform == "win32":
    ENDING: tuple[int, ...] = (signal.SIGTERM,)
else:
    ENDING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class SignalInterrupt(KeyboardInterrupt):
    """The process was asked to end by a signal other than Ctrl-C."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class SignalWatch:
    """What one run does about signals."""

    def __init__(self, run: Run) -> None:
        self.noted: int | None = None
        """The signal that ends the run, once there is one."""
        self.heard: int | None = None
        """One that this process got, and the others have not agreed yet to end for."""
        self.at_rest = False
        """Whether the run was interrupted where its state was complete, so that it can be saved."""
        self.broke_off = False
        """Whether the run was interrupted in the middle of something."""
        self.presses = 0
        """How often Ctrl-C was pressed."""
        self.batches_before: int | None = None
        """Training batches of the runs that this one goes on from; None before that is known."""
        self.requeue_signal: int | None = None
        """One more that ends it, by which a cluster says that the job's time is up."""
        self._run = run
        self._since_s = 0.0
        self._concluded = False
        """Whether nothing is broken off any more."""
        self._shields = 0
        self._waiting = False
        self._nudged = False
        """Whether the next signal is the attendant's, for the handler to raise."""
        self._held: BaseException | None = None
        """What a user's handler raised: it is raised again in the end."""
        self._abort_waits = False
        """Whether Ctrl-C was pressed twice behind a shield."""
        self._handlers: dict[int, tuple[Any, Any]] = {}
        """By signal: the handler that was there before, and the one in its place."""
        self._attendant: threading.Thread | None = None
        self._ended = threading.Event()

    @property
    def untouched(self) -> bool:
        """Whether a fit has trained nothing yet, so that nothing is lost whatever happens."""
        if self._run.fn is not TrainerFn.FITTING:
            return False
        return self.batches_before is None or self._run.progress.total_batch == self.batches_before

    @property
    def in_window(self) -> bool:
        """Whether an accumulation window is open, which is finished first."""
        return self._run.fn is TrainerFn.FITTING and not self.untouched and self._run.accumulating

    def interrupt(self) -> KeyboardInterrupt:
        """What is raised to end the run."""
        self.noted = self.noted or self.heard
        assert self.noted is not None
        return KeyboardInterrupt() if self.noted == signal.SIGINT else SignalInterrupt(self.noted)

    def ends_evaluation(self, *, is_last: bool) -> bool:
        """Whether an evaluation ends after a batch; the last one completes what a fit is about to save."""
        if self.noted is None or self.in_window:
            return False
        return not (is_last and self._run.fn is TrainerFn.FITTING)

    def conclude(self) -> None:
        """The run ends now: nothing is broken off any more, however long that takes."""
        self._concluded = True

    # ---------------------------------------------------------------------------------- around parts of a run

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Inside, the run handles signals; afterwards, one that told it to end raises `SystemExit`.

        Ctrl-C in every run, the others in a fit; in the main thread only, which alone is interrupted.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._install()
        try:
            yield
        except SignalInterrupt:  # what it had to end has ended
            pass
        finally:
            self._uninstall()
        if self._held is not None:
            raise self._held
        if self.noted not in (None, signal.SIGINT):
            raise SystemExit(128 + self.noted)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Inside, signals are noted and nothing is broken off."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        if self._abort_waits and not self._shields:
            self._abort()

    def interruptible(self, take: Callable[[], Any], *, repeatable: bool = True) -> Callable[[], Any]:
        """`take`, which waits for a batch, such that a signal ends the wait; if it can be repeated."""

        def take_unless_interrupted() -> Any:
            self._waiting = repeatable
            try:
                return take()
            except Exception as error:
                if self.noted is None:
                    raise
                # A worker got the signal as well, and is gone.
                self._concluded = self.broke_off = self.at_rest = True
                raise self.interrupt() from error
            finally:
                self._waiting = False

        return take_unless_interrupted

    # ------------------------------------------------------------------------------------------- the handler

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        """Runs in the middle of anything, a print or a save as well: it only notes, or raises."""
        nudged, self._nudged = self._nudged, False
        if nudged:
            if self._waits_in_vain:
                self._concluded = self.broke_off = True
                self.at_rest = self._waiting
                raise self.interrupt()
            return
        self._note(signum, frame)
        if signum == signal.SIGINT and self.presses > 1:
            self._abort()

    def _abort(self) -> None:
        """What a second Ctrl-C asks for, as soon as nothing is being saved."""
        self._abort_waits = bool(self._shields)
        if not self._abort_waits:
            self._concluded = True
            raise KeyboardInterrupt

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self._attendant is None:
            self._let_workers_end()
        before, _ = self._handlers[signum]
        if signum == signal.SIGINT:
            self.presses += 1
        elif callable(before):
            try:
                before(signum, frame)
            except BaseException as error:
                self._held = self._held or error
        known = self.heard or self.noted
        if known is None or (known == signal.SIGINT and signum != signal.SIGINT):
            self._since_s = time.monotonic()
            if self._run.is_shared_fit:  # no process may leave the others waiting
                self.heard = signum
            else:
                self.noted = signum
        if self._attendant is None:
            self._attendant = threading.Thread(target=self._attend, daemon=True)
            self._attendant.start()

    def _let_workers_end(self) -> None:
        """Workers that got the signal as well are no error, for which torch would take their end."""
        done = sys.platform == "win32"
        while not done:
            with suppress(RuntimeError):  # torch's: one has ended just now
                if callable(signal.getsignal(signal.SIGCHLD)):
                    self._replace(signal.SIGCHLD, signal.SIG_DFL)
                done = True

    @property
    def _waits_in_vain(self) -> bool:
        """Whether what is under way has to be broken off."""
        if self._concluded or self._shields:
            return False
        overdue = (self.noted or self.heard) != signal.SIGINT and time.monotonic() - self._since_s >= GRACE_S
        return overdue or (self._waiting and self.noted is not None and not self.in_window)

    def _attend(self) -> None:
        """Says what a handler must not print, and calls the handler again when it has to raise."""
        noted = self.noted or self.heard or signal.SIGINT
        if noted == signal.SIGINT:
            info("Interrupted: ending after the current step. Press Ctrl-C again to abort at once.")
        else:
            name = signal.Signals(noted).name
            info(f"{name}: ending after the current step, which may take up to {GRACE_S:g} s.")
        while not self._ended.wait(PATIENCE_S):
            noted = self.noted or self.heard or noted
            if self._waits_in_vain and signal.getsignal(noted) == self._handle:
                self._nudged = True
                _signal_main_thread(noted)

    # ------------------------------------------------------------------------------------------- installation

    def _install(self) -> None:
        # An application that handles Ctrl-C itself goes on doing so.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._replace(signal.SIGINT, self._handle)
        if self._run.fn is TrainerFn.FITTING:
            for signum in dict.fromkeys((*ENDING, self.requeue_signal)):
                if signum is not None and signal.getsignal(signum) not in (signal.SIG_IGN, None):
                    self._replace(signum, self._handle)
        _watches.append(self)

    def _replace(self, signum: int, handler: Any) -> None:
        self._handlers[signum] = (signal.getsignal(signum), handler)
        signal.signal(signum, handler)

    def _uninstall(self) -> None:
        self._concluded = True
        self._ended.set()
        if self._attendant is not None:
            self._attendant.join()
        _watches.remove(self)
        self.put_back()

    def put_back(self) -> None:
        """Install the former handlers again; those that user code has installed since then stay."""
        for signum, (before, own) in self._handlers.items():
            if signal.getsignal(signum) == own and before is not None:
                signal.signal(signum, before)


def _signal_main_thread(signum: int) -> None:
    if sys.platform == "win32":
        _thread.interrupt_main(signum)
    else:  # ends a sleep, too
        signal.pthread_kill(threading.main_thread().ident or 0, signum)


_watches: list[SignalWatch] = []
"""Those whose handlers are installed; a run within a run comes last."""


def _leave_to_parent() -> None:
    """In a process that was forked in the middle of a run: it has nothing to save, and may be told to end."""
    while _watches:
        _watches.pop().put_back()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_leave_to_parent)
