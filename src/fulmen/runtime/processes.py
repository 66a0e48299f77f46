"""Processes of this host as the kernel shows them, and a quick end for this one."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

IDLE_SHARE = 0.03
"""Of a CPU's time: a process that uses less computes nothing, and sends or receives nothing of any size."""

FLUSH_S = 1.0
"""How long a process that has to end may take to print what it has said."""


@dataclass(frozen=True)
class Glance:
    """A process of this host as it is now; on other systems than Linux, nothing is seen."""

    processor_s: float = 0.0
    """The processor time that it has used."""
    would_go_on: bool = False
    """Whether it only waits for a processor, or for a disk or a page of memory."""

    @classmethod
    def at(cls, pid: int) -> Glance:
        """How it is now."""
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            return cls()
        return cls((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), fields[0] in ("R", "D"))


def wait_for_those_at_work(wait: Callable[[float], Iterable[int]], limit_s: float) -> list[int]:
    """The pids of those that are left once none of them has computed for so long.

    `wait` waits for all of them up to a limit, and gives the pids of those that have not ended.
    """
    used_s = {pid: Glance.at(pid).processor_s for pid in wait(0.0)}
    while late := list(wait(limit_s)):
        before_s, used_s = used_s, {pid: Glance.at(pid).processor_s for pid in late}
        if all(used_s[pid] - before_s[pid] <= IDLE_SHARE * limit_s for pid in late):
            break
    return late


def exit_at_once(code: int) -> NoReturn:
    """End this process, with what it has printed on the screen; with exit code 1 if that cannot be done.

    From any thread, and at any time: when a script ends, no thread can be started that would watch this one.
    """
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(FLUSH_S, exit=True, file=nowhere)
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):  # it is None, broken or closed
                stream.flush()
        os._exit(code)
