"""Durations add up, and the table says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from fulmen.errors import UsageError
from fulmen.profilers import SimpleProfiler, simple


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """One number: the time it is."""
    now_s = [0.0]
    monkeypatch.setattr(simple, "perf_counter", lambda: now_s[0])
    return now_s


def a_run(profiler: SimpleProfiler, clock: list[float]) -> None:
    profiler.setup("fit")
    with profiler.profile("epoch"):
        for _ in range(4):
            with profiler.profile("batch"):
                with profiler.profile("step"):
                    clock[0] += 0.5
                clock[0] += 0.25
        clock[0] += 1.0


def fail_after_a_second(clock: list[float]) -> None:
    clock[0] += 1.0
    raise ZeroDivisionError


def test_the_table(clock: list[float]) -> None:
    profiler = SimpleProfiler()
    clock[0] = 100.0  # what comes before a run is not part of it
    a_run(profiler, clock)
    clock[0] += 100.0  # nor what comes after it

    assert profiler.summary() == (
        "FIT Profiler Report\n"
        "\n"
        "------------------------------------------------------------------\n"
        "Action  Mean duration (s)  Num calls  Total time (s)  Percentage %\n"
        "------------------------------------------------------------------\n"
        "Total                   -          9         4.00000        100.00\n"
        "------------------------------------------------------------------\n"
        "epoch           4.0000000          1         4.00000        100.00\n"
        "batch           0.7500000          4         3.00000         75.00\n"
        "step            0.5000000          4         2.00000         50.00\n"
        "------------------------------------------------------------------\n"
    )


def test_the_short_table(clock: list[float]) -> None:
    profiler = SimpleProfiler(extended=False)
    a_run(profiler, clock)

    lines = profiler.summary().splitlines()
    assert lines[3].split() == ["Action", "Mean", "duration", "(s)", "Total", "time", "(s)"]
    assert lines[8].split() == ["batch", "0.7500000", "3.00000"]


def test_all_lines_of_the_table_are_as_wide(clock: list[float]) -> None:
    profiler = SimpleProfiler()
    profiler.setup("fit")
    for name in ("a", "[Callback]" + "x" * 100):
        with profiler.profile(name):
            clock[0] += 1234.5

    widths = {len(line) for line in profiler.summary().splitlines()[2:]}
    assert len(widths) == 1


def test_memory_does_not_grow_with_the_run() -> None:
    profiler = SimpleProfiler()
    for _ in range(1000):
        with profiler.profile("a"):
            pass

    assert len(profiler.durations) == 1
    assert profiler.durations["a"].calls == 1000


def test_spans_may_overlap(clock: list[float]) -> None:
    profiler = SimpleProfiler()
    profiler.start("a")
    clock[0] += 1
    profiler.start("b")
    clock[0] += 1
    profiler.stop("a")
    clock[0] += 1
    profiler.stop("b")

    assert profiler.durations["a"].total_s == 2
    assert profiler.durations["b"].total_s == 2


def test_a_span_is_stopped_when_its_block_fails(clock: list[float]) -> None:
    profiler = SimpleProfiler()
    with pytest.raises(ZeroDivisionError), profiler.profile("a"):
        fail_after_a_second(clock)
    with profiler.profile("a"):
        clock[0] += 2

    assert profiler.durations["a"].total_s == 3


def test_each_run_has_a_report_of_its_own(clock: list[float]) -> None:
    profiler = SimpleProfiler()
    a_run(profiler, clock)
    profiler.start("left open by an error")
    profiler.setup("validate")
    with profiler.profile("left open by an error"):
        clock[0] += 1

    report = profiler.summary()
    assert report.startswith("VALIDATE Profiler Report")
    assert "epoch" not in report
    assert profiler.durations["left open by an error"].total_s == 1


def test_stopping_what_was_not_started_is_an_error() -> None:
    profiler = SimpleProfiler()
    with pytest.raises(UsageError, match="'never'"):
        profiler.stop("never")
    with profiler.profile("once"):
        pass
    with pytest.raises(UsageError, match="'once'"):
        profiler.stop("once")


def test_starting_twice_is_an_error() -> None:
    profiler = SimpleProfiler()
    profiler.start("twice")
    with pytest.raises(UsageError, match="'twice'"):
        profiler.start("twice")


def test_a_report_without_any_span() -> None:
    profiler = SimpleProfiler()

    assert "Total" in profiler.summary()


def test_the_report_is_printed(caplog: pytest.LogCaptureFixture, clock: list[float]) -> None:
    profiler = SimpleProfiler()
    a_run(profiler, clock)
    profiler.describe()

    assert caplog.messages == [profiler.summary()]


@pytest.mark.parametrize(
    ("dirpath", "local_rank", "expected"),
    [
        (None, None, "logs/fit-times.txt"),
        (None, 1, "logs/fit-times-1.txt"),
        ("mine", None, "mine/fit-times.txt"),
    ],
)
def test_the_report_is_written_to_a_file(
    dirpath: str | None,
    local_rank: int | None,
    expected: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    profiler = SimpleProfiler(dirpath and tmp_path / dirpath, "times")
    profiler.setup("fit", local_rank, str(tmp_path / "logs"))
    with profiler.profile("a"):
        pass
    profiler.describe()

    assert (tmp_path / expected).read_text() == profiler.summary()
    assert not caplog.messages
