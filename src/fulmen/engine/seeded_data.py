"""Data whose random numbers depend on the batch alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    Dataset,
    Subset,
    TensorDataset,
    default_collate,
    default_convert,
    get_worker_info,
)

from fulmen.base.generators import generators_in, put_torch, reseed, reseed_generator
from fulmen.base.random import derive_seed
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule

Draw = tuple[Any, int]
"""What a batch is made of: the index of a sample, or a list of such, and a seed."""


@runtime_checkable
class _FetchesBatches(Protocol):
    def __getitems__(self, indices: list[Any]) -> list[Any]: ...


def data_generators(dataset: Any, collate: Any) -> list[Any]:
    """The generators that a batch may be drawn from; not those of a module that the data refers to."""
    return generators_in(dataset, collate, stop=(LightningModule, LightningDataModule))


def draws_nothing(dataset: Any, collate: Any) -> bool:
    """Whether it is known that no random number is drawn for a batch: of every type that has a part in it."""
    return (collate is default_collate or collate is default_convert) and _is_plain(dataset)


def _is_plain(dataset: Any) -> bool:
    kind = type(dataset)
    if kind is Subset:
        return _is_plain(dataset.dataset) and (
            type(dataset.indices) in (list, range) or _is_data(dataset.indices)
        )
    if kind is ConcatDataset:
        return all(map(_is_plain, dataset.datasets))
    if kind is TensorDataset:
        return all(map(_is_data, dataset.tensors))
    if kind in (list, tuple):  # samples may be anything, and to look at very many takes long
        return len(dataset) <= _MOST_SAMPLES and all(map(_is_data, dataset))
    return kind in (Tensor, range)


def _is_data(value: Any) -> bool:
    """Whether it is made of numbers, words and tensors alone; classes of the user's own may do anything."""
    kind = type(value)
    if kind in (list, tuple, dict):
        parts = value.values() if kind is dict else value
        return len(parts) <= _MOST_PARTS and all(map(_is_data, parts))
    return kind in (Tensor, int, float, bool, str, bytes) or kind.__module__ == "numpy"


_MOST_SAMPLES, _MOST_PARTS = 1000, 100


class SeededData(Dataset[Any]):
    """A data set of whole batches; what is drawn to make one begins at the batch's own seed."""

    def __init__(
        self, dataset: Any, collate: Callable[[Any], Any], *, auto_collation: bool, others: list[Any]
    ) -> None:
        """`others` are generators that somebody else draws from as well, so that they are left alone."""
        self.dataset = dataset
        self._others = others
        self.collate = collate
        self._auto_collation = auto_collation
        self._fetches_batches = isinstance(dataset, _FetchesBatches)
        self._generators: list[Any] | None = None
        """Those that data set and collate function hold; None before the first batch of this process."""

    def use(self, collate: Callable[[Any], Any]) -> None:
        """Collate with this function from now on."""
        if collate is not self.collate:
            self.collate, self._generators = collate, None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_generators": None, "_others": []}

    def __getitem__(self, draw: Draw) -> Any:
        if self._generators is None:
            return self._get_first(draw)
        index, seed = draw
        for number, generator in enumerate(self._generators):
            reseed_generator(generator, derive_seed(seed, number))
        before = reseed(seed)
        try:
            if not self._auto_collation:
                return self.collate(self.dataset[index])
            if self._fetches_batches:
                return self.collate(self.dataset.__getitems__(index))
            return self.collate([self.dataset[i] for i in index])
        finally:
            put_torch(before)

    def _get_first(self, draw: Draw) -> Any:
        known = self._find_generators()
        batch = self[draw]
        if len(self._find_generators()) > len(known):  # one was made only when it was needed, and not seeded
            batch = self[draw]
        return batch

    def _find_generators(self) -> list[Any]:
        held = data_generators(self.dataset, self.collate)
        self._generators = [generator for generator in held if generator not in self._others]
        return self._generators


class PrepareWorker:
    """A `worker_init_fn` around the user's own, which finds the user's data set where torch puts it."""

    def __init__(self, own: Callable[[int], None] | None) -> None:
        self.own = own

    def __call__(self, worker_id: int) -> None:
        worker: Any = get_worker_info()
        object.__setattr__(worker, "dataset", worker.dataset.dataset)  # it is frozen
        if self.own is not None:
            self.own(worker_id)
