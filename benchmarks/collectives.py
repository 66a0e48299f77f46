"""Count what processes say to each other in a fit, and model what it costs: python -m benchmarks.collectives

Real fits, in one process that is told that it is rank 0 of many, all of which do as it does. Their operations
are counted, with the bytes that each rank receives; a model says how long they take on a network. What is not
counted is gradients, which a bare loop has as well.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable
from statistics import mean
from types import FrameType
from typing import Any

import torch
from torch import Tensor

import fulmen as pl
from benchmarks.table import line
from benchmarks.work import EXTRAS_OFF, Batches, make_module
from fulmen.base import report
from fulmen.runtime.collectives import Collectives
from fulmen.runtime.world import World

LATENCY_US = 20.0
"""Of one hop. An operation takes log2(ranks) of them, rounded up, ..."""
BYTES_PER_US = 10_000.0
"""... and time for what a rank receives: 10 GB/s."""

STEPS = 400
FLUSH_EVERY_STEPS = 50
RANKS = (2, 8, 64, 256, 1024)
NAMES = (0, 1, 5, 50, 500)
USUAL_NAMES = 5

FLUSH = "flush_step"
MOMENTS = {
    FLUSH: "a flush",
    "ask": "a question about signals, twice a second",
    "end_epoch": "the end of an epoch",
    "": "the beginning and the end of a fit",
}
"""By the function of the engine in which it takes place: what is an occasion for operations."""


class Alike(Collectives):
    """What rank 0 of many hears if all do as it does; keeps a list of the bytes received on each occasion."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.received: dict[FrameType | None, list[int]] = defaultdict(list)
        """By the call that is the occasion."""

    def all_reduce(self, tensor: Tensor, op: str) -> Tensor:
        self._note(tensor.nbytes)
        return tensor * self.size if op == "sum" else tensor

    def all_gather(self, tensor: Tensor) -> Tensor:
        self._note(tensor.nbytes * self.size)
        return torch.stack([tensor] * self.size)

    def all_gather_with_gradients(self, tensor: Tensor) -> Tensor:
        return self.all_gather(tensor)

    def broadcast(self, value: Any, source: int = 0) -> Any:
        self._note(sys.getsizeof(value))
        return value

    def broadcast_tensor(self, tensor: Tensor, source: int = 0) -> Tensor:
        self._note(tensor.nbytes)
        return tensor

    def gather_objects(self, value: Any) -> list[Any]:
        self._note(sys.getsizeof(value) * self.size)
        return [value] * self.size

    def begin_gather(self, number: int) -> Callable[[], list[int]]:
        self._note(sys.getsizeof(number) * self.size)
        return lambda: [number] * self.size

    def barrier(self, name: str | None = None) -> None:
        self._note(0)

    def _note(self, received_bytes: int) -> None:
        call = sys._getframe(2)
        while call is not None and call.f_code.co_name not in MOMENTS:
            call = call.f_back
        self.received[call].append(received_bytes)

    def cost_us(self, operations: list[int]) -> float:
        """How long operations take, by the model."""
        hops = math.ceil(math.log2(self.size))
        return sum(LATENCY_US * hops + received_bytes / BYTES_PER_US for received_bytes in operations)

    def of(self, moment: str) -> list[list[int]]:
        """The operations of each occasion of a kind."""
        return [
            operations
            for call, operations in self.received.items()
            if ("" if call is None else call.f_code.co_name) == moment
        ]


def main() -> None:
    """Print what names cost at flushes, and what all occasions cost."""
    warnings.simplefilter("ignore")
    report.log.disabled = True
    torch.set_num_threads(1)
    fits = {(ranks, names): fit(ranks, names) for ranks in RANKS for names in NAMES}
    print(f"µs = {LATENCY_US:g} x log2(ranks) + bytes / {BYTES_PER_US:g}, for each operation\n")

    print_head("flushes, µs per step", *("1 name" if names == 1 else f"{names} names" for names in NAMES))
    counts = [mean(map(len, fits[RANKS[0], names].of(FLUSH))) for names in NAMES]
    print(line(["operations in a flush", *(f"{count:g}" for count in counts)]))
    for ranks in RANKS:
        costs = [mean_cost_us(fits[ranks, names], FLUSH) / FLUSH_EVERY_STEPS for names in NAMES]
        print(line([f"{ranks} ranks", *(f"{cost:.2f}" for cost in costs)]))
    print()

    print_head("µs, each time", "operations", *(f"{ranks} ranks" for ranks in RANKS))
    for moment, title in MOMENTS.items():
        count = mean(map(len, fits[RANKS[0], USUAL_NAMES].of(moment)))
        costs = [mean_cost_us(fits[ranks, USUAL_NAMES], moment) for ranks in RANKS]
        print(line([title, f"{count:g}", *(f"{cost:.0f}" for cost in costs)]))


def fit(ranks: int, names: int) -> Alike:
    """What was said in a fit of one epoch that logs so many values in each step, averaged over the ranks."""
    collectives = Alike(ranks)
    trainer = pl.Trainer(accelerator="cpu", max_epochs=1, log_every_n_steps=FLUSH_EVERY_STEPS, **EXTRAS_OFF)
    trainer.strategy.collectives = collectives
    trainer.strategy.world = World(size=ranks)
    batches = Batches(0, STEPS - 2, lambda: 0.0)
    trainer.fit(make_module(pl, logged_values=names, sync_dist=True), batches)
    return collectives


def mean_cost_us(said: Alike, moment: str) -> float:
    """What an occasion costs by the model."""
    return mean(map(said.cost_us, said.of(moment)))


def print_head(*cells: str) -> None:
    """The first two lines of a table."""
    print(line(cells))
    print(line([":--", *["--:"] * (len(cells) - 1)]))


if __name__ == "__main__":
    main()
