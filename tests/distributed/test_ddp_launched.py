"""The same run, whoever starts its processes: its results are there where the script goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120

SCRIPT = """
import sys
from pathlib import Path

import torch

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint
from tests.distributed.test_ddp import QUIET, Regression, loader_of


class Validated(Regression):
    def validation_step(self, batch, batch_idx):
        x, y, _ = batch
        self.log("val_loss", (self.net(x).squeeze(1) - y).square().mean())

    test_step = validation_step


if __name__ == "__main__":
    how, folder = sys.argv[1:]
    strategy, *compiled = how.split("+")
    pl.seed_everything(1, verbose=False)
    module, saver = Validated(), ModelCheckpoint(folder, monitor="val_loss", filename="{epoch}")
    options = QUIET | {"enable_checkpointing": True, "callbacks": [saver]}
    trainer = pl.Trainer(devices=2, max_epochs=2, strategy=strategy, **options)
    model = torch.compile(module, backend="eager") if compiled else module
    result = trainer.fit(model, loader_of("shuffled", 48, 8), loader_of("in order", 20, 4))
    (scores,) = trainer.test(dataloaders=loader_of("in order", 20, 4), verbose=False)
    if trainer.is_global_zero:
        fitted = f"{trainer.callback_metrics['val_loss']:.5f} {module.weights().sum():.5f}"
        best = Path(saver.best_model_path).name
        place = f"{trainer.global_step} {trainer.current_epoch} {result.steps} {best}"
        print(f"RESULT {fitted} {scores['val_loss']:.5f} {place}", flush=True)
"""


def result_of(tmp_path: Path, *command: str) -> list[str]:
    script = tmp_path / "script.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{SCRIPT}")
    done = subprocess.run(
        [sys.executable, *command, str(tmp_path / "saved")],
        cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert len(results) == 1, done.stdout
    return results[0].split()


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of the script that is started again."""
    return result_of(tmp_path_factory.mktemp("again"), "script.py", "ddp")


@pytest.mark.parametrize(
    "command",
    [("ddp_spawn",), ("ddp_fork",), ("ddp", *TORCHRUN), ("ddp+compiled",), ("ddp_spawn+compiled",)],
    ids=["spawn", "fork", "torchrun", "compiled", "compiled and spawned"],
)
def test_the_result_is_that_of_the_script_started_again(
    command: tuple[str, ...], expected: list[str], tmp_path: Path
) -> None:
    assert expected[-4:] == ["6", "2", "6", "epoch=1.ckpt"]
    strategy, *starter = command
    assert result_of(tmp_path, *starter, "script.py", strategy) == expected


@pytest.mark.skipif(sys.platform == "win32", reason="the folder is another one there")
def test_nothing_is_left_of_the_file_where_processes_met(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{SCRIPT}")
    shared = os.environ | {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
    own = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
    with tempfile.TemporaryDirectory() as temporary:
        ranks = [
            subprocess.Popen(
                [sys.executable, "script.py", "ddp", str(tmp_path / "saved")], cwd=tmp_path,
                env=shared | {"TMPDIR": temporary} | dict.fromkeys(own, rank),
            )
            for rank in ("0", "1")
        ]  # fmt: skip
        try:
            assert [rank.wait(LIMIT_S) for rank in ranks] == [0, 0]
        finally:
            for rank in ranks:
                rank.kill()
                rank.wait()
        (folder,) = Path(temporary).glob("fulmen-*")
        assert not list(folder.iterdir())
