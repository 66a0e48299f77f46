"""A function in new processes of this node: for notebooks, functions and scripts that cannot run twice."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal

import torch

from fulmen.base import environ
from fulmen.errors import ConfigError, DistributedError
from fulmen.runtime import ports, watch
from fulmen.runtime.clusters import ClusterEnvironment
from fulmen.runtime.launch.launcher import Launcher, Way, fair_threads, how_ended, place_variables, settle_on
from fulmen.runtime.launch.parcel import Parcel, pack, unpack
from fulmen.runtime.lifeline import tie_to_parent
from fulmen.runtime.processes import wait_for_those_at_work

StartMethod = Literal["spawn", "fork", "forkserver"]

SETTLE_S = 1.0
"""How long to wait for more after a failure: the first to be heard of need not be the first to happen."""

REPORT_S = 5.0
"""How much longer, where the processes look after each other and have still to say what has happened."""

END_OF_PROCESS_S = 30.0
"""How long processes that have answered may do nothing and not end: they may have something to finish."""

END_S = 5.0
"""How long they may take that were told to end."""

INTERRUPTED_S = 2.0
"""The same after Ctrl-C, until they are told."""


class Spawned(Launcher):
    """All ranks of this node are new processes that end with the function; what one raises is raised here."""

    def __init__(
        self, environment: ClusterEnvironment, num_processes: int, start_method: StartMethod = "spawn"
    ) -> None:
        known = multiprocessing.get_all_start_methods()
        if start_method not in known:
            raise ConfigError(
                "Processes cannot be started like this here.",
                received=start_method,
                expected=", ".join(known),
            )
        self._environment = environment
        self._num_processes = num_processes
        self._start_method: StartMethod = start_method

    def launch(self, function: Callable[..., Any], *args: Any) -> Any:
        if self._start_method == "fork" and torch.cuda.is_initialized():
            raise ConfigError(
                "Processes cannot be forked any more: CUDA is in use here, and would be broken there.",
                fix="use no CUDA before (no tensor.cuda(), no torch.cuda.synchronize()), or "
                'strategy="ddp_spawn"',
            )
        settle_on(Way.FUNCTION)
        parcel = Parcel((function, *args))
        ranks: list[_Rank] = []
        try:
            for rank in self._start(parcel):
                ranks.append(rank)
            result = _result(ranks)
        except BaseException as error:
            # Ctrl-C has reached the others as well, where it came from the terminal.
            _join(ranks, INTERRUPTED_S if isinstance(error, KeyboardInterrupt) else 0.0)
            raise
        else:
            wait_for_those_at_work(partial(_join, ranks), END_OF_PROCESS_S)
            return result
        finally:
            _end(ranks)

    def _start(self, parcel: Parcel) -> Iterator[_Rank]:
        environment, node = self._environment, self._environment.node_rank()
        # Where nobody has said where to meet: an open port, which rank 0 is given.
        with ports.listen() if environ.read("MASTER_PORT") is None else nullcontext() as listener:
            port = environment.main_port if listener is None else listener.getsockname()[1]
            for local_rank in range(self._num_processes):
                place = place_variables(
                    environment.main_address,
                    port,
                    node=node,
                    local_rank=local_rank,
                    size=environment.world_size(),
                )
                process, pipe = self._start_one(parcel, place, listener if local_rank == 0 else None)
                yield _Rank(node * self._num_processes + local_rank, process, pipe)

    def _start_one(
        self, parcel: Parcel, place: dict[str, str], listener: socket.socket | None
    ) -> tuple[BaseProcess, Connection]:
        context: Any = multiprocessing.get_context(self._start_method)
        # OpenMP does not survive a fork with more threads than one.
        threads = 1 if self._start_method == "fork" else fair_threads(self._num_processes)
        ours, theirs = context.Pipe(duplex=False)
        with theirs:  # which is not kept open here: its end is to be the end of the process
            process = context.Process(target=_serve, args=(parcel, theirs, place, listener, threads))
            try:
                process.start()
            except BaseException:
                ours.close()
                raise
        return process, ours


class RankTraceback(Exception):
    """Where an error was raised in another process."""


@dataclass
class _Rank:
    number: int
    process: BaseProcess
    pipe: Connection


@dataclass(frozen=True)
class _Answer:
    """What a process came to: a result, or an error with its traceback; without either, it died."""

    result: Any = None
    error: bytes | None = None
    traceback: str | None = None
    died: bool = False

    @property
    def is_failure(self) -> bool:
        return self.died or self.traceback is not None


@dataclass(frozen=True)
class _Report:
    """What has happened to a run, as one process tells for all, and the ranks that are to blame.

    Without a text, it says that there will be one if anything happens.
    """

    text: str
    ranks: list[int]


@dataclass
class _Voice:
    """How a process speaks to the one that has started it, from any of its threads."""

    pipe: Connection
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, packed: bytes) -> None:
        with self.lock:
            self.pipe.send_bytes(packed)

    def tell(self, text: str, ranks: list[int]) -> None:
        with suppress(OSError):  # there is nobody any more
            self.send(pack(_Report(text, ranks)))


def _serve(
    parcel: Parcel, pipe: Connection, place: dict[str, str], listener: socket.socket | None, threads: int
) -> None:
    tie_to_parent()
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)
    torch.set_num_threads(threads)
    for name, value in place.items():
        environ.write(name, value)
    if listener is not None:
        ports.adopt(listener)
    voice = _Voice(pipe)
    watch.tell_parent(voice.tell)
    try:
        function, *args = parcel.open()
        result = function(*args)
        answer = pack(_Answer(result if place["LOCAL_RANK"] == "0" else None))
    except BaseException as error:
        answer = pack(_Answer(error=_packed(error), traceback=traceback.format_exc()))
    voice.send(answer)


def _packed(error: BaseException) -> bytes | None:
    try:
        return pack(error)
    except Exception:
        return None


@dataclass
class _Heard:
    """What was heard of all so far."""

    answers: dict[int, _Answer] = field(default_factory=dict)
    report: _Report | None = None
    failed_s: float | None = None

    def take(self, number: int, said: _Answer | _Report | None) -> None:
        if isinstance(said, _Report):
            self.report = self.report if self.report is not None and self.report.text else said
        elif said is not None:
            self.answers[number] = said
            if said.is_failure and self.failed_s is None:
                self.failed_s = time.monotonic()

    def left_s(self) -> float | None:
        """How long to wait for more; None for as long as it takes."""
        if self.failed_s is None:
            return None
        is_awaited = self.report is not None and not self.report.text
        end_s = self.failed_s + SETTLE_S + (REPORT_S if is_awaited else 0.0)
        return max(0.0, end_s - time.monotonic())


def _result(ranks: list[_Rank]) -> Any:
    heard = _Heard()
    while len(heard.answers) < len(ranks) and heard.left_s() != 0.0:
        missing = [rank for rank in ranks if rank.number not in heard.answers]
        wait([end for rank in missing for end in (rank.pipe, rank.process.sentinel)], heard.left_s())
        for rank in missing:
            heard.take(rank.number, _hear(rank))
    failures = {number: answer for number, answer in heard.answers.items() if answer.is_failure}
    if not failures:
        return heard.answers[ranks[0].number].result
    report = heard.report or _Report("", [])
    # When one dies, it is the others that complain.
    first = min(failures, key=lambda number: (number not in report.ranks, not failures[number].died))
    raise _error_of(next(rank for rank in ranks if rank.number == first), failures[first], report)


def _hear(rank: _Rank) -> _Answer | _Report | None:
    ended = not rank.process.is_alive()
    if rank.pipe.poll():
        try:
            return unpack(rank.pipe.recv_bytes())
        except EOFError:
            return _Answer(died=True)
    return _Answer(died=True) if ended else None


def _error_of(rank: _Rank, answer: _Answer, report: _Report) -> BaseException:
    is_blamed = rank.number in report.ranks
    if answer.died:
        rank.process.join(END_S)
        main_module = 'a script that starts processes does so under `if __name__ == "__main__":`'
        code = rank.process.exitcode
        end = f"Rank {rank.number} {how_ended(code)}."
        if report.text:
            return DistributedError(f"{end}\n{report.text}" if is_blamed else report.text)
        return DistributedError(end, fix=main_module if code == 1 else None)
    plain = f"Rank {rank.number} (pid {rank.process.pid}):\n{answer.traceback}"
    origin = RankTraceback(f"\n\n{report.text if is_blamed else plain}")
    try:
        error = unpack(answer.error) if answer.error is not None else None
    except Exception:  # whose constructor does not take what it keeps
        error = None
    if not isinstance(error, BaseException):
        error = DistributedError(f"Rank {rank.number} failed, with an error that cannot be sent.")
    error.__cause__ = origin
    return error


def _end(ranks: list[_Rank]) -> None:
    try:
        _stop(ranks, BaseProcess.terminate)
        _join(ranks, END_S)
    finally:
        _stop(ranks, BaseProcess.kill)
        for rank in ranks:
            rank.process.join()
            rank.process.close()
            rank.pipe.close()


def _join(ranks: list[_Rank], limit_s: float) -> list[int]:
    """The pids of those that have not ended within the limit."""
    deadline_s = time.monotonic() + limit_s
    for rank in ranks:
        rank.process.join(max(0.0, deadline_s - time.monotonic()))
    return [rank.process.pid for rank in ranks if rank.process.is_alive() and rank.process.pid is not None]


def _stop(ranks: list[_Rank], how: Callable[[BaseProcess], None]) -> None:
    for rank in ranks:
        if rank.process.is_alive():
            how(rank.process)
