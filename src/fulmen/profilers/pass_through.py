"""A profiler for code that wants one."""

from __future__ import annotations

from fulmen.core.profiler import Profiler


class PassThroughProfiler(Profiler):
    """Measures nothing."""

    def start(self, action_name: str) -> None:
        pass

    def stop(self, action_name: str) -> None:
        pass
