"""Seconds per span, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

from fulmen.base import files
from fulmen.base.seams import understood
from fulmen.core.profiler import Profiler
from fulmen.profilers.texts import already_started, not_started, title


@dataclass
class Duration:
    """What is known of all spans of one name."""

    calls: int = 0
    total_s: float = 0.0


class SimpleProfiler(Profiler):
    """Adds up the wall time of each span, in constant memory. `extended`: with calls and percentages.

    Spans lie inside one another, so percentages add up to more than 100.
    """

    @understood
    def __init__(
        self, dirpath: files.AnyPath | None = None, filename: str | None = None, extended: bool = True
    ) -> None:
        super().__init__(dirpath, filename)
        self.extended = extended
        self.durations: dict[str, Duration] = {}
        self._started_s: dict[str, float] = {}
        self._begin_s = self._end_s = perf_counter()

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        super().setup(stage, local_rank, log_dir)
        self.durations.clear()
        self._started_s.clear()
        self._begin_s = self._end_s = perf_counter()

    def start(self, action_name: str) -> None:
        if action_name in self._started_s:
            raise already_started(action_name)
        self._started_s[action_name] = perf_counter()

    def stop(self, action_name: str) -> None:
        self._end_s = perf_counter()
        started_s = self._started_s.pop(action_name, None)
        if started_s is None:
            raise not_started(action_name)
        duration = self.durations.get(action_name)
        if duration is None:
            duration = self.durations[action_name] = Duration()
        duration.calls += 1
        duration.total_s += self._end_s - started_s

    def summary(self) -> str:
        """A table, the span that took longest first."""
        run = Duration(
            sum(duration.calls for duration in self.durations.values()), self._end_s - self._begin_s
        )
        longest_first = sorted(self.durations.items(), key=lambda item: item[1].total_s, reverse=True)
        lines = [self._row("Total", run, run.total_s, mean="-")]
        lines += [self._row(name, duration, run.total_s) for name, duration in longest_first]
        header = ["Action", "Mean duration (s)", "Num calls", "Total time (s)", "Percentage %"]
        return f"{title(self._stage)}\n\n{_table(self._chosen(header), lines)}\n"

    def _row(self, name: str, duration: Duration, run_s: float, mean: str | None = None) -> list[str]:
        mean = mean or f"{duration.total_s / duration.calls:.7f}"
        percentage = 100 * duration.total_s / run_s if run_s else 0.0
        cells = [name, mean, str(duration.calls), f"{duration.total_s:.5f}", f"{percentage:.2f}"]
        return self._chosen(cells)

    def _chosen(self, cells: list[str]) -> list[str]:
        return cells if self.extended else [cells[0], cells[1], cells[3]]


def _table(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: list[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])

    rule = "-" * len(line(header))
    return "\n".join([rule, line(header), rule, line(rows[0]), rule, *map(line, rows[1:]), rule])
