"""How much memory a save takes beside the state itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

STATE_BYTES = 3 * 4 * 1024 * 4096
"""Of one large layer: its weight, and Adam's two averages of it."""
ALLOWANCE_BYTES = 3 * 2**20
"""For what is not a copy of the state. A copy of one of its tensors is more than this and a tenth."""

CHILD = """
import json, sys
from pathlib import Path
import torch
import fulmen as pl
from fulmen.strategies import AsyncCheckpointIO

class Module(pl.LightningModule):
    def __init__(self, width):
        super().__init__()
        self.layer = torch.nn.Linear(1024, width, bias=False)
    def training_step(self, batch, batch_idx):
        return self.layer(batch).mean()
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())

def fit(width, io):
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = pl.Trainer(accelerator="cpu", max_steps=1, plugins=io, **dict.fromkeys(off, False))
    trainer.fit(Module(width), torch.utils.data.DataLoader([torch.ones(1024)]))
    return trainer

def read_bytes(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])

def peak_bytes(trainer, path):
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is in use now
    before = read_bytes("VmRSS:")
    for _ in range(2):
        trainer.save_checkpoint(path)
    return read_bytes("VmHWM:") - before

folder = sys.argv[1]
paths = {"path": f"{folder}/a.ckpt", "URL": f"local://{folder}/b.ckpt"}
torch.set_num_threads(1)
for path in paths.values():
    fit(1, None).save_checkpoint(path)  # what is imported and set up once is not the save's
trainer = fit(4096, None)
peaks = {name: peak_bytes(trainer, path) for name, path in paths.items()}
trainer.strategy.checkpoint_io = AsyncCheckpointIO()
peaks["async"] = peak_bytes(trainer, folder + "/c.ckpt")
print(json.dumps(peaks))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="a peak is read in /proc")
def test_a_save_takes_a_tenth_of_the_state_and_one_in_the_background_a_copy(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / f"{name}.ckpt").stat().st_size >= STATE_BYTES for name in "abc")

    peaks = json.loads(done.stdout.splitlines()[-1])
    assert peaks["path"] <= STATE_BYTES / 10 + ALLOWANCE_BYTES, peaks
    assert peaks["URL"] <= STATE_BYTES / 10 + ALLOWANCE_BYTES, peaks
    assert 0.9 * STATE_BYTES <= peaks["async"] <= 1.1 * STATE_BYTES + ALLOWANCE_BYTES, peaks
