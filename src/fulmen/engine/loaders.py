"""What loaders consist of: parts, samplers, generators, workers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from fulmen.base.generators import generators_in
from fulmen.engine.combined_loader import CombinedLoader
from fulmen.engine.seeded_data import PrepareWorker, SeededData, data_generators


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


def _data_loaders(loaders: Iterable[Any]) -> list[DataLoader]:
    parts = [part for loader in loaders for part in parts_of(loader)]
    return [part for part in parts if isinstance(part, DataLoader)]


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the first one has said it
        return DataLoader(**_arguments_of(loader) | changed)


def _arguments_of(loader: DataLoader) -> dict[str, Any]:
    names = ("dataset", "collate_fn", "worker_init_fn", "num_workers", "pin_memory", "timeout",
             "multiprocessing_context", "generator", "prefetch_factor", "persistent_workers",
             "pin_memory_device", "in_order")  # fmt: skip
    return {name: getattr(loader, name) for name in names}


class StandIn(DataLoader[Any]):
    """Takes the place of a loader of the user's, who knows only that one, and may assign to it."""

    def __init__(self, given: DataLoader, **changed: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super().__init__(**_arguments_of(given) | changed)
        self.given = given
        self._functions = self._given_functions()
        self.follow()

    def __iter__(self) -> Any:
        batches = super().__iter__()  # which draws from the generators of the run
        if isinstance(self.dataset, SeededData) and not (self.num_workers or self.pin_memory):
            # The same batches without torch's steps around each, a record for its profiler above all: 8 µs.
            return map(self.dataset.__getitem__, self.sampler)
        return batches

    def follow(self) -> None:
        """Take over the functions that the given loader has now."""
        collate, begin_worker = self._given_functions()
        if isinstance(self.dataset, SeededData):
            self.dataset.use(collate)
            self.worker_init_fn = PrepareWorker(begin_worker) if self.num_workers else None
        else:
            self.collate_fn, self.worker_init_fn = collate, begin_worker

    @property
    def is_changed(self) -> bool:
        """Whether the given loader has other functions than at first."""
        return self._functions != self._given_functions()

    def _given_functions(self) -> tuple[Any, Any]:
        return self.given.collate_fn, self.given.worker_init_fn


def samplers_of(loader: DataLoader) -> list[Any]:
    """What decides on the batches of a loader."""
    found: dict[int, Any] = {}
    queue: list[Any] = [loader.sampler, loader.batch_sampler]
    while queue:
        sampler = queue.pop()
        if sampler is None or id(sampler) in found:
            continue
        found[id(sampler)] = sampler
        # Batch samplers of the user's own follow torch's in keeping what they are made of.
        queue.append(getattr(sampler, "wrapped" if isinstance(sampler, WrappingSampler) else "sampler", None))
    return list(found.values())


def sampler_generators(loader: DataLoader) -> list[Any]:
    """The generators that decide on the batches of a loader, but for the global ones."""
    return generators_in(loader.generator, *samplers_of(loader), stop=(Dataset,))


def generators_of(loaders: Iterable[Any]) -> list[Any]:
    """The generators that these loaders draw from in this process, but for the global ones."""
    found: dict[int, Any] = {}
    for part in _data_loaders(loaders):
        held = sampler_generators(part)
        if not (part.num_workers or isinstance(part.dataset, SeededData)):
            held += data_generators(part.dataset, part.collate_fn)
        found.update((id(generator), generator) for generator in held)
    return list(found.values())


Attributes = list[dict[str, Any]]


def sampler_attributes(loaders: Iterable[Any]) -> Attributes:
    """The plain numbers and words that samplers of the user's own keep: how many passes they began, say."""
    return [
        {name: value for name, value in vars(sampler).items() if type(value) in (int, float, bool, str)}
        for sampler in _own_samplers(loaders)
    ]


def changed_attributes(before: Attributes, now: Attributes) -> Attributes:
    """What is in `now` and was not, or was something else, `before`."""
    return [
        {name: value for name, value in new.items() if old.get(name) != value}
        for old, new in zip(before, now, strict=False)
    ]


def restore_attributes(loaders: Iterable[Any], changed: Attributes) -> None:
    """Let samplers have again what `changed_attributes` gave."""
    for sampler, attributes in zip(_own_samplers(loaders), changed, strict=False):
        vars(sampler).update(attributes)


def _own_samplers(loaders: Iterable[Any]) -> list[Any]:
    return [
        sampler
        for part in _data_loaders(loaders)
        for sampler in samplers_of(part)
        if isinstance(sampler, Sampler)
        and not isinstance(sampler, WrappingSampler)
        and not type(sampler).__module__.startswith("torch.")
    ]


@runtime_checkable
class _FollowsEpochs(Protocol):
    def set_epoch(self, epoch: int) -> None: ...


def begin_pass(loader: Any, epoch: int) -> None:
    """Tell the samplers of `loader`, and data sets that want to know, which epoch this is."""
    for part in parts_of(loader):
        if isinstance(part, StandIn):
            part.follow()
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
    for part in _data_loaders(loaders):
        if isinstance(part._iterator, _HasWorkers):
            part._iterator._shutdown_workers()
            part._iterator = None
