"""The base class of profilers by its old names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fulmen.compat.spelling import say_modern
from fulmen.core.profiler import Profiler


class BaseProfiler(Profiler):
    """`Profiler`, with the arguments that it had up to 1.5."""

    def __init__(
        self, output_streams: Any = None, dirpath: Any = None, filename: Any = None, **unused: Any
    ) -> None:
        say_modern("BaseProfiler", "fulmen.profilers.Profiler")
        super().__init__(dirpath, filename)

    def profile_iterable(self, iterable: Iterable[Any], action_name: str) -> Iterator[Any]:
        """The same items; taking each of them is a span."""
        iterator = iter(iterable)
        while True:
            with self.profile(action_name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item


AbstractProfiler = BaseProfiler
