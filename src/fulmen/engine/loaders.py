"""What loaders consist of: parts, samplers, generators, workers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

from torch.utils.data import BatchSampler, DataLoader, IterableDataset, Sampler

from fulmen.base.generators import generators_in
from fulmen.engine.combined_loader import CombinedLoader
from fulmen.engine.seeded_data import SeededData


class WrappingSampler(Sampler[Any]):
    """Stands in for a sampler of the user's, and is as long."""

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped

    def __iter__(self) -> Iterator[Any]:
        return iter(self.wrapped)

    def __len__(self) -> int:
        return len(self.wrapped)


def parts_of(loader: Any) -> list[Any]:
    """The loaders that `loader` combines, or itself."""
    return loader.flattened if isinstance(loader, CombinedLoader) else [loader]


def can_be_remade(loader: Any) -> bool:
    """Whether a plain `DataLoader` over a map-style data set can stand in for it."""
    own_ways = ("__iter__", "__len__", "_get_iterator", "_index_sampler")
    return (
        isinstance(loader, DataLoader)
        and not isinstance(loader.dataset, IterableDataset)
        and not any(getattr(type(loader), way) is not getattr(DataLoader, way) for way in own_ways)
        and (loader.batch_sampler is not None or loader.batch_size is None)
    )


def remake(loader: DataLoader, **changed: Any) -> DataLoader:
    """The same loader with other batches, or over another data set; the given one stays as it is."""
    arguments: dict[str, Any] = {
        "dataset": loader.dataset,
        "collate_fn": loader.collate_fn,
        "worker_init_fn": loader.worker_init_fn,
    }
    same = ("num_workers", "pin_memory", "timeout", "multiprocessing_context", "generator", "prefetch_factor",
            "persistent_workers", "pin_memory_device", "in_order")  # fmt: skip
    arguments |= {name: getattr(loader, name) for name in same} | changed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the first one has said it
        return DataLoader(**arguments)


def samplers_of(loader: DataLoader) -> list[Any]:
    """What decides on the batches of a loader."""
    found: dict[int, Any] = {}
    queue: list[Any] = [loader.sampler, loader.batch_sampler]
    while queue:
        sampler = queue.pop()
        if sampler is None or id(sampler) in found:
            continue
        found[id(sampler)] = sampler
        if isinstance(sampler, WrappingSampler):
            queue.append(sampler.wrapped)
        elif isinstance(sampler, BatchSampler):
            queue.append(sampler.sampler)
    return list(found.values())


def generators_of(loaders: Iterable[Any]) -> list[Any]:
    """The generators that these loaders draw from in this process, but for the global ones."""
    found: dict[int, Any] = {}
    for part in (part for loader in loaders for part in parts_of(loader)):
        if isinstance(part, DataLoader):
            owners = [part.generator, *samplers_of(part)]
            if not (part.num_workers or isinstance(part.dataset, SeededData)):
                owners += [part.dataset, part.collate_fn]
            held = [generator for owner in owners for generator in generators_in(owner)]
            found.update((id(generator), generator) for generator in held)
    return list(found.values())


@runtime_checkable
class _FollowsEpochs(Protocol):
    def set_epoch(self, epoch: int) -> None: ...


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell the samplers of `loader`, and data sets that want to know, which epoch begins."""
    for part in parts_of(loader):
        followers = samplers_of(part) if isinstance(part, DataLoader) else [part]
        for follower in followers:
            if isinstance(follower, _FollowsEpochs):
                follower.set_epoch(epoch)


@runtime_checkable
class _HasWorkers(Protocol):
    """torch's iterator over a loader with workers, and torchdata's, which is another class."""

    def _shutdown_workers(self) -> None: ...


def shut_down_workers(loaders: Iterable[Any]) -> None:
    """End the worker processes that loaders keep for their next pass.

    Left to the garbage collector they may be waited for in vain, long after the run.
    """
    for part in (part for loader in loaders for part in parts_of(loader)):
        if isinstance(part, DataLoader) and isinstance(part._iterator, _HasWorkers):
            part._iterator._shutdown_workers()
            part._iterator = None
