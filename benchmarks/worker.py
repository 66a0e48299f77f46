"""A process that does one measurement after the other: python -m benchmarks.worker CORE RESULTS_FD

Requests come in as lines of JSON; results go out where the printing of runs is not in their way. With RANK
and STORE, a file to meet at, it is one of several that train together.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import distributed

from benchmarks.distributed import RANKS
from benchmarks.probes import PROBES
from benchmarks.runs import measure


def main(core: str, results_fd: str, rank: str | None = None, store: str = "") -> None:
    """Say what is installed here, then serve until there is no further request."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core)})
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with open(int(results_fd), "w") as results:
        print(json.dumps(installed()), file=results, flush=True)
        if rank is not None:
            join(int(rank), store)
        for line in sys.stdin:
            request = json.loads(line)
            with PROBES[request.pop("probe")]() as read:
                result = measure(**request, read=read)
            print(json.dumps(result), file=results, flush=True)


def join(rank: int, store: str) -> None:
    """Be one of several processes, as if another program had started them: a Trainer finds them there."""
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS)


def installed() -> dict[str, str]:
    """Versions of what can be measured here."""
    versions = {"Python": sys.version.split()[0]}
    for package in ("torch", "lightning", "torchmetrics", "pytorch-ignite"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


if __name__ == "__main__":
    main(*sys.argv[1:])
