"""Requests to end a run before it is told to."""

from __future__ import annotations


class Stop:
    """Requests to end a run, from callbacks and user code."""

    def __init__(self) -> None:
        self.requested = False
        """Whether training should end as soon as `min_epochs` and `min_steps` allow."""
        self.reason: str | None = None
        self.postponed = False
        """Whether the user was told that a request has to wait."""

    def request(self, reason: str | None = None) -> None:
        """End the run after the current step; the first reason counts."""
        self.requested = True
        self.reason = self.reason or reason
