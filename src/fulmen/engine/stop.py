"""Why and when a run ends before it is told to: requests, limits, and Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fulmen.base.report import info


class Stop:
    """Requests to end a run, from callbacks, user code or the keyboard."""

    def __init__(self) -> None:
        self.requested = False
        """Whether training should end as soon as `min_epochs` and `min_steps` allow."""
        self.reason: str | None = None
        self.postponed = False
        """Whether the user was told that a request has to wait."""
        self.interrupts = 0
        """How often Ctrl-C was pressed."""

    def request(self, reason: str | None = None) -> None:
        """End the run after the current step; the first reason counts."""
        self.requested = True
        self.reason = self.reason or reason

    @contextmanager
    def watch_keyboard(self) -> Iterator[None]:
        """Inside, the first Ctrl-C is noted for the loop to see after the current step; the second raises."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set signal handlers, and only it is interrupted
            return
        before = signal.getsignal(signal.SIGINT)
        if before is not signal.default_int_handler:
            yield  # an application that handles the signal itself goes on doing so
            return

        def note(signum: int, frame: Any) -> None:
            self.interrupts += 1
            if self.interrupts > 1:
                raise KeyboardInterrupt
            info("Interrupted: ending after the current step. Press Ctrl-C again to abort at once.")

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
