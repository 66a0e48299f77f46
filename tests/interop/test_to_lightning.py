"""Lightning 2.6 goes on from our checkpoints where they were saved, and comes to what our own run comes to.

Lightning does not skip the samples of an epoch that were seen before, so all batches here are the same.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl

from ..fixtures.models import QUIET, SETTINGS, define, make, outcome

pytestmark = pytest.mark.peers

SCRIPT = Path(__file__).parent / "continue_in_lightning.py"
SAVED_AT = {  # file, (epoch, batches of it, steps)
    "epoch_end": ("epoch=1-step=10.ckpt", (2, 0, 10)),
    "scaled": ("epoch=1-step=10.ckpt", (2, 0, 10)),
    "mid_epoch": ("epoch=1-step=8.ckpt", (1, 3, 8)),
    "accumulated": ("epoch=1-step=3.ckpt", (1, 2, 3)),
    "monitored": ("epoch=1-step=10.ckpt", (2, 0, 10)),
    "manual": ("epoch=1-step=16.ckpt", (1, 3, 16)),
}

Outcomes = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def outcomes(peers_python: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcomes, Outcomes]:
    """What our uninterrupted runs came to, and what Lightning's came to, which began in the middle."""
    folder, ours = tmp_path_factory.mktemp("checkpoints"), {}
    torch.set_num_threads(1)
    for name, (file, _) in SAVED_AT.items():
        kind, callbacks = make(name, pl)
        model, data, root = kind(), define(pl).Data(same=True), tmp_path_factory.mktemp(name)
        precision = "16-mixed" if name == "scaled" else None
        settings = {**QUIET, **SETTINGS[name], "precision": precision}
        trainer = pl.Trainer(default_root_dir=root, callbacks=callbacks, **settings)
        trainer.fit(model, datamodule=data)
        shutil.copy(root / "checkpoints" / file, folder / f"{name}.ckpt")
        waits = getattr(trainer.early_stopping_callback, "wait_count", None)
        ours[name] = outcome(trainer, model, data) | {"waits": waits}
    command = [peers_python, "-W", "ignore", str(SCRIPT), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    theirs = {name: json.loads((folder / f"{name}.json").read_text()) for name in SAVED_AT}
    for name in SAVED_AT:
        saved = torch.load(folder / f"{name}.ckpt", weights_only=True)["state_dict"]
        ours[name]["saved"] = {key: value.tolist() for key, value in saved.items()}
    return ours, theirs


@pytest.mark.parametrize("name", SAVED_AT)
def test_position(name: str, outcomes: tuple[Outcomes, Outcomes]) -> None:
    _, theirs = outcomes
    epoch, batch, steps = SAVED_AT[name][1]
    assert theirs[name]["begun"] == [epoch, steps]
    assert theirs[name]["losses"][0][:2] == [epoch, batch]


@pytest.mark.parametrize("name", SAVED_AT)
def test_the_rest_of_the_run_is_the_same(name: str, outcomes: tuple[Outcomes, Outcomes]) -> None:
    ours, theirs = (of_one[name] for of_one in outcomes)
    epoch, batch, _ = SAVED_AT[name][1]
    same: dict[str, Any] = {"rel": 1e-3 if name == "scaled" else 1e-5, "abs": 1e-6}
    left = [[e, b, pytest.approx(loss, **same)] for e, b, loss in ours["losses"] if (e, b) >= (epoch, batch)]
    assert theirs["losses"] == left
    validations = [[e, pytest.approx(loss, **same)] for e, loss in ours["val_losses"] if e >= epoch]
    assert theirs["val_losses"] == validations
    assert theirs["rates"] == pytest.approx(ours["rates"][-len(left) :])
    assert theirs["final_rates"] == pytest.approx(ours["final_rates"])
    assert (theirs["epoch"], theirs["step"]) == (ours["epoch"], ours["step"])
    assert theirs["asked"] == ours["asked"] + 1
    assert theirs["waits"] == ours["waits"]


@pytest.mark.parametrize("name", SAVED_AT)
def test_module_is_made_again(name: str, outcomes: tuple[Outcomes, Outcomes]) -> None:
    ours, theirs = (of_one[name] for of_one in outcomes)
    assert theirs["made_again"] == ours["saved"]
    assert theirs["hparams"] == {"width": 3, "rate": 0.2}
