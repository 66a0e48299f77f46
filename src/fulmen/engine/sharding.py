"""Which batches are whose, where several processes go over the same data.

All ranks go over the same order, which depends on the run's seed and the epoch alone. In training, step n of
all ranks together takes what step n of a single process with batches of that size takes: rank r gets every
`size`-th sample, beginning with number r. In evaluation each batch is one rank's: rank r gets every `size`-th
batch of those that a single process goes over, so that each sample counts once, in the batch it was in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, DistributedSampler

from fulmen.engine.loaders import WrappingSampler, can_be_remade, remake, samplers_of
from fulmen.runtime.world import World


class Share(WrappingSampler):
    """Of what a sampler gives, every `size`-th, beginning with number `rank`.

    Where it `pads`, all ranks get equally many: the first ones come again at the end.
    """

    def __init__(self, wrapped: Any, world: World, *, pads: bool) -> None:
        super().__init__(wrapped)
        self.rank, self.size = world.rank, world.size
        self.pads = pads

    def __iter__(self) -> Iterator[Any]:
        given = iter(self.wrapped)
        first = round_ = list(islice(given, self.size))
        while len(round_) == self.size:
            yield round_[self.rank]
            round_ = list(islice(given, self.size))
        if round_ and self.pads:
            round_ += islice(cycle(first), self.size - len(round_))
        if self.rank < len(round_):
            yield round_[self.rank]

    def __len__(self) -> int:
        missing = 0 if self.pads else self.rank
        return math.ceil(max(len(self.wrapped) - missing, 0) / self.size)


def shard(loader: Any, world: World, *, training: bool) -> Any:
    """The part of a loader that is this rank's; the loader itself where the user has divided it, or must."""
    if world.size == 1 or not can_be_remade(loader):
        return loader
    if any(isinstance(sampler, DistributedSampler) for sampler in samplers_of(loader)):
        return loader
    return remake(loader, **_share_of(loader, world, training=training))


def is_sharded(loader: Any) -> bool:
    """Whether `shard` has made it."""
    return isinstance(loader, DataLoader) and any(isinstance(part, Share) for part in samplers_of(loader))


def _share_of(loader: DataLoader, world: World, *, training: bool) -> dict[str, Any]:
    """The arguments that make it so."""
    batches: Any = loader.batch_sampler
    if batches is None:  # the data set makes the batches, one for each index
        return {"sampler": Share(loader.sampler, world, pads=training), "batch_size": None}
    if training and type(batches) is BatchSampler:
        samples = Share(batches.sampler, world, pads=True)
        return {"batch_sampler": BatchSampler(samples, batches.batch_size, batches.drop_last)}
    return {"batch_sampler": Share(batches, world, pads=training)}
