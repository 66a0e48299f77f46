"""A script whose Trainers start their processes in different ways is told so, at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .warm import clean_environment

LIMIT_S = 150
ERROR = "ConfigError: The Trainers of one script cannot start their processes in different ways."

SCRIPT = r"""
import sys
import torch
import fulmen as pl
from torch.utils.data import DataLoader

class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return self.net(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)

if __name__ == "__main__":
    torch.set_num_threads(1)
    for strategy in sys.argv[1:]:
        trainer = pl.Trainer(
            accelerator="cpu", devices=2, strategy=strategy, max_epochs=1, logger=False,
            enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
        )
        trainer.fit(Model(), DataLoader(torch.ones(4, 1)))
        sys.stdout.write(f"done {strategy} {trainer.global_rank}\n")
        sys.stdout.flush()
"""


@pytest.mark.parametrize(
    ("first", "second", "processes"),
    [("ddp", "ddp_spawn", 2), ("ddp_fork", "ddp", 1)],
    ids=["script_first", "function_first"],
)
def test_the_second_way_is_refused(first: str, second: str, processes: int, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", first, second],
        cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert sorted(done.stdout.splitlines()) == [f"done {first} {rank}" for rank in range(processes)]
    assert done.stderr.count("Traceback") == 1, done.stderr
    assert done.stderr.count(ERROR) == 1
    assert f'"{first}"' in done.stderr.partition("expected:")[2]
