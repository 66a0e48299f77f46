"""Saves that fail: what is said, what stays, and how the callback goes on."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import fulmen as pl
from fulmen.base.manifest import verify
from fulmen.base.report import FulmenWarning
from fulmen.callbacks import ModelCheckpoint
from fulmen.errors import CheckpointError, ConfigError
from fulmen.strategies import AsyncCheckpointIO, CheckpointIO, TorchCheckpointIO

from .scenarios import Scripted, batches, make_trainer, names


class Flaky(TorchCheckpointIO):
    """Fails to save files that are named so, as often as it is told to."""

    def __init__(self, *fails: str, error: Exception | None = None) -> None:
        self.fails = list(fails)
        self.error = error or CheckpointError("The checkpoint could not be written.", received="a bad day")

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
        if Path(path).stem in self.fails:
            self.fails.remove(Path(path).stem)
            raise self.error
        super().save_checkpoint(checkpoint, path, storage_options)

    def remove_checkpoint(self, path: str) -> None:
        if f"remove {Path(path).stem}" in self.fails:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)
        super().remove_checkpoint(path)


class Remembering(pl.Callback):
    """Keeps what the callback that saves knew after each epoch."""

    def __init__(self, saver: ModelCheckpoint) -> None:
        self.saver = saver
        self.states: list[dict[str, Any]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.states.append(self.saver.state_dict())


VAL_LOSSES = (3, 2, 1, 0)
NEWEST: dict[str, Any] = {"filename": "{epoch}"}
BEST: dict[str, Any] = NEWEST | {"monitor": "val_loss"}
KINDS = [NEWEST, BEST, BEST | {"save_top_k": 2}, NEWEST | {"save_last": True}, BEST | {"save_last": "link"}]


def train(root: Path, saver: ModelCheckpoint, io: CheckpointIO | None = None, **options: Any) -> pl.Trainer:
    trainer = make_trainer(
        root, saver, *options.pop("more", ()), plugins=[io or Flaky()], max_epochs=4, **options
    )
    trainer.fit(Scripted(VAL_LOSSES), batches(), batches(1))
    return trainer


@pytest.mark.parametrize("asynchronous", [False, True], ids=["at once", "in the background"])
@pytest.mark.parametrize("arguments", KINDS, ids=str)
def test_by_default_the_error_ends_the_run_and_all_is_as_before(
    arguments: dict[str, Any], asynchronous: bool, tmp_path: Path
) -> None:
    saver = ModelCheckpoint(tmp_path, **arguments)
    io: CheckpointIO = Flaky("epoch=2")
    remembering = Remembering(saver)
    with pytest.raises(CheckpointError, match="a bad day"):
        train(tmp_path, saver, AsyncCheckpointIO(io) if asynchronous else io, more=[remembering])
    assert saver.state_dict() == remembering.states[2]
    kept = [path for path in (saver.best_model_path, saver.last_model_path, *saver.best_k_models) if path]
    assert Path(saver.best_model_path).stem == "epoch=1"
    assert all(verify(path).intact for path in kept)
    assert {Path(path).name for path in kept} == {name.partition(" ")[0] for name in names(tmp_path)}
    assert saver.failed_saves == 0


@pytest.mark.parametrize("asynchronous", [False, True], ids=["at once", "in the background"])
@pytest.mark.parametrize("arguments", KINDS, ids=str)
def test_with_warn_training_goes_on_to_the_same_files(
    arguments: dict[str, Any], asynchronous: bool, tmp_path: Path
) -> None:
    whole = ModelCheckpoint(tmp_path / "whole", **arguments)
    train(tmp_path, whole)
    saver = ModelCheckpoint(tmp_path / "parts", **arguments, on_save_error="warn")
    io: CheckpointIO = Flaky("epoch=1")
    with pytest.warns(FulmenWarning, match=r"(?s)1 saves that failed.*a bad day"):
        train(tmp_path, saver, AsyncCheckpointIO(io) if asynchronous else io)
    assert saver.failed_saves == 1
    if arguments.get("save_top_k") != 2:
        assert names(tmp_path / "parts") == names(tmp_path / "whole")
    assert Path(saver.best_model_path).name == Path(whole.best_model_path).name
    assert all(verify(path).intact for path in (tmp_path / "parts").glob("*.ckpt"))


def test_what_is_left_when_the_last_one_alone_cannot_be_written(tmp_path: Path) -> None:
    """The other one is whole, so it is kept, and what it replaces goes."""
    saver = ModelCheckpoint(tmp_path, **NEWEST, save_last=True, on_save_error="warn")
    with pytest.warns(FulmenWarning, match="a bad day"):
        train(tmp_path, saver, Flaky(*["last"] * 4))
    assert saver.failed_saves == 4
    assert names(tmp_path) == ["epoch=3.ckpt"]
    assert saver.last_model_path == ""


def test_by_default_that_ends_the_run_too(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, **NEWEST, save_last=True)
    with pytest.raises(CheckpointError, match="a bad day"):
        train(tmp_path, saver, Flaky("last"))
    assert names(tmp_path) == ["epoch=0.ckpt"]
    assert saver.best_model_path == ""


def test_where_only_the_last_one_is_saved(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, save_top_k=0, save_last=True, on_save_error="warn")
    with pytest.warns(FulmenWarning, match="a bad day"):
        train(tmp_path, saver, Flaky("last"))
    assert saver.failed_saves == 1
    assert names(tmp_path) == ["last.ckpt"]


def test_what_failed_is_tried_again_at_the_end(tmp_path: Path) -> None:
    """Where nothing was saved at all."""
    saver = ModelCheckpoint(tmp_path, save_top_k=0, save_last=True, on_save_error="warn")
    with pytest.warns(FulmenWarning, match="a bad day"):
        train(tmp_path, saver, Flaky(*["last"] * 4))
    assert saver.failed_saves == 4
    assert names(tmp_path) == ["last.ckpt"]
    assert saver.last_model_path == str(tmp_path / "last.ckpt")


def test_what_should_go_but_cannot(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, **NEWEST)
    with pytest.raises(OSError, match="Permission denied"):
        train(tmp_path, saver, Flaky("remove epoch=0"))
    assert Path(saver.best_model_path).name == "epoch=1.ckpt"  # which is whole
    saver = ModelCheckpoint(tmp_path / "warn", **NEWEST, on_save_error="warn")
    with pytest.warns(FulmenWarning, match="Permission denied"):
        train(tmp_path, saver, Flaky("remove epoch=0"))
    assert names(tmp_path / "warn") == ["epoch=0.ckpt", "epoch=3.ckpt"]


def test_an_error_of_a_users_hook_is_never_passed_over(tmp_path: Path) -> None:
    class Faulty(Scripted):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            raise ZeroDivisionError("a mistake")

    saver = ModelCheckpoint(tmp_path, **NEWEST, on_save_error="warn")
    trainer = make_trainer(tmp_path, saver)
    with pytest.raises(ZeroDivisionError, match="a mistake"):
        trainer.fit(Faulty(), batches(), batches(1))
    assert saver.best_model_path == ""


def test_what_cannot_be_pickled_is_named(tmp_path: Path) -> None:
    class Faulty(Scripted):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["mine"] = {"function": lambda: None}

    trainer = make_trainer(tmp_path, ModelCheckpoint(tmp_path))
    with pytest.raises(CheckpointError, match=r"epoch=0-step=4\.ckpt: in mine > function: .*lambda"):
        trainer.fit(Faulty(), batches(), batches(1))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "epoch=1.ckpt").mkdir()
    saver = ModelCheckpoint(tmp_path, **NEWEST, enable_version_counter=False)
    with (
        pytest.warns(FulmenWarning, match="not empty"),
        pytest.raises(CheckpointError, match=r"epoch=1\.ckpt: Is a directory"),
    ):
        train(tmp_path, saver)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".epoch=0.ckpt.manifest",
        "epoch=0.ckpt",
        "epoch=1.ckpt",
    ]


class Vandal(pl.Callback):
    """Does something to the folder at the beginning of the second epoch."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            self.act()


