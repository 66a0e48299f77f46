"""Data whose random numbers depend on the batch alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch.utils.data import Dataset, get_worker_info

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
