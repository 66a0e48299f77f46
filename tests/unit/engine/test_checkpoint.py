"""What is in a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fulmen as pl
from fulmen.errors import ConfigError, UsageError
from fulmen.strategies import CheckpointIO

from .small import Remembers, TrainsOnly, batches, callback, fit, make_trainer

TRAINING_KEYS = {"callbacks", "optimizer_states", "lr_schedulers", "fulmen"}
KEYS = {"epoch", "global_step", "pytorch-lightning_version", "state_dict", "loops"}
HPARAMS_KEYS = {"hparams_name", "hyper_parameters"}
DATA_HPARAMS_KEYS = {"datamodule_hparams_name", "datamodule_hyper_parameters"}


class Data(pl.LightningDataModule):
    """Has a state, and hyperparameters."""

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.state = 5

    def train_dataloader(self) -> Any:
        return batches(self.hparams.size)

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = state_dict["state"]


class WithHyperparameters(TrainsOnly):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()


def saved(trainer: pl.Trainer, root: Path, **options: Any) -> tuple[Path, dict[str, Any]]:
    """The path and the content of a checkpoint of this moment, read as nothing but plain data."""
    path = root / "saved.ckpt"
    trainer.save_checkpoint(path, **options)
    return path, torch.load(path, weights_only=True)


def test_parts(tmp_path: Path) -> None:
    trainer = fit(tmp_path, TrainsOnly(), train=3, max_epochs=2)
    _, content = saved(trainer, tmp_path)
    assert set(content) == KEYS | TRAINING_KEYS
    assert (content["epoch"], content["global_step"]) == (2, 6)
    assert content["pytorch-lightning_version"].split(".")[0] == "2"
    assert list(content["state_dict"]) == ["w"]
    assert content["state_dict"]["w"].item() == -0.5 * 2 * 6
    assert len(content["optimizer_states"]) == 1
    assert content["lr_schedulers"] == []
    assert content["callbacks"] == {}


def test_parts_of_everything_that_has_a_state(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, callbacks=[Remembers(7), callback()])
    trainer.fit(WithHyperparameters(), datamodule=Data())
    _, content = saved(trainer, tmp_path)
    assert set(content) == KEYS | TRAINING_KEYS | HPARAMS_KEYS | DATA_HPARAMS_KEYS | {"Data"}
    assert content["callbacks"] == {"Remembers": {"state": 7}}
    assert content["Data"] == {"state": 5}
    assert (content["hparams_name"], content["hyper_parameters"]) == ("kwargs", {"width": 3})
    assert (content["datamodule_hparams_name"], content["datamodule_hyper_parameters"]) == (
        "kwargs",
        {"size": 2},
    )


def test_weights_only_leaves_out_what_training_needs(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, callbacks=[Remembers()])
    trainer.fit(WithHyperparameters(), datamodule=Data())
    _, content = saved(trainer, tmp_path, weights_only=True)
    assert set(content) == KEYS | HPARAMS_KEYS | DATA_HPARAMS_KEYS | {"Data"}


@pytest.mark.parametrize("weights_only", [False, True])
def test_hooks_may_add_to_it_and_take_from_it(tmp_path: Path, weights_only: bool) -> None:
    class Edits(TrainsOnly):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["mine"] = [1, 2]
            del checkpoint["state_dict"]["w"]

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            assert checkpoint["mine"] == [1, 2]
            checkpoint["state_dict"]["w"] = torch.tensor(40.0)

    path, content = saved(fit(tmp_path, Edits()), tmp_path, weights_only=weights_only)
    assert content["mine"] == [1, 2]
    assert content["state_dict"] == {}
    model = Edits()
    make_trainer(tmp_path).predict(model, batches(1), ckpt_path=path)
    assert model.w.item() == 40


def test_callbacks_may_edit_it_after_everything_else(tmp_path: Path) -> None:
    keys: list[set[str]] = []

    class Edits(pl.Callback):
        def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
            keys.append(set(checkpoint))
            checkpoint["by_callback"] = True

    _, content = saved(fit(tmp_path, TrainsOnly(), callbacks=[Edits()]), tmp_path)
    assert keys == [KEYS | TRAINING_KEYS]
    assert content["by_callback"] is True


def test_saving_changes_nothing(tmp_path: Path) -> None:
    """A run that saves after each batch comes to what one comes to that never saves."""

    class Random(TrainsOnly):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            loss = self(batch).mean() * torch.rand(())
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

    def run(**hooks: Any) -> tuple[float, dict[str, float]]:
        torch.manual_seed(0)
        model = Random()
        trainer = fit(
            tmp_path, model, train=5, max_epochs=2, accumulate_grad_batches=2, callbacks=[callback(**hooks)]
        )
        return model.w.item(), {name: value.item() for name, value in trainer.callback_metrics.items()}

    def save(self: Any, trainer: pl.Trainer, *args: Any) -> None:
        trainer.save_checkpoint(tmp_path / "each.ckpt")

    assert run(on_train_batch_end=save, on_train_epoch_end=save, on_train_epoch_start=save) == run()


def test_nothing_to_save_before_the_first_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to save"):
        make_trainer(tmp_path).save_checkpoint(tmp_path / "x.ckpt")


def test_storage_options_mean_nothing_to_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="storage_options"):
        fit(tmp_path, TrainsOnly()).save_checkpoint(tmp_path / "x.ckpt", storage_options={"a": 1})


def test_a_store_of_ones_own(tmp_path: Path) -> None:
    """It gets the content, the path and the options, and gives the content back."""
    store: dict[str, Any] = {}

    class InMemory(CheckpointIO):
        def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
            store[path] = (checkpoint, storage_options)

        def load_checkpoint(self, path: str, map_location: Any = None, weights_only: Any = None) -> Any:
            return store[path][0]

        def remove_checkpoint(self, path: str) -> None:
            del store[path]

    path = str(tmp_path / "virtual.ckpt")
    trainer = fit(tmp_path, TrainsOnly(), plugins=InMemory())
    trainer.save_checkpoint(path, storage_options={"fast": True})
    assert store[path][1] == {"fast": True}
    model = TrainsOnly()
    make_trainer(tmp_path, plugins=[InMemory()]).predict(model, batches(1), ckpt_path=path)
    assert model.w.item() == -1.5
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.ckpt"
    fit(tmp_path, TrainsOnly()).save_checkpoint(path)
    assert path.exists()
