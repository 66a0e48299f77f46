"""A launcher runs a function in every process of the world and hands back what rank 0 returned."""

from __future__ import annotations

import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from fulmen.base import environ


class Launcher(ABC):
    """How the peers of this process come to life."""

    @abstractmethod
    def launch(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run `function(*args)` in every process; returns the result of rank 0."""


class InPlace(Launcher):
    """Runs in this process, whose peers, if it has any, are there already."""

    def launch(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


def fair_threads(num_processes: int) -> int:
    """How many threads each of so many processes on this host should compute with."""
    asked = environ.read("OMP_NUM_THREADS")
    if asked is not None and asked.isdecimal():
        return max(1, int(asked))
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, cores // num_processes)


def how_ended(code: int | None) -> str:
    """An exit code in words."""
    if code is not None and code < 0:
        names = {number.value: number.name for number in signal.Signals}
        return f"was ended by {names.get(-code, f'signal {-code}')}"
    return f"ended with exit code {code}"


def place_variables(address: str, port: int, *, node: int, local_rank: int, size: int) -> dict[str, str]:
    """What tells a process that we start where it stands."""
    return {
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "NODE_RANK": str(node),
        "LOCAL_RANK": str(local_rank),
        "WORLD_SIZE": str(size),
    }
