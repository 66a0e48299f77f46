"""Loaders, their lengths and their random numbers, as users of Lightning know them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import IterableDataset

from fulmen.base import environ
from fulmen.base.generators import RandomState
from fulmen.base.random import SEED_VARIABLE, SEED_WORKERS_VARIABLE, SeedWorker, seed_everything
from fulmen.engine import combined_loader
from fulmen.runtime.clusters import detect


class CombinedLoader(combined_loader.CombinedLoader):
    """As it was until 1.9: iterating gives batches alone, and what it combines is called `loaders`."""

    def __init__(self, loaders: Any, mode: str = "min_size") -> None:
        super().__init__(loaders, mode)

    @property
    def loaders(self) -> Any:
        """What is combined."""
        return self.iterables

    def __iter__(self) -> Iterator[Any]:
        for batch, _, _ in super().__iter__():
            yield batch


def sized_len(dataloader: Any) -> int | None:
    """The length, None where there is none."""
    try:
        return len(dataloader)
    except (TypeError, NotImplementedError):
        return None


def has_len(dataloader: Any) -> bool:
    """Whether there is a length."""
    return sized_len(dataloader) is not None


def has_len_all_ranks(dataloader: Any, *others: Any, **kwargs: Any) -> bool:
    """The same, as seen from this process."""
    return has_len(dataloader)


def get_len(dataloader: Any) -> int | float:
    """The length, infinite where there is none."""
    length = sized_len(dataloader)
    return float("inf") if length is None else length


def has_iterable_dataset(dataloader: Any) -> bool:
    """Whether a loader's data come one by one, without indices."""
    return isinstance(getattr(dataloader, "dataset", None), IterableDataset)


def suggested_max_num_workers(local_world_size: int) -> int:
    """How many loader workers each of so many processes of this machine can keep busy."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, cores // max(1, local_world_size) - 1)


@contextmanager
def isolate_rng(include_cuda: bool = True) -> Iterator[None]:
    """Whatever is drawn inside leaves the global generators as they were."""
    state = RandomState.capture()
    cuda = torch.cuda.get_rng_state_all() if not include_cuda and torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        cuda = torch.cuda.get_rng_state_all() if cuda is not None else None
        state.restore()
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def reset_seed() -> None:
    """Seed everything again as the last `seed_everything` did."""
    if environ.read(SEED_VARIABLE) is not None:
        seed_everything(workers=environ.read(SEED_WORKERS_VARIABLE) == "1", verbose=False)


def pl_worker_init_function(worker_id: int, rank: int | None = None) -> None:
    """Give a loader worker random numbers of its own."""
    SeedWorker(detect().global_rank() if rank is None else rank)(worker_id)
