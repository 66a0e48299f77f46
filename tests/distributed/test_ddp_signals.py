"""A signal that reaches one of two processes ends both at the same step, and they can go on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120

SCRIPT = """
import os
import sys
import time

import fulmen as pl
from tests.distributed.test_ddp import QUIET, Regression, loader_of


class Slow(Regression):
    def training_step(self, batch, batch_idx):
        if "slow" in sys.argv:
            if self.trainer.global_step == 1:
                os.write(1, f"PID {self.global_rank} {os.getpid()}\\n".encode())
            time.sleep(0.1)
        return super().training_step(batch, batch_idx)


if __name__ == "__main__":
    pl.seed_everything(1, verbose=False)
    module = Slow(dropout=0.2)
    options = QUIET | {"enable_checkpointing": True, "default_root_dir": sys.argv[1]}
    trainer = pl.Trainer(devices=2, max_epochs=8, strategy="ddp", **options)
    trainer.fit(module, loader_of("shuffled", 48, 4), ckpt_path="auto")
    line = f"RESULT {trainer.global_rank} {trainer.global_step} {module.weights().tolist()}\\n"
    os.write(1, line.encode())  # whole, although another process writes there as well
"""


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{SCRIPT}")
    command = [sys.executable, str(script), str(folder / "saved"), *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)


def read_pids(output: IO[str]) -> dict[int, int]:
    pids: dict[int, int] = {}
    while len(pids) < 2:
        word, rank, pid = output.readline().split()[:3]
        if word == "PID":
            pids[int(rank)] = int(pid)
    return pids


def results(process: subprocess.Popen[str]) -> list[str]:
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    return sorted(line for line in output.splitlines() if line.startswith("RESULT"))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a run comes to that nothing has happened to."""
    return results(start(tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize("rank", [0, 1])
def test_both_end_and_go_on(rank: int, expected: list[str], tmp_path: Path) -> None:
    process = start(tmp_path, "slow")
    assert process.stdout is not None
    pids = read_pids(process.stdout)
    time.sleep(0.5)
    os.kill(pids[rank], signal.SIGTERM)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert "RESULT" not in output
    assert len(list(tmp_path.rglob("interrupted*.ckpt"))) == 1
    assert results(start(tmp_path)) == expected
