"""Checkpoints that Lightning 2.6 wrote are taken up where they were saved, and come to what it came to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl

from ..fixtures.models import EPOCHS, QUIET, SETTINGS, define, make, outcome

# The folder of Lightning's run is not the one of ours.
pytestmark = pytest.mark.filterwarnings("ignore:Checkpoints go to")

FIXTURES = Path(__file__).parents[1] / "fixtures"
SAVED_AT = {  # (epoch, batches of it, steps)
    "epoch_end": (2, 0, 10),
    "scaled": (2, 0, 10),
    "mid_epoch": (1, 3, 8),
    "accumulated": (1, 2, 3),
    "monitored": (2, 0, 10),
    "manual": (1, 3, 16),
}
PRECISION = {"scaled": "16-mixed"}
TOLERANCE = {"scaled": 1e-3}  # float16


def checkpoint(name: str) -> Path:
    return FIXTURES / f"{name}.ckpt"


def uninterrupted(name: str) -> dict[str, Any]:
    """What Lightning's run, from the beginning to the end, came to."""
    return json.loads((FIXTURES / f"{name}.json").read_text())


def resumed(name: str, root: Path, **options: Any) -> tuple[dict[str, Any], pl.Trainer]:
    """What our run came to, which went on from Lightning's checkpoint."""
    kind, callbacks = make(name, pl)
    model, data = kind(), define(pl).Data()
    settings = {**QUIET, **SETTINGS[name], "precision": PRECISION.get(name), **options}
    trainer = pl.Trainer(default_root_dir=root, callbacks=callbacks, **settings)
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint(name))
    return outcome(trainer, model, data), trainer


@pytest.mark.parametrize("name", SAVED_AT)
def test_the_rest_of_the_run_is_the_same(name: str, tmp_path: Path) -> None:
    ours, _ = resumed(name, tmp_path)
    theirs = uninterrupted(name)
    epoch, batch, _ = SAVED_AT[name]
    same: dict[str, Any] = {"rel": TOLERANCE.get(name, 1e-5), "abs": 1e-6}

    left = [
        (e, b, pytest.approx(loss, **same)) for e, b, loss in theirs["losses"] if (e, b) >= (epoch, batch)
    ]
    assert [tuple(entry) for entry in ours["losses"]] == left
    validations = [(e, pytest.approx(loss, **same)) for e, loss in theirs["val_losses"] if e >= epoch]
    assert [tuple(entry) for entry in ours["val_losses"]] == validations
    assert ours["rates"] == pytest.approx(theirs["rates"][-len(left) :])
    assert ours["final_rates"] == pytest.approx(theirs["final_rates"])
    assert (ours["epoch"], ours["step"]) == (theirs["epoch"], theirs["step"])
    for parameter, value in theirs["weights"].items():
        torch.testing.assert_close(
            torch.tensor(ours["weights"][parameter]), torch.tensor(value), rtol=same["rel"], atol=1e-5
        )


