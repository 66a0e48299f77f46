"""What can be read at any moment of a run."""

from __future__ import annotations

import gc
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
    yield _after_collection(lambda: int(Path("/proc/self/statm").read_text().split()[1]) * page_kb)


@contextmanager
def traced_memory() -> Iterator[Read]:
    """Kilobytes that Python's objects take."""
    tracemalloc.start()
    try:
        yield _after_collection(lambda: tracemalloc.get_traced_memory()[0] / 1024)
    finally:
        tracemalloc.stop()


def _after_collection(read: Read) -> Read:
    def collect_and_read() -> float:
        gc.collect()  # what waits for the collector is not growth
        return read()

    return collect_and_read


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
