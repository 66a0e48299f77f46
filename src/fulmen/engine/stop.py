"""Requests to end a run before it is told to."""

from __future__ import annotations


class Stop:
    """Requests to end a run, from callbacks and user code."""

    def __init__(self) -> None:
        self.requested = False
        """Whether training should end as soon as `min_epochs` and `min_steps` allow."""
        self.reason: str | None = None
        self.is_shared = False
        """Whether other processes have to hear of a request before anybody acts on it."""
        self.heard = False
        """Whether all of them have."""
        self.postponed = False
        """Whether the user was told that a request has to wait."""

    def request(self, reason: str | None = None) -> None:
        """End the run after the current step; the first reason counts."""
        self.requested = True
        self.reason = self.reason or reason

    @property
    def is_due(self) -> bool:
        """Whether there is a request that all processes know of."""
        return self.heard if self.is_shared else self.requested
