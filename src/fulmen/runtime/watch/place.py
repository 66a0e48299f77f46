"""Where a process is in its code, as another of its threads sees it, and what it waits for."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from types import FrameType

import torch
import torch.distributed
import torch.nn.parallel.distributed

from fulmen.runtime import collectives
from fulmen.runtime.processes import IDLE_SHARE

MOST_LINES = 40
"""Of a stack: the innermost ones tell what goes on."""

Line = tuple[str, int, str]
"""A file, a line number, and the function."""

_TORCH = str(Path(torch.__file__).parent) + os.sep
_OURS = str(Path(__file__).parents[2]) + os.sep
_TALK = str(Path(torch.distributed.__file__).parent) + os.sep
_LOG = _TALK + "c10d_logger.py"
"""Wraps the operations."""
_OPERATIONS = (torch.distributed.distributed_c10d.__file__, collectives.__file__)
_PACKING = ("_object_to_tensor", "_tensor_to_object")
"""Of torch's: the work before anything is sent, and when all has come."""
_PARALLEL = torch.nn.parallel.distributed.__file__
_BACKWARD = str(Path(torch.__file__).parent / "autograd" / "graph.py")


@dataclass(frozen=True)
class Place:
    """A point in the code of a process."""

    stack: list[Line]
    """The outermost call first."""
    hook: str | None = None
    """Which of the user's hooks is under way."""
    wait: str | None = None
    """The operation in which it waits for other processes, or did so when it failed.

    The same words in another process mean the same operation.
    """
    may_spin: bool = False
    """Whether all that the thread does there is to wait, even if it uses its processor: so CUDA waits."""

    def describe(self) -> str:
        """The stack as a traceback shows it, of torch's own lines only the innermost."""
        kept = [line for line in self.stack[:-1] if not line[0].startswith(_TORCH)] + self.stack[-1:]
        return "".join(traceback.StackSummary.from_list([(*line, None) for line in kept]).format())

    def users_line(self) -> Line | None:
        """The innermost line of the user's, if it has come to any."""
        own = [line for line in self.stack if not line[0].startswith((_TORCH, _OURS, "<"))]
        return own[-1] if own else None


def of_main_thread(hooks: Iterable[str], outer: int) -> Place:
    """Where the main thread is now, without so many of the outermost calls."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return _place(list(_callers(frame))[::-1][outer:], hooks)


def of_error(error: BaseException, hooks: Iterable[str]) -> Place:
    """Where an error was raised, as far out as it has come."""
    return _place([(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)], hooks)


def _callers(frame: FrameType | None) -> Iterator[tuple[FrameType, int]]:
    while frame is not None:
        yield frame, frame.f_lineno
        frame = frame.f_back


def _place(frames: list[tuple[FrameType, int]], hooks: Iterable[str]) -> Place:
    stack: list[Line] = [
        (frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in frames[-MOST_LINES:]
    ]
    known = frozenset(hooks)
    hook = next((function for _, _, function in reversed(stack) if function in known), None)
    wait = _find_wait(stack)
    return Place(stack, hook, wait, may_spin=wait is not None and stack[-1][0] in _OPERATIONS)


def _find_wait(stack: list[Line]) -> str | None:
    if not stack:
        return None
    file, _, function = stack[-1]
    if file == _BACKWARD and function == "_engine_run_backward":
        return "the gradients of the others"
    if file == collectives.__file__ and function == collectives.wait_for.__name__:
        return "an answer of the others"
    calls = list(takewhile(_is_of_torchs_talk, reversed(stack)))  # the innermost first
    torchs = [function for file, _, function in calls if file != _LOG]
    if calls and (not torchs or torchs[0] in _PACKING):
        return None
    if len(calls) < len(stack) and stack[-len(calls) - 1][0] == collectives.__file__:
        call = collectives.last_call
        return f"{call.name}, operation {call.number} of the run's own"
    return f"{torchs[-1]} of torch.distributed" if torchs else None


def _is_of_torchs_talk(line: Line) -> bool:
    return line[0].startswith(_TALK) or line[0] == _PARALLEL


class Stillness:
    """For how long a process has been at rest: in one wait, at one step, computing nothing meanwhile.

    Asked regularly by one thread, whose own work does not count; nor does a main thread that spins in a wait.
    """

    def __init__(self) -> None:
        self._waits_for: tuple[str | None, str] | None = None
        self._begun_s = self._asked_s = time.monotonic()
        self._main_s = self._others_s = 0.0

    def last(self, place: Place, at: str) -> float:
        """Seconds, given where the main thread is and how far the work has come."""
        waits_for, now_s, main_s = (place.wait, at), time.monotonic(), _main_thread_s()
        others_s = time.process_time() - time.thread_time() - main_s
        used_s = others_s - self._others_s + (0.0 if place.may_spin else main_s - self._main_s)
        is_idle = used_s <= IDLE_SHARE * (now_s - self._asked_s)
        if not is_idle or place.wait is None or waits_for != self._waits_for:
            self._begun_s = now_s
        self._waits_for, self._asked_s, self._main_s, self._others_s = waits_for, now_s, main_s, others_s
        return now_s - self._begun_s


def _main_thread_s() -> float:
    """The processor time of the main thread, where it can be told from that of others."""
    if sys.platform != "linux":
        return 0.0
    return time.clock_gettime(time.pthread_getcpuclockid(threading.main_thread().ident or 0))
