"""Data whose random numbers depend on the batch alone."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch.utils.data import Dataset, get_worker_info

from fulmen.base.generators import generators_in, reseed, reseed_generator, seeded_for_a_batch
from fulmen.base.random import derive_seed


@runtime_checkable
class _FetchesBatches(Protocol):
    def __getitems__(self, indices: list[Any]) -> list[Any]: ...


class SeededData(Dataset[Any]):
    """A data set of whole batches; what is drawn to make one begins at the batch's own seed.

    Attributes are those of the data set inside: functions that prepare workers read and set them.
    """

    def __init__(self, dataset: Any, collate: Any, *, auto_collation: bool) -> None:
        own = {
            "dataset": dataset,
            "_collate": collate,
            "_auto_collation": auto_collation,
            "_fetches_batches": isinstance(dataset, _FetchesBatches),
            "_generators": generators_in(dataset) + generators_in(collate),
        }
        self.__dict__.update(own)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__["dataset"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.dataset, name, value)

    def __getitem__(self, draw: tuple[Any, int]) -> Any:
        index, seed = draw
        for number, generator in enumerate(self._generators):
            reseed_generator(generator, derive_seed(seed, number))
        if get_worker_info() is not None:  # where nothing else is drawn
            reseed(seed)
            return self._fetch(index)
        with seeded_for_a_batch(seed):
            return self._fetch(index)

    def _fetch(self, index: Any) -> Any:
        dataset: Any = self.dataset
        if not self._auto_collation:
            return self._collate(dataset[index])
        if self._fetches_batches:
            return self._collate(dataset.__getitems__(index))
        return self._collate([dataset[i] for i in index])
