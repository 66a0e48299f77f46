"""Requests to end a run before it is told to."""

from __future__ import annotations


class Stop:
    """Requests to end a run, from callbacks and user code."""

    def __init__(self) -> None:
        self._requested = False
        self.is_due = False
        """Whether there is a request that all processes know of; what the loop looks at after each batch."""
        self.reason: str | None = None
        self._is_shared = False
        self.postponed = False
        """Whether the user was told that a request has to wait."""

    @property
    def requested(self) -> bool:
        """Whether training should end as soon as `min_epochs` and `min_steps` allow."""
        return self._requested

    @requested.setter
    def requested(self, requested: bool) -> None:
        self._requested = requested
        if not self._is_shared:
            self.is_due = requested

    def share(self) -> None:
        """Let nobody act on a request before all processes have heard of it, which sets `is_due`."""
        self._is_shared, self.is_due = True, False

    def request(self, reason: str | None = None) -> None:
        """End the run after the current step; the first reason counts."""
        self.requested = True
        self.reason = self.reason or reason
