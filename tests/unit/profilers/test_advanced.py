"""Function calls are counted in the span that they happen in."""

from __future__ import annotations

import cProfile
import pstats
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from fulmen.errors import ConfigError, UsageError
from fulmen.profilers import AdvancedProfiler


def outer_work() -> None:
    pass


def inner_work() -> None:
    pass


def calls(report: str, span: str, function: str) -> int:
    """How often `function` was called in `span`, as the report says."""
    sections = dict(re.findall(r"^Profile stats for: (\S+)\n(.*?)(?=^Profile stats|\Z)", report, re.M | re.S))
    found = re.findall(rf"^ +(\d+) .*\({function}\)$", sections[span], re.M)
    return int(found[0]) if found else 0


@pytest.fixture(autouse=True)
def _no_profiler_is_left_running() -> Any:
    yield
    assert sys.getprofile() is None
    cProfile.Profile().runcall(outer_work)  # an error if a profiler runs, from Python 3.12 on


def test_each_span_has_its_own_calls_and_not_those_of_the_spans_inside() -> None:
    profiler = AdvancedProfiler()
    profiler.setup("fit")
    with profiler.profile("outer"):
        outer_work()
        for _ in range(3):
            with profiler.profile("inner"):
                inner_work()
            outer_work()
    report = profiler.summary()

    assert report.startswith("FIT Profiler Report\n")
    assert (calls(report, "outer", "outer_work"), calls(report, "outer", "inner_work")) == (4, 0)
    assert (calls(report, "inner", "outer_work"), calls(report, "inner", "inner_work")) == (0, 3)


def test_spans_may_overlap() -> None:
    profiler = AdvancedProfiler()
    profiler.start("a")
    profiler.start("b")
    profiler.stop("a")
    inner_work()
    profiler.stop("b")
    report = profiler.summary()

    assert (calls(report, "a", "inner_work"), calls(report, "b", "inner_work")) == (0, 1)


def test_the_longest_span_comes_first() -> None:
    profiler = AdvancedProfiler()
    with profiler.profile("short"):
        pass
    with profiler.profile("long"):
        sorted(range(200_000), key=str)

    assert re.findall("Profile stats for: (.*)", profiler.summary()) == ["long", "short"]


@pytest.mark.parametrize(("restriction", "share"), [(1.0, 1.0), (1000, 1.0), (0.5, 0.5), (2, None)])
def test_a_restriction_cuts_the_tables(restriction: float, share: float | None) -> None:
    profiler = AdvancedProfiler(line_count_restriction=restriction)
    with profiler.profile("a"):
        for function in (outer_work, inner_work, list, dict, set, tuple, globals, locals):
            function()
    lines = re.findall(r"^ +\d+ +\d\.\d.*$", profiler.summary(), re.M)
    (n_functions,) = {
        len(vars(pstats.Stats(profile))["stats"]) for profile in profiler.profiled_actions.values()
    }

    assert len(lines) == (2 if share is None else round(n_functions * share))


@pytest.mark.parametrize("restriction", [0, -1, 0.0, 1.5])
def test_a_restriction_that_means_nothing_is_refused(restriction: float) -> None:
    with pytest.raises(ConfigError, match="line_count_restriction"):
        AdvancedProfiler(line_count_restriction=restriction)


def test_stats_are_dumped_for_other_viewers(tmp_path: Path) -> None:
    profiler = AdvancedProfiler(tmp_path, "calls", dump_stats=True)
    profiler.setup("fit")
    with profiler.profile("[Callback]My/Callback{'a': 1}.on_end"):
        outer_work()
    profiler.describe()

    assert {path.name for path in tmp_path.iterdir()} == {
        "fit-calls.txt",
        "fit-calls-[Callback]My_Callback_a_1_.on_end.prof",
    }
    stats = pstats.Stats(str(next(tmp_path.glob("*.prof"))))
    assert any(function == "outer_work" for _, _, function in vars(stats)["stats"])


def test_stopping_what_was_not_started_is_an_error_and_the_open_span_goes_on() -> None:
    profiler = AdvancedProfiler()
    with profiler.profile("open"):
        with pytest.raises(UsageError, match="'never'"):
            profiler.stop("never")
        outer_work()

    assert calls(profiler.summary(), "open", "outer_work") == 1


def test_starting_twice_is_an_error() -> None:
    profiler = AdvancedProfiler()
    with profiler.profile("twice"), pytest.raises(UsageError, match="'twice'"):
        profiler.start("twice")


def test_spans_left_open_by_an_error_end_with_the_run() -> None:
    profiler = AdvancedProfiler()
    profiler.setup("fit")
    profiler.start("outer")
    profiler.start("inner")
    profiler.teardown("fit")
    assert sys.getprofile() is None

    profiler.setup("validate")
    with profiler.profile("inner"):
        inner_work()
    assert calls(profiler.summary(), "inner", "inner_work") == 1
    assert "outer" not in profiler.summary()
