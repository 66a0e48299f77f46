"""The profiler that does nothing."""

from __future__ import annotations

import pytest

from fulmen.profilers import PassThroughProfiler


def test_it_measures_nothing_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    profiler = PassThroughProfiler()
    profiler.setup("fit")
    with profiler.profile("a"), profiler.profile("a"):
        pass
    profiler.describe()
    profiler.teardown("fit")

    assert profiler.summary() == ""
    assert not caplog.messages