def test_a_folder_that_vanishes_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    train(tmp_path, ModelCheckpoint(folder, **NEWEST), more=[Vandal(lambda: shutil.rmtree(folder))])
    assert names(folder) == ["epoch=3.ckpt"]


def test_a_folder_that_cannot_be_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "disk" / "kept"

    def unplug() -> None:
        shutil.rmtree(tmp_path / "disk")
        (tmp_path / "disk").touch()

    with pytest.raises(CheckpointError, match=r"disk/kept/epoch=1\.ckpt: Not a directory"):
        train(tmp_path, ModelCheckpoint(folder, **NEWEST), more=[Vandal(unplug)])


def test_manifests_and_what_is_being_written_make_no_folder_full(tmp_path: Path) -> None:
    for name in (".epoch=0.ckpt.manifest", ".epoch=0.ckpt.0123abcd.tmp"):
        (tmp_path / name).touch()
    train(tmp_path, ModelCheckpoint(tmp_path, **NEWEST))  # warnings are errors here
    assert names(tmp_path) == ["epoch=3.ckpt"]


def test_another_way_to_put_up_with_errors_is_unknown() -> None:
    with pytest.raises(ConfigError, match=r"on_save_error(.|\n)*'ignore'"):
        ModelCheckpoint(on_save_error="ignore")  # pyright: ignore[reportArgumentType]