@pytest.mark.parametrize("name", SAVED_AT)
def test_position(name: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    class Looks(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            seen.append((trainer.current_epoch, trainer.global_step))
            trainer.should_stop = True

    kind, callbacks = make(name, pl)
    trainer = pl.Trainer(
        default_root_dir=tmp_path, callbacks=[*callbacks, Looks()], **{**QUIET, **SETTINGS[name]}
    )
    trainer.fit(kind(), datamodule=define(pl).Data(), ckpt_path=checkpoint(name))
    epoch, _, steps = SAVED_AT[name]
    assert seen == [(epoch, steps)]


def test_nothing_is_left_of_a_run_that_was_to_end_there(tmp_path: Path) -> None:
    ours, trainer = resumed("epoch_end", tmp_path, max_epochs=2)
    assert ours["losses"] == []
    assert (trainer.current_epoch, trainer.global_step) == (2, 10)


def test_callbacks_go_on_from_their_states(tmp_path: Path) -> None:
    _, trainer = resumed("monitored", tmp_path)
    stopping = trainer.early_stopping_callback
    assert stopping is not None
    theirs = dict(uninterrupted("monitored")["val_losses"])
    assert stopping.best_score.item() == pytest.approx(min(theirs.values()))
    assert stopping.wait_count == EPOCHS - 1 - min(theirs, key=theirs.__getitem__)


def test_datamodule_goes_on_from_its_state(tmp_path: Path) -> None:
    """It had been asked for train data once, and is again."""
    ours, _ = resumed("epoch_end", tmp_path)
    assert ours["asked"] == uninterrupted("epoch_end")["asked"] + 1


def test_loss_scale_goes_on_from_its_state(tmp_path: Path) -> None:
    scales: list[float] = []

    class Looks(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            scales.append(trainer.scaler.get_scale())

    kind, callbacks = make("scaled", pl)
    trainer = pl.Trainer(
        default_root_dir=tmp_path, callbacks=[*callbacks, Looks()], precision="16-mixed", **QUIET
    )
    trainer.fit(kind(), datamodule=define(pl).Data(), ckpt_path=checkpoint("scaled"))
    assert scales == [4096]
    assert trainer.scaler.get_growth_interval() == 4
    assert trainer.scaler.get_scale() == 2.0**10 * 2 ** (EPOCHS * 5 // 4)


def test_module_is_made_again(tmp_path: Path) -> None:
    classes = define(pl)
    model = classes.Model.load_from_checkpoint(checkpoint("epoch_end"))
    assert dict(model.hparams) == {"width": 3, "rate": 0.2}
    saved = torch.load(checkpoint("epoch_end"), weights_only=True)["state_dict"]
    torch.testing.assert_close(dict(model.state_dict()), dict(saved), rtol=0, atol=0)
    assert classes.Model.load_from_checkpoint(checkpoint("epoch_end"), rate=0.7).rate == 0.7


def test_datamodule_is_made_again() -> None:
    data = define(pl).Data.load_from_checkpoint(checkpoint("epoch_end"))
    assert dict(data.hparams) == {"slope": 2.0, "same": False}
    assert data.asked == 1


def test_evaluation_of_a_checkpoint(tmp_path: Path) -> None:
    """The validation loss that Lightning saw when it saved the file."""
    trainer = pl.Trainer(default_root_dir=tmp_path, **QUIET)
    (metrics,) = trainer.validate(
        define(pl).Model(), datamodule=define(pl).Data(), ckpt_path=checkpoint("epoch_end"), verbose=False
    )
    assert metrics["val_loss"] == pytest.approx(dict(uninterrupted("epoch_end")["val_losses"])[1], rel=1e-5)


def structure(tree: Any) -> Any:
    """The keys of nested dicts, and the types of everything else."""
    if isinstance(tree, dict):
        return {key: structure(value) for key, value in tree.items()}
    return type(tree).__name__


@pytest.mark.parametrize("name", SAVED_AT)
def test_our_own_checkpoints_have_every_part_of_theirs(name: str, tmp_path: Path) -> None:
    """The same keys at the top and in `loops`, plain data of the same types; and our own part beside them."""
    resumed(name, tmp_path)
    newest = max((tmp_path / "checkpoints").glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    ours, theirs = (torch.load(path, weights_only=True) for path in (newest, checkpoint(name)))
    assert set(ours) - set(theirs) == {"fulmen"}
    assert set(theirs) - set(ours) == set()
    assert structure(ours["loops"]) == structure(theirs["loops"])
    assert structure(ours["callbacks"]).keys() == structure(theirs["callbacks"]).keys()
    assert list(ours["state_dict"]) == list(theirs["state_dict"])


@pytest.mark.parametrize("name", SAVED_AT)
def test_our_own_checkpoints_count_as_theirs_do(name: str, tmp_path: Path) -> None:
    """One saved by our run, from the beginning, at the same moment as Lightning's: the same numbers in it."""
    kind, callbacks = make(name, pl)
    settings = {**QUIET, **SETTINGS[name], "precision": PRECISION.get(name), "max_epochs": 2}
    trainer = pl.Trainer(default_root_dir=tmp_path, callbacks=callbacks, **settings)
    trainer.fit(kind(), datamodule=define(pl).Data())
    theirs = torch.load(checkpoint(name), weights_only=True)
    file = f"epoch={theirs['epoch']}-step={theirs['global_step']}.ckpt"
    ours = torch.load(tmp_path / "checkpoints" / file, weights_only=True)
    fit_loop, their_loop = ours["loops"]["fit_loop"], theirs["loops"]["fit_loop"]
    for part in ("epoch_progress", "epoch_loop.batch_progress", "epoch_loop.state_dict"):
        assert fit_loop[part] == their_loop[part], part
    for part in ("automatic_optimization.optim_progress", "manual_optimization.optim_step_progress"):
        assert total_steps(fit_loop[f"epoch_loop.{part}"]) == total_steps(their_loop[f"epoch_loop.{part}"]), (
            part
        )


def total_steps(progress: Any) -> Any:
    return progress["optimizer"]["step"]["total"] if "optimizer" in progress else progress["total"]
