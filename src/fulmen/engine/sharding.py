"""Which batches are whose, where several processes go over the same data.

All ranks go over rank 0's order, that of a single process that came to the same random numbers. In training,
step n of all ranks together takes what step n of a single process with batches of that size takes: rank r
gets every `size`-th sample, beginning with number r. In evaluation each batch is one rank's: rank r gets
every `size`-th batch of those that a single process goes over, so that each sample counts once, in the batch
it was in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Protocol, runtime_checkable

from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, IterableDataset, get_worker_info

from fulmen.base.report import warn_once
from fulmen.engine.combined_loader import length_of
from fulmen.engine.loaders import WrappingSampler, can_be_remade, remake, samplers_of
from fulmen.runtime.world import World


class Share(WrappingSampler):
    """Of what a sampler gives, every `size`-th, beginning with number `rank`.

    Where it `pads`, all ranks get equally many: the first ones come again at the end.
    """

    def __init__(self, wrapped: Any, world: World, *, pads: bool, done: int = 0) -> None:
        super().__init__(wrapped)
        self.rank, self.size = world.rank, world.size
        self.pads = pads
        self.done = done
        """How many the next pass passes over: other processes have done them."""

    def __iter__(self) -> Iterator[Any]:
        given = islice(self.wrapped, self.done, None)
        self.done = 0
        first = round_ = list(islice(given, self.size))
        while len(round_) == self.size:
            yield round_[self.rank]
            round_ = list(islice(given, self.size))
        if round_ and self.pads:
            round_ += islice(cycle(first), self.size - len(round_))
        if self.rank < len(round_):
            yield round_[self.rank]

    def __len__(self) -> int:
        missing = self.done + (0 if self.pads else self.rank)
        return math.ceil(max(len(self.wrapped) - missing, 0) / self.size)


@runtime_checkable
class SplitsByRank(Protocol):
    """An iterable data set that can be divided over processes."""

    def split_by_rank(self, rank: int, size: int) -> Any:
        """The data set of one of so many processes."""


class SplitByRank(IterableDataset[Any]):
    """Divides an iterable data set over processes, and over the workers of each: sample by sample in turn.

    Each of them goes over all samples and drops those of the others.
    """

    def __init__(self, dataset: Iterable[Any], rank: int = 0, size: int = 1) -> None:
        self.dataset = dataset
        self.rank, self.size = rank, size

    def split_by_rank(self, rank: int, size: int) -> SplitByRank:
        """The data set of one of so many processes."""
        return SplitByRank(self.dataset, rank, size)

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        return islice(self.dataset, self.rank * workers + number, None, self.size * workers)


def shard(loader: Any, world: World, *, training: bool, pads: bool = True) -> Any:
    """The part of a loader that is this rank's; the loader itself where the user has divided it, or must.

    In training all ranks get equally many batches; unless it `pads`, as many as there are.
    """
    if world.size == 1:
        return loader
    if isinstance(loader, DataLoader) and isinstance(loader.dataset, IterableDataset):
        return _shard_iterable(loader, world)
    if not can_be_remade(loader):
        return loader
    if any(isinstance(sampler, DistributedSampler) for sampler in samplers_of(loader)):
        return loader
    return remake(loader, **_share_of(loader, world, training=training, pads=pads))


def _shard_iterable(loader: DataLoader, world: World) -> Any:
    dataset: Any = loader.dataset
    if isinstance(dataset, SplitsByRank):
        arguments = {"batch_size": loader.batch_size, "drop_last": loader.drop_last}
        return remake(loader, dataset=dataset.split_by_rank(world.rank, world.size), **arguments)
    name = type(dataset).__name__
    warn_once(
        f"Each of the {world.size} processes goes over all of the iterable data set {name}, unless that "
        f"divides itself: fulmen.SplitByRank({name}(...)) does, or a method `split_by_rank(rank, size)`."
    )
    return loader


def is_sharded(loader: Any) -> bool:
    """Whether `shard` has made it."""
    return isinstance(loader, DataLoader) and any(isinstance(part, Share) for part in samplers_of(loader))


def share_rest(loader: DataLoader, world: World, done: int, *, pads: bool = True) -> DataLoader:
    """A train loader, shared or not, whose next pass shares what is left of an epoch.

    `done` is what `taken_together` has counted.
    """
    return remake(loader, **_share_of(loader, world, training=True, pads=pads, done=done))


def taken_together(loader: DataLoader, world: World, batches: int, *, done: int = 0) -> int:
    """How far all ranks are in the order that they share, where each has taken so many batches after `done`.

    The last batches may be padded, and reach no further than the order does.
    """
    sampler: Any = loader.batch_sampler
    by_sample = type(sampler) is BatchSampler
    order = _whole(sampler.sampler if by_sample else loader.sampler if sampler is None else sampler)
    step = world.size * (sampler.batch_size if by_sample else 1)
    return int(min(done + batches * step, length_of(order)))


def _share_of(
    loader: DataLoader, world: World, *, training: bool, pads: bool, done: int = 0
) -> dict[str, Any]:
    """The arguments that make it so."""
    batches: Any = loader.batch_sampler
    pads = training and pads
    if batches is None:  # the data set makes the batches, one for each index
        return {"sampler": Share(_whole(loader.sampler), world, pads=pads, done=done), "batch_size": None}
    if training and type(batches) is BatchSampler:
        samples = Share(_whole(batches.sampler), world, pads=pads, done=done)
        return {"batch_sampler": BatchSampler(samples, batches.batch_size, batches.drop_last)}
    return {"batch_sampler": Share(_whole(batches), world, pads=pads, done=done)}


@dataclass(frozen=True)
class Counts:
    """How many batches each rank has, and how many samples, where a loader was divided by sample."""

    batches: list[float]
    samples: list[int]
    batch_sizes: list[int]

    def at(self, number: int) -> list[int]:
        """How much each rank has of one batch: samples where they are counted, else 1 or 0."""
        if not all(self.batch_sizes):
            return [int(number < batches) for batches in self.batches]
        return [
            min(max(samples - number * size, 0), size) if number < batches else 0
            for batches, samples, size in zip(self.batches, self.samples, self.batch_sizes, strict=True)
        ]


def samples_in(loader: Any) -> tuple[int, int]:
    """How many samples this rank has of a loader that was divided by sample, and a batch of it; else 0."""
    batches: Any = loader.batch_sampler if isinstance(loader, DataLoader) else None
    if type(batches) is not BatchSampler or not isinstance(batches.sampler, Share):
        return 0, 0
    samples = length_of(batches.sampler)
    return (0, 0) if samples == math.inf else (int(samples), batches.batch_size)


def _whole(sampler: Any) -> Any:
    return sampler.wrapped if isinstance(sampler, Share) else sampler
