"""A script that is started, and starts its peers, in the ways and with the accidents that tests ask for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from fulmen.base import report
from fulmen.runtime import clusters, rendezvous
from fulmen.runtime.launch import InPlace, Subprocesses

DEVICES = 2
FOREVER_S = 120.0


class Program:
    """One process of a run of two."""

    def __init__(self, folder: Path, scenario: str) -> None:
        self.folder = folder
        self.scenario = scenario
        self.attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
        self.environment = clusters.detect()
        self.world = clusters.world_of(self.environment, DEVICES, 1)
        managed = self.environment.creates_processes_externally
        self.launcher = InPlace() if managed else Subprocesses(self.environment, DEVICES)

    def run(self) -> None:
        self.note(f"pid {self.world.rank} {self.attempt}", os.getpid())
        if self.scenario == "moves":
            os.chdir(self.folder / "elsewhere")
        for time_ in range(2 if self.scenario in ("meets twice", "moves") else 1):
            self.note(f"result {self.world.rank} {time_}", self.launcher.launch(self.work, time_))
        if self.scenario == "fails late" and self.world.rank == 1:
            sys.exit(4)
        if self.scenario == "fails, and again":
            try:
                self.launcher.launch(self.work, 1)
            except Exception as error:
                self.note("second", f"{type(error).__name__}: {error}")

    def work(self, time_: int) -> Any:
        rank = self.world.rank
        if self.scenario == "hangs":
            self.note(f"hangs {rank}", os.getpid())
            time.sleep(FOREVER_S)
        if self.scenario == "dies" and rank == 1:
            os._exit(7)
        if self.scenario == "dies":
            time.sleep(FOREVER_S)  # and finds nothing out
        if self.scenario == "dies before they meet" and rank == 1:
            os._exit(7)
        if self.scenario == "fails, and again" and rank == 1:
            sys.exit(3)
        if self.scenario == "fails, and again":
            self.await_end_of(1)
            return None
        self.connect()
        total = torch.tensor([rank + 1])
        distributed.all_reduce(total)
        if self.scenario == "raises" and rank == 1:
            raise ValueError("of rank one")
        if self.scenario == "fails once" and rank == 1 and self.attempt == 0:
            sys.exit(5)
        distributed.barrier()
        rendezvous.disconnect()
        return {
            "total": total.item(),
            "time": time_,
            "rank": rank,
            "local_rank": self.world.local_rank,
            "size": self.world.size,
            "node": self.world.node,
            "speaks": report.rank_zero_only.rank == 0,  # pyright: ignore[reportFunctionMemberAccess]
            "environment": type(self.environment).__name__,
            "argv": sys.argv,
            "flags": list(sys.warnoptions),
            "package": vars(sys.modules["__main__"])["__package__"] or "",
        }

    def connect(self) -> None:
        rendezvous.connect(
            self.environment, self.world, backend="gloo", timeout=timedelta(seconds=30), wait_s=30
        )

    def await_end_of(self, rank: int) -> None:
        path = self.folder / f"pid {rank} 0"
        while not path.exists():
            time.sleep(0.05)
        pid = json.loads(path.read_text())
        while subprocess.run(["kill", "-0", str(pid)], capture_output=True, check=False).returncode == 0:
            time.sleep(0.05)
        time.sleep(0.2)

    def note(self, name: str, value: Any) -> None:
        """Leave a word for the test, whole or not at all."""
        path = self.folder / name
        path.with_suffix(".writing").write_text(json.dumps(value))
        path.with_suffix(".writing").rename(path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    Program(Path(sys.argv[1]), sys.argv[2]).run()
