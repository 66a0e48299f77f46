"""Meets the others within so many seconds, and adds up all ranks."""

import sys
from datetime import timedelta

import torch
from torch import distributed

from fulmen.runtime import clusters, rendezvous

if __name__ == "__main__":
    environment = clusters.detect()
    world = clusters.world_of(environment, 1, 2)
    limit = timedelta(minutes=30)
    rendezvous.connect(environment, world, backend="gloo", timeout=limit, wait_s=float(sys.argv[1]))
    total = torch.tensor(world.rank + 1)
    distributed.all_reduce(total)
    print("total", total.item(), flush=True)
    rendezvous.disconnect()
