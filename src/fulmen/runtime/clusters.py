"""What started this process, and the world that follows from it."""

from __future__ import annotations

from fulmen.runtime.world import World


def detect() -> World:
    """The world of this process: one process, alone."""
    return World()
