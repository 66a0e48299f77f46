"""Meets the other host within so many seconds, once both have begun, and adds up the ranks."""

import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from fulmen.runtime import clusters, rendezvous

if __name__ == "__main__":
    environment = clusters.detect()
    world = clusters.world_of(environment, 1, 2)
    Path(f"begun {world.rank}").touch()
    while not Path(f"begun {1 - world.rank}").exists():
        time.sleep(0.05)
    limit = timedelta(minutes=30)
    rendezvous.connect(environment, world, backend="gloo", timeout=limit, wait_s=float(sys.argv[1]))
    total = torch.tensor(world.rank + 1)
    distributed.all_reduce(total)
    print("total", total.item(), flush=True)
    rendezvous.disconnect()
