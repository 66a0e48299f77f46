"""Processes that were started in another number than the Trainer is told of: one says so, all fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fulmen
from fulmen.runtime import ports

LIMIT_S = 100
OURS = ("MASTER_", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_")

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
def script(tmp_path: Path) -> str:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return str(path)


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return clean | {"PYTHONPATH": str(Path(fulmen.__file__).parents[1])} | more


def run_all(*processes: tuple[list[str], dict[str, str]]) -> list[str]:
    """What each has said; all fail."""
    started = [
        subprocess.Popen(
            [sys.executable, *command], env=environment(**more), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )
        for command, more in processes
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=LIMIT_S)[0] for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()
    assert [process.returncode for process in started] == [1] * len(started), said
    return said


def test_torchrun(script: str) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3"]
    (said,) = run_all(([*torchrun, script, "2", "1"], {}))
    assert said.count("torchrun has started another number of processes than the Trainer is told.") == 1
    assert said.count("in validate_settings") == 1


def test_mpirun(script: str) -> None:
    ranks = [
        {f"OMPI_COMM_WORLD_{name}": value for name, value in zip(names, (rank, "2", rank, "2"), strict=True)}
        for rank in ("0", "1")
        for names in [("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")]
    ]
    first, second = run_all(*(([script, "3", "1"], names) for names in ranks))
    assert first.count("mpirun has started another number of processes than the Trainer is told.") == 1
    assert second == ""


@pytest.mark.parametrize("third", [True, False], ids=["all_are_there", "one_is_not"])
def test_processes_that_do_not_agree(third: bool, script: str) -> None:
    """Started by hand, one after the other."""
    with ports.listen() as listener:
        port = str(listener.getsockname()[1])
    counts = ["3", "2", "3"] if third else ["3", "2"]
    said = run_all(
        *(
            ([script, "1", count], {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": str(node)})
            for node, count in enumerate(counts)
        )
    )
    together = "".join(said)
    assert together.count("The processes do not agree on how many they are.") == 1, together
    assert together.count("Traceback") == 1
    assert "Traceback" in said[0]
