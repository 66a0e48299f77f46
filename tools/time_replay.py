"""How long a run takes to find its place again in a million samples: python tools/time_replay.py

A loader is opened at its beginning and after nine tenths of it. What is measured is the time to the first
batch; no sample of the batches that are done may be fetched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler, WeightedRandomSampler

from fulmen.engine.data import BatchStream, prepare_train_loaders
from fulmen.engine.replay import Start
from fulmen.runtime.world import World

SAMPLES, DONE = 1_000_000, 900_000


class Numbers(Dataset[int]):
    """Each sample is its index; counts what is fetched."""

    fetched = 0

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> int:
        self.fetched += 1
        return index


def loaders(data: Numbers) -> Iterator[tuple[str, DataLoader]]:
    yield "in order", DataLoader(data, batch_size=1)
    yield "shuffled", DataLoader(data, batch_size=1, shuffle=True)
    yield "batches of 32", DataLoader(data, batch_size=32, shuffle=True)
    yield "weighted", DataLoader(data, batch_size=1, sampler=WeightedRandomSampler([1.0] * SAMPLES, SAMPLES))
    yield "own sampler", DataLoader(data, batch_size=1, sampler=Reversed(data))


class Reversed(RandomSampler):
    """A sampler that nobody knows anything about."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(SAMPLES - 1, -1, -1))


def time_first_batch(loader: Any, skip: int) -> float:
    """Seconds to the first batch after `skip`."""
    torch.manual_seed(0)
    prepared = prepare_train_loaders(
        loader, limit=1.0, overfit=0, world=World(), shards=True, seeds_data=True
    )
    started_s = time.perf_counter()
    BatchStream(prepared.loaders[0], prepared.lengths[0], Start(seed=0, skip=skip)).take()
    return time.perf_counter() - started_s


def main() -> None:
    data = Numbers()
    for name, loader in loaders(data):
        data.fetched = 0
        from_start = time_first_batch(loader, 0)
        fetched_at_start, data.fetched = data.fetched, 0
        skip = DONE // (loader.batch_size or 1)
        resumed = time_first_batch(loader, skip)
        assert data.fetched == fetched_at_start, "samples of finished batches were fetched"
        print(f"{name}: first batch after {from_start:.2f} s, after {skip} batches {resumed:.2f} s")


if __name__ == "__main__":
    main()
