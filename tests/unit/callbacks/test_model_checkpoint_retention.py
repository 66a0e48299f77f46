"""The order in which files come and go, the state, and what a resumed run makes of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from fulmen.base.report import FulmenWarning
from fulmen.callbacks import ModelCheckpoint
from fulmen.errors import ConfigError, MetricNotFoundError
from fulmen.strategies import TorchCheckpointIO

from .scenarios import Scripted, batches, fit, make_trainer, names


class Noting(TorchCheckpointIO):
    """Notes what is saved and removed, and which files are whole at that moment."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
        self.calls.append(f"save {Path(path).name}")
        super().save_checkpoint(checkpoint, path, storage_options)

    def remove_checkpoint(self, path: str) -> None:
        self.calls.append(f"remove {Path(path).name}")
        super().remove_checkpoint(path)


def test_the_old_file_goes_after_the_new_one_is_whole(tmp_path: Path) -> None:
    io = Noting()
    fit(tmp_path, ModelCheckpoint(tmp_path, save_last=True, filename="{epoch}"), plugins=[io], max_epochs=2)
    assert io.calls == [
        *("save epoch=0.ckpt", "save last.ckpt"),
        *("save epoch=1.ckpt", "save last.ckpt", "remove epoch=0.ckpt"),
    ]


def test_where_saving_fails_the_old_file_stays(tmp_path: Path) -> None:
    class Full(Noting):
        def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
            if "epoch=1" in path:
                raise OSError("disk full")
            super().save_checkpoint(checkpoint, path, storage_options)

    with pytest.raises(OSError, match="disk full"):
        fit(tmp_path, ModelCheckpoint(tmp_path), plugins=[Full()])
    assert names(tmp_path) == ["epoch=0-step=4.ckpt"]


def test_attributes_of_the_best(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, monitor="val_loss", save_top_k=2, filename="{epoch}")
    fit(tmp_path, checkpoint)
    assert checkpoint.best_model_path == str(tmp_path / "epoch=1.ckpt")
    assert checkpoint.best_model_score == 1.0
    assert checkpoint.kth_best_model_path == str(tmp_path / "epoch=2.ckpt")
    assert checkpoint.kth_value == 2.0
    assert checkpoint.current_score == 2.0
    assert {Path(path).name: float(score) for path, score in checkpoint.best_k_models.items()} == {
        "epoch=1.ckpt": 1.0,
        "epoch=2.ckpt": 2.0,
    }
    assert checkpoint.last_model_path == ""


def test_attributes_without_monitor(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path)
    fit(tmp_path, checkpoint)
    assert checkpoint.best_model_path == str(tmp_path / "epoch=2-step=12.ckpt")
    assert checkpoint.best_model_score is None
    assert checkpoint.best_k_models == {}


def test_state_in_the_checkpoint(tmp_path: Path) -> None:
    """Every file knows itself. Keys and types as Lightning's, which passes over the last three."""
    fit(tmp_path, ModelCheckpoint(tmp_path, monitor="val_loss", save_last=True))
    cadence = "'every_n_train_steps': 0, 'every_n_epochs': 1, 'train_time_interval': None"
    key = f"ModelCheckpoint{{'monitor': 'val_loss', 'mode': 'min', {cadence}}}"
    best, last = str(tmp_path / "epoch=1-step=8.ckpt"), str(tmp_path / "last.ckpt")
    for path in (best, last):
        state = torch.load(path, weights_only=True)["callbacks"][key]
        assert state == {
            "monitor": "val_loss",
            "best_model_score": torch.tensor(1.0),
            "best_model_path": best,
            "current_score": torch.tensor(1.0),
            "dirpath": str(tmp_path),
            "best_k_models": {best: torch.tensor(1.0)},
            "kth_best_model_path": best,
            "kth_value": torch.tensor(1.0),
            "last_model_path": last,
            "outdated": [str(tmp_path / "epoch=0-step=4.ckpt")],
            "due_step": float("inf"),
            "saved_step": 8,
        }


def test_state_round_trip(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, monitor="val_loss", save_top_k=2, save_last=True)
    fit(tmp_path, checkpoint)
    again = ModelCheckpoint(tmp_path, monitor="val_loss", save_top_k=2, save_last=True)
    again.load_state_dict(checkpoint.state_dict())
    assert again.state_dict() == checkpoint.state_dict()


