"""A launcher runs a function in every process of the world and hands back what rank 0 returned."""

from __future__ import annotations

import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from typing import Any

from fulmen.base import environ
from fulmen.base.report import RANK_VARIABLE, leave_to_others, own_rank
from fulmen.errors import ConfigError
from fulmen.runtime.launch import hydra


class Launcher(ABC):
    """How the peers of this process come to life."""

    @abstractmethod
    def launch(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run `function(*args)` in every process; returns the result of rank 0."""


class InPlace(Launcher):
    """Runs in this process, whose peers, if it has any, are there already."""

    def launch(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


class Way(Enum):
    """How a script comes to further processes."""

    SCRIPT = 'the script once more for each further device ("ddp")'
    FUNCTION = 'new processes for each run ("ddp_spawn", "ddp_fork", "ddp_notebook")'


_settled: dict[str | None, Way] = {}
"""In this script, or in each job of Hydra's in it."""


def settle_on(way: Way) -> None:
    """Raise `ConfigError` where this script has come to its processes in another way before.

    The one way has processes that run the whole script, and would wait for those of the other.
    """
    settled = _settled.setdefault(hydra.output_folder(), Way.SCRIPT if runs_once_more() else way)
    if settled is way:
        return
    error = ConfigError(
        "The Trainers of one script cannot start their processes in different ways.",
        received=way.value,
        expected=f"{settled.value}, as before",
        fix="the same strategy for all of them, or a script for each",
    )
    if own_rank():
        leave_to_others(error)
    raise error


def runs_once_more() -> bool:
    """Whether this process runs the script for a further device of the one that has started it."""
    return environ.read(RANK_VARIABLE) is not None


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
