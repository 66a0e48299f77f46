"""What can be read at any moment of a run."""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.architecture.host_reads import watch_reads

Read = Callable[[], float]


@contextmanager
def clock() -> Iterator[Read]:
    """Microseconds."""
    yield lambda: time.perf_counter_ns() / 1000


@contextmanager
def resident_memory() -> Iterator[Read]:
    """Kilobytes of this process that are in memory; Linux only."""
    page_kb = os.sysconf("SC_PAGE_SIZE") / 1024
    yield lambda: int(Path("/proc/self/statm").read_text().split()[1]) * page_kb


@contextmanager
def traced_memory() -> Iterator[Read]:
    """Kilobytes that Python's objects take."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0] / 1024
    finally:
        tracemalloc.stop()


@contextmanager
def host_reads() -> Iterator[Read]:
    """How often the host has read a tensor."""
    seen: list[str] = []
    with watch_reads(seen.append):
        yield lambda: len(seen)


PROBES: dict[str, Callable[[], AbstractContextManager[Read]]] = {
    "clock": clock,
    "resident memory": resident_memory,
    "traced memory": traced_memory,
    "host reads": host_reads,
}
"""By the name that a request gives."""
