"""A function that new processes can import."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from fulmen.runtime import clusters, rendezvous


def meet(tied: nn.ModuleList, views: tuple[Tensor, Tensor], counter: Any) -> dict[str, Any]:
    """Meet the other rank, and tell how the arguments have come."""
    environment = clusters.detect()
    world = clusters.world_of(environment, 2, 1)
    rendezvous.connect(environment, world, backend="gloo", timeout=timedelta(seconds=30))
    total = torch.tensor([world.rank + 1])
    distributed.all_reduce(total)
    whole, part = views
    part[0] = 7 - world.rank
    with counter.get_lock():
        counter.value += 1
    distributed.barrier()
    rendezvous.disconnect()
    return {
        "total": total.item(),
        "world": (world.rank, world.local_rank, world.size),
        "tied": tied[0] is tied[1],
        "views": whole[2] == part[0] == 7 - world.rank,
        "argument": whole,
    }
