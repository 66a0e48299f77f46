"""Runs on one device in a script whose processes also train together: all make them, one writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .test_ddp_launched import ROOT

LIMIT_S = 120

SCRIPT = f"""
import json
import os
import sys

sys.path.insert(0, {str(ROOT)!r})

import torch

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint
from fulmen.loggers import CSVLogger
from tests.distributed.test_ddp import Regression, loader_of

OF_ONE = json.loads(sys.argv[1])


class Told(Regression):
    def validation_step(self, batch, batch_idx):
        x, y, _ = batch
        self.log("val_loss", (self.net(x).squeeze(1) - y).square().mean())

    test_step = validation_step

    def on_fit_start(self):
        self.print(f"PRINT of {{self.trainer.world_size}}")

    def on_save_checkpoint(self, checkpoint):
        checkpoint["process"] = os.environ.get("LOCAL_RANK", "0")


def trainer_of(name, **options):
    return pl.Trainer(
        accelerator="cpu", max_epochs=2, logger=CSVLogger(name, "logs"), default_root_dir=name,
        callbacks=[ModelCheckpoint(name, save_last="link")], enable_progress_bar=True, log_every_n_steps=1,
        num_sanity_val_steps=0, profiler="simple", **options,
    )


def fit_and_score(trainer):
    module = Told()
    trainer.fit(module, loader_of("shuffled", 24, 4), loader_of("in order", 20, 4))
    (scores,) = trainer.test(dataloaders=loader_of("in order", 20, 4), ckpt_path="best")
    (again,) = trainer.validate(module, loader_of("in order", 20, 4))
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module, loader_of("shuffled", 24, 4), ckpt_path="last")
    return {{"scores": scores, "steps": trainer.global_step, "speaks": trainer.is_global_zero}}


if __name__ == "__main__":
    pl.seed_everything(1)
    torch.set_num_threads(1)
    result = {{"before": fit_and_score(trainer_of("before", **OF_ONE))}}
    both = trainer_of("both", devices=2, strategy="ddp")
    both.fit(Told(), loader_of("shuffled", 24, 4), loader_of("in order", 20, 4))
    result["after"] = fit_and_score(trainer_of("after", **OF_ONE))
    if both.is_global_zero:
        trainer_of("guarded", **OF_ONE).test(Told(), loader_of("in order", 20, 4), verbose=False)
    both.test(ckpt_path="best", dataloaders=loader_of("in order", 20, 4), verbose=False)
    saving = trainer_of("saving", **OF_ONE)
    saving.validate(Told(), loader_of("in order", 20, 4), verbose=False)
    saving.save_checkpoint("saved.ckpt")
    both.strategy.barrier()
    result["sees_it"] = os.path.exists("saved.ckpt")
    with open(f"result {{both.global_rank}}", "w") as file:
        json.dump(result, file)
"""


@pytest.mark.parametrize("of_one", [{"devices": 1}, {"devices": 1, "strategy": "ddp"}], ids=["auto", "ddp"])
def test_all_processes_run_it_and_one_writes(of_one: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", json.dumps(of_one)],
        cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    results = [json.loads((tmp_path / f"result {rank}").read_text()) for rank in range(2)]
    assert [result["sees_it"] for result in results] == [True, True]
    for part in ("before", "after"):
        for rank, result in enumerate(results):
            assert result[part]["steps"] == 18
            assert result[part]["speaks"] == (rank == 0)
            assert result[part]["scores"]["val_loss"] >= 0
    assert results[0]["before"] == results[1]["before"] | {"speaks": True}  # from one seed
    assert said.count("PRINT of 1") == 4  # two fits before, two after
    assert said.count("Training ended: max_epochs=2 reached.") == 3
    assert said.count("Training ended: max_epochs=3 reached.") == 2
    for part in ("before", "after"):
        check_folder(tmp_path / part)


def check_folder(folder: Path) -> None:
    """What one process alone would have left there."""
    import torch

    found = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert found == ["epoch=2-step=18.ckpt", "last.ckpt", "logs"]
    assert torch.load(folder / "last.ckpt", weights_only=True)["process"] == "0"
    versions = list((folder / "logs").iterdir())
    assert [version.name for version in versions] == ["version_0"]
    rows = (versions[0] / "metrics.csv").read_text().splitlines()
    assert len(rows) == len(set(rows))
