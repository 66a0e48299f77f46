"""Processes that stay: a group of ranks that calls functions, one after the other."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0


class RankError(AssertionError):
    """What a rank raised, with its traceback."""


class Ranks:
    """`size` processes in one gloo group. What is called must be a function that they can import.

    Where one has not answered, there are new ones for the next call.
    """

    def __init__(self, size: int, folder: Path) -> None:
        self._size = size
        self._folder = folder
        self._times = 0
        self._begin()

    def _begin(self) -> None:
        self._times += 1
        context = multiprocessing.get_context("spawn")  # as on a cluster: nothing is inherited
        pipes = [context.Pipe() for _ in range(self._size)]
        store = str(self._folder / f"store {self._times}")
        self._ends = [ours for ours, _ in pipes]
        self._processes = [
            context.Process(target=serve, args=(theirs, rank, self._size, store))
            for rank, (_, theirs) in enumerate(pipes)
        ]
        for process in self._processes:
            process.start()
        for _, theirs in pipes:
            theirs.close()

    def __call__(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """Call `function(rank, *args)` in every rank at once; returns what each one gave."""
        for end in self._ends:
            end.send((function, args))
        answers = []
        for rank, end in enumerate(self._ends):
            if not end.poll(PATIENCE_S):
                self.end()
                self._begin()
                raise RankError(f"Rank {rank} did not answer within {PATIENCE_S:.0f} s.")
            answers.append(end.recv())
        failures = [f"Rank {rank}: {said}" for rank, (fine, said) in enumerate(answers) if not fine]
        if failures:
            raise RankError("\n".join(failures))
        return [said for _, said in answers]

    def end(self) -> None:
        """Let the processes end; those that hang are killed."""
        for end in self._ends:
            end.close()
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()


def serve(end: Connection, rank: int, size: int, store: str) -> None:
    """One rank: calls what it is sent until the other end is closed."""
    import torch
    from torch import distributed

    # As if another program had started them: a Trainer finds its peers there.
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    try:
        while True:
            try:
                function, args = end.recv()
            except EOFError:
                return
            try:
                end.send((True, function(rank, *args)))
            except Exception:
                end.send((False, traceback.format_exc()))
    finally:
        distributed.destroy_process_group()
