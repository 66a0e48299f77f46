"""Function calls per span, by cProfile."""

from __future__ import annotations

import cProfile
import io
import marshal
import pstats
import re
from collections import defaultdict
from typing import Any

from fulmen.base import files
from fulmen.base.seams import understood
from fulmen.core.profiler import Profiler
from fulmen.errors import ConfigError
from fulmen.profilers.texts import already_started, not_started, title


class AdvancedProfiler(Profiler):
    """Counts and times the function calls in each span, without those of the spans inside it.

    `line_count_restriction`: how much to print of each span, a number of lines or a fraction of them.
    `dump_stats`: also write `{stage}-{filename}-{span}.prof`, for `pstats` and the viewers of its format.
    """

    @understood
    def __init__(
        self,
        dirpath: files.AnyPath | None = None,
        filename: str | None = None,
        line_count_restriction: float = 1.0,
        dump_stats: bool = False,
    ) -> None:
        if line_count_restriction <= 0 or (
            isinstance(line_count_restriction, float) and line_count_restriction > 1
        ):
            raise ConfigError(
                "`line_count_restriction` cannot be used.",
                received=line_count_restriction,
                expected="a positive int, the number of lines, or a float up to 1.0, the fraction of them",
            )
        super().__init__(dirpath, filename)
        self.line_count_restriction = line_count_restriction
        self.dump_stats = dump_stats
        self.profiled_actions: defaultdict[str, cProfile.Profile] = defaultdict(cProfile.Profile)
        self._open: list[str] = []  # only the last one counts: Python runs one profiler at a time

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        super().setup(stage, local_rank, log_dir)
        self._pause()
        self._open.clear()
        self.profiled_actions.clear()

    def start(self, action_name: str) -> None:
        if action_name in self._open:
            raise already_started(action_name)
        self._pause()
        self._open.append(action_name)
        self._go_on()

    def stop(self, action_name: str) -> None:
        if action_name not in self._open:
            raise not_started(action_name)
        self._pause()
        self._open.remove(action_name)
        self._go_on()

    def _pause(self) -> None:
        if self._open:
            self.profiled_actions[self._open[-1]].disable()

    def _go_on(self) -> None:
        if self._open:
            self.profiled_actions[self._open[-1]].enable()

    def summary(self) -> str:
        """A table of functions for each span, the span that took longest first."""
        longest_first = sorted(
            self.profiled_actions.items(), key=lambda item: _total_s(item[1]), reverse=True
        )
        return "\n".join([title(self._stage), "", *(self._report(*item) for item in longest_first)])

    def _report(self, name: str, profile: cProfile.Profile) -> str:
        text = io.StringIO()
        pstats.Stats(profile, stream=text).sort_stats("cumulative").print_stats(self.line_count_restriction)
        return f"Profile stats for: {name}\n{text.getvalue().rstrip()}\n"

    def describe(self) -> None:
        super().describe()
        if self.dump_stats:
            for name, profile in self.profiled_actions.items():
                self._dump(name, profile)

    def _dump(self, name: str, profile: cProfile.Profile) -> None:
        profile.create_stats()
        path = self.file_path(".prof", re.sub(r"[^\w.\[\]-]+", "_", name))
        files.write_whole(path, lambda file: marshal.dump(profile.stats, file))

    def teardown(self, stage: str | None) -> None:
        self._pause()  # spans that an error left open
        self._open.clear()

    def __getstate__(self) -> dict[str, Any]:
        # cProfile's measurements stay in the process that made them.
        return self.__dict__ | {"profiled_actions": defaultdict(cProfile.Profile), "_open": []}


def _total_s(profile: cProfile.Profile) -> float:
    return sum(entry.inlinetime for entry in profile.getstats())
