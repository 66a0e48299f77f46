"""Processes whose script has come to its end part without a word, whatever has become of the others."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fulmen.runtime import ports

from .warm import clean_environment

LIMIT_S = 100

SCRIPT = """
import atexit, os, signal, sys
from datetime import timedelta
import torch
from torch import distributed

@atexit.register  # runs after all that fulmen does at exit
def tell():
    print("open" if distributed.is_initialized() else "ended")

from fulmen.runtime import clusters, rendezvous

end = sys.argv[1]
environment = clusters.detect()
world = clusters.world_of(environment, 2, 1)
rendezvous.connect(environment, world, backend="gloo", timeout=timedelta(minutes=30))
total = torch.tensor(world.rank + 1)
distributed.all_reduce(total)
assert total == 3
if world.rank == 1 and end == "the other one is killed":
    os.kill(os.getpid(), signal.SIGKILL)
if world.rank == 1 and end == "the other one stays":
    sys.stdin.readline()
if end == "it fails":
    raise ValueError("oops")
"""


@pytest.mark.parametrize(
    ("end", "state", "codes"),
    [
        ("well", "ended\n", [0, 0]),
        ("the other one is killed", "ended\n", [0, -signal.SIGKILL]),
        ("the other one stays", "ended\n", [0, 0]),
        ("it fails", "open\n", [1, 1]),
    ],
    ids=["well", "one_is_killed", "one_stays", "it_fails"],
)
def test_end_of_a_script(end: str, state: str, codes: list[int], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    with ports.listen() as listener:
        port = str(listener.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        subprocess.Popen(
            [sys.executable, "script.py", end], cwd=tmp_path,
            env=clean_environment(LOCAL_RANK=str(rank), **place),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=LIMIT_S) for process in ranks]  # the first one first
    finally:
        for process in ranks:
            process.kill()
            process.communicate()
    assert [process.returncode for process in ranks] == codes, said
    assert said[0][0] == state
    if codes[0] == 0:
        assert [line for line in said[0][1].splitlines() if "2 processes on 1 host" not in line] == []
