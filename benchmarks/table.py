"""The readings as a table in Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path

from benchmarks.measures import OURS
from benchmarks.process import Worker
from benchmarks.rounds import Comparison, Measure, Row

HEADS = ("", "min", "median", "min over", "over", "quartiles", "times", "target")


def describe_machine(workers: Iterable[Worker]) -> str:
    """Processor, cores, and the versions in each of the workers' environments."""
    lines = [f"{_processor()}, {os.cpu_count()} cores, of which one is used; {platform.platform()}"]
    for worker in workers:
        lines.append(", ".join(f"{name} {version}" for name, version in worker.installed.items()))
    return "\n".join(f"- {line}" for line in lines)


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table_head() -> str:
    """The first two lines."""
    return "\n".join([line(HEADS), line([":--", *["--:"] * (len(HEADS) - 1)])])


def table_rows(measure: Measure, rows: Iterable[Row]) -> str:
    """A line that says what is measured, and a line per contestant."""
    lines = [line([f"**{measure.what}**", *[""] * (len(HEADS) - 1)])]
    for row in rows:
        is_ours = row.contestant.name.split(", ")[-1] == OURS
        verdict = _verdict(measure, row) if is_ours else ""
        numbers = [_number(row.least), _number(row.median)]
        lines.append(line([row.contestant.name, *numbers, *_compared(row.comparison), verdict]))
    return "\n".join(lines)


def _compared(comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return [""] * 4
    low, high = map(_number, comparison.quartiles)
    over = [_number(comparison.least_over), _number(comparison.over)]
    return [*over, f"{low} to {high}", f"{comparison.times:.2f}"]


def _verdict(measure: Measure, row: Row) -> str:
    if row.comparison is not None and measure.target_times is not None:
        unit, target, reached = " times", measure.target_times, row.comparison.times
    elif measure.target is not None:
        unit, target = "", measure.target
        reached = row.median if row.comparison is None else row.comparison.over
    else:
        return ""
    return f"{target:g}{unit}: {'met' if reached <= target else 'missed'}"


def _number(value: float) -> str:
    return (
        f"{value:.0f}"
        if abs(value) >= 100 or value == 0
        else f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
    )


def line(cells: Iterable[str]) -> str:
    """Cells as a row."""
    return f"| {' | '.join(cells)} |"