def test_a_state_of_lightning_1_0_holds_less(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(monitor="val_loss")
    checkpoint.load_state_dict({"best_model_path": "a.ckpt", "best_model_score": torch.tensor(2.0)})
    assert checkpoint.best_model_path == "a.ckpt"
    assert checkpoint.best_model_score == 2.0


def test_the_state_of_another_folder_is_not_taken_up_but_for_the_best_path(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "a", monitor="val_loss")
    fit(tmp_path, checkpoint)
    other = ModelCheckpoint(tmp_path / "b", monitor="val_loss")
    with pytest.warns(FulmenWarning, match="ranking starts anew"):
        other.load_state_dict(checkpoint.state_dict())
    assert other.best_model_path == checkpoint.best_model_path
    assert other.best_k_models == {}
    assert other.best_model_score is None


def resume(root: Path, path: str, **arguments: Any) -> ModelCheckpoint:
    """The callback of a run that goes on, from a file, to the fourth epoch."""
    checkpoint = ModelCheckpoint(root, **arguments)
    trainer = make_trainer(root, checkpoint, max_epochs=4)
    module = Scripted((3, 1, 2, 0.5))
    module.validations = 2
    trainer.fit(module, batches(), batches(1), ckpt_path=path)
    return checkpoint


@pytest.mark.parametrize("arguments", [{}, {"monitor": "val_loss"}])
def test_a_resumed_run_keeps_what_it_started_from(arguments: dict[str, Any], tmp_path: Path) -> None:
    fit(tmp_path, ModelCheckpoint(tmp_path, **arguments), max_epochs=2)
    resumed = resume(tmp_path, str(tmp_path / "epoch=1-step=8.ckpt"), **arguments)
    assert names(tmp_path) == ["epoch=1-step=8.ckpt", "epoch=3-step=16.ckpt"]
    assert resumed.best_model_path == str(tmp_path / "epoch=3-step=16.ckpt")


def test_what_a_checkpoint_had_replaced_stays_where_the_user_named_that(tmp_path: Path) -> None:
    """It is there because the user has put it back; a rerun with "auto" would find what a crash left."""
    fit(tmp_path, ModelCheckpoint(tmp_path, filename="{epoch}"), max_epochs=2)
    shutil.copy(tmp_path / "epoch=1.ckpt", tmp_path / "epoch=0.ckpt")
    resume(tmp_path, str(tmp_path / "epoch=1.ckpt"), filename="{epoch}")
    assert names(tmp_path) == ["epoch=0.ckpt", "epoch=1.ckpt", "epoch=3.ckpt"]


@pytest.mark.parametrize("save_last", [True, "link"])
@pytest.mark.parametrize("start", ["last.ckpt", "epoch=1-step=8.ckpt"])
def test_a_resumed_run_goes_on_with_the_same_last_file(save_last: Any, start: str, tmp_path: Path) -> None:
    fit(tmp_path, ModelCheckpoint(tmp_path, save_last=save_last), max_epochs=2)
    resume(tmp_path, str(tmp_path / start), save_last=save_last)
    kept = {"epoch=3-step=16.ckpt", start} - {"last.ckpt"}
    last = "last.ckpt" if save_last is True else "last.ckpt -> epoch=3-step=16.ckpt"
    assert names(tmp_path) == sorted({*kept, last})


def test_a_resumed_run_ranks_as_the_uninterrupted_one(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"monitor": "val_loss", "save_top_k": 2, "filename": "{epoch}"}
    whole = ModelCheckpoint(tmp_path / "whole", **arguments)
    fit(tmp_path, whole, module=Scripted((3, 1, 2, 0.5)), max_epochs=4)
    fit(tmp_path, ModelCheckpoint(tmp_path / "parts", **arguments), max_epochs=2)
    parts = resume(tmp_path / "parts", str(tmp_path / "parts" / "epoch=1.ckpt"), **arguments)
    assert [Path(path).name for path in parts.best_k_models] == [
        Path(path).name for path in whole.best_k_models
    ]
    assert list(parts.best_k_models.values()) == list(whole.best_k_models.values())
    assert parts.kth_value == whole.kth_value


def test_a_resumed_run_counts_steps_from_the_start(tmp_path: Path) -> None:
    fit(tmp_path, ModelCheckpoint(tmp_path / "a", every_n_train_steps=5), max_steps=6)
    checkpoint = ModelCheckpoint(tmp_path / "b", every_n_train_steps=3, save_top_k=-1)
    trainer = make_trainer(tmp_path, checkpoint, max_steps=10)
    trainer.fit(Scripted(), batches(), batches(1), ckpt_path=tmp_path / "a" / "epoch=1-step=5.ckpt")
    assert names(tmp_path / "b") == ["epoch=1-step=6.ckpt", "epoch=2-step=9.ckpt"]


def test_a_second_fit_with_the_same_callback_saves_again(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, save_top_k=-1)
    fit(tmp_path, checkpoint, max_epochs=1)
    with pytest.warns(FulmenWarning, match="not empty"):
        fit(tmp_path, checkpoint, max_epochs=1)
    assert names(tmp_path) == ["epoch=0-step=4-v1.ckpt", "epoch=0-step=4.ckpt"]


def test_fewer_are_kept_after_save_top_k_was_lowered(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"monitor": "val_loss", "filename": "{epoch}"}
    fit(tmp_path, ModelCheckpoint(tmp_path, save_top_k=2, **arguments), max_epochs=2)
    resume(tmp_path, str(tmp_path / "epoch=1.ckpt"), save_top_k=1, **arguments)
    assert names(tmp_path) == ["epoch=1.ckpt", "epoch=3.ckpt"]  # the first is what the run was resumed from


def test_a_name_that_nobody_logs(tmp_path: Path) -> None:
    with pytest.raises(MetricNotFoundError, match=r"(?s)'val_los'.*'train_loss'.*did you mean 'val_loss'"):
        fit(tmp_path, ModelCheckpoint(tmp_path, monitor="val_los"))


@pytest.mark.parametrize("arguments", [{"every_n_train_steps": 2}, {"save_on_train_epoch_end": False}])
def test_a_name_that_nobody_logs_is_found_out_in_the_first_epoch(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    module = Scripted([1.0])
    trainer = make_trainer(tmp_path, ModelCheckpoint(tmp_path, monitor="val_los", **arguments))
    with pytest.raises(MetricNotFoundError, match="val_los"):
        trainer.fit(module, batches(), batches(1))
    assert trainer.current_epoch == 0


def test_without_validation_the_user_is_told_that_nothing_is_saved(tmp_path: Path) -> None:
    with pytest.warns(FulmenWarning, match="'val_loss' is not logged"):
        fit(tmp_path, ModelCheckpoint(tmp_path, monitor="val_loss"), limit_val_batches=0)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"save_top_k": -2}, "save_top_k=-2"),
        ({"save_top_k": 2}, "monitor=None"),
        ({"mode": "maximum"}, "did you mean 'max'"),
        ({"save_last": "lnk"}, "'link'"),
        ({"every_n_train_steps": -1}, "every_n_train_steps"),
        ({"every_n_epochs": -1}, "every_n_epochs"),
        ({"every_n_epochs": 1.5}, "every_n_epochs"),
        ({"train_time_interval": 5}, "timedelta"),
        ({"every_n_train_steps": 1, "every_n_epochs": 1}, "not several"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelCheckpoint(**arguments)


def test_a_cadence_that_is_switched_off_does_not_contradict_another() -> None:
    assert ModelCheckpoint(every_n_train_steps=5, every_n_epochs=0).every_n_epochs == 0
    assert ModelCheckpoint(every_n_train_steps=0, every_n_epochs=2).every_n_epochs == 2
    assert ModelCheckpoint(every_n_train_steps=5).every_n_epochs == 0
    assert ModelCheckpoint().every_n_epochs == 1


def test_check_monitor_top_k(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, monitor="val_loss", save_top_k=2)
    trainer = fit(tmp_path, checkpoint)
    assert checkpoint.check_monitor_top_k(trainer, torch.tensor(1.5))
    assert not checkpoint.check_monitor_top_k(trainer, torch.tensor(2.0))
    assert not checkpoint.check_monitor_top_k(trainer, torch.tensor(float("nan")))
    assert not checkpoint.check_monitor_top_k(trainer, None)


def test_file_exists(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path)
    trainer = fit(tmp_path, checkpoint)
    assert checkpoint.file_exists(checkpoint.best_model_path, trainer)
    assert not checkpoint.file_exists(tmp_path / "none.ckpt", trainer)


def test_to_yaml(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    checkpoint = ModelCheckpoint(tmp_path)
    checkpoint.best_k_models = {"a b: #.ckpt": torch.tensor(2.0**-20), "c": torch.tensor(float("inf"))}
    checkpoint.to_yaml()
    assert yaml.safe_load((tmp_path / "best_k_models.yaml").read_text()) == checkpoint.best_k_models
    checkpoint.to_yaml(tmp_path / "other.yaml")
    assert (tmp_path / "other.yaml").read_text() == (tmp_path / "best_k_models.yaml").read_text()
