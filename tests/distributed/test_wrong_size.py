"""Processes that were started in another number than the Trainer is told of: one says so, all fail."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from fulmen.runtime import ports

from .warm import Nursery, clean_environment

LIMIT_S = 100

SCRIPT = """
import sys
import fulmen as pl
from torch.utils.data import DataLoader

class Model(pl.LightningModule):
    def training_step(self, batch, batch_idx): ...
    def configure_optimizers(self): ...

devices, nodes = map(int, sys.argv[1:])
trainer = pl.Trainer(
    accelerator="cpu", devices=devices, num_nodes=nodes, strategy="ddp", logger=False,
    enable_progress_bar=False, enable_checkpointing=False,
)
trainer.fit(Model(), DataLoader([1]))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def run_all(nursery: Nursery, script: Path, *processes: tuple[list[str], dict[str, str]]) -> list[str]:
    """What each has said; all fail."""
    outputs = [script.with_name(f"said {number}") for number in range(len(processes))]
    started = [
        nursery.start(script, *arguments, folder=script.parent, output=output, **variables)
        for output, (arguments, variables) in zip(outputs, processes, strict=True)
    ]
    give_up_s = time.monotonic() + LIMIT_S
    try:
        while any(process.poll() is None for process in started):
            assert time.monotonic() < give_up_s
            time.sleep(0.05)
    finally:
        for process in started:
            process.kill()
    said = [output.read_text() for output in outputs]
    assert [process.poll() for process in started] == [1] * len(started), said
    return said


def test_torchrun(script: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, str(script), "3", "1"],
        env=clean_environment(), capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert said.count("torchrun has started another number of processes than the Trainer is told.") == 1
    assert said.count("in validate_settings") == 1


@pytest.mark.parametrize("hosts", [1, 2], ids=["on_one_host", "on_two_hosts"])
def test_mpirun(hosts: int, nursery: Nursery, script: Path) -> None:
    names = [f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")]
    places = [("0", "2", "0", "2"), ("1", "2", "1", "2")]
    if hosts == 2:
        places = [("0", "2", "0", "1"), ("1", "2", "0", "1")]
    processes = [(["3", "1"], dict(zip(names, place, strict=True))) for place in places]
    first, second = run_all(nursery, script, *processes)
    assert first.count("mpirun has started another number of processes than the Trainer is told.") == 1
    assert second == ""


@pytest.mark.parametrize("third", [True, False], ids=["all_are_there", "one_is_not"])
def test_processes_that_do_not_agree(third: bool, nursery: Nursery, script: Path) -> None:
    """Started by hand, one after the other."""
    with ports.listen() as listener:
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(listener.getsockname()[1])}
    counts = ["3", "2", "3"] if third else ["3", "2"]
    processes = [(["1", count], meeting | {"NODE_RANK": str(node)}) for node, count in enumerate(counts)]
    said = run_all(nursery, script, *processes)
    together = "".join(said)
    assert together.count("The processes do not agree on how many they are.") == 1, together
    assert together.count("Traceback") == 1
    assert "Traceback" in said[0]
