"""A run that fails, and the one that goes on from there."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from fulmen.callbacks import OnExceptionCheckpoint
from fulmen.errors import ConfigError

from .scenarios import Scripted, batches, make_trainer, names


def fail(root: Path, at: int, error: BaseException | None = None) -> None:
    trainer = make_trainer(root, OnExceptionCheckpoint(root / "kept"), enable_checkpointing=True)
    with nullcontext() if isinstance(error, KeyboardInterrupt) else pytest.raises(RuntimeError):
        trainer.fit(Scripted(fails_at=at, error=error), batches(), batches(1))


@pytest.mark.parametrize("error", [RuntimeError("scripted"), KeyboardInterrupt()])
def test_the_state_is_saved(error: BaseException, tmp_path: Path) -> None:
    fail(tmp_path, 5, error)
    assert names(tmp_path / "kept") == ["on_exception.ckpt"]
    assert torch.load(tmp_path / "kept" / "on_exception.ckpt", weights_only=True)["global_step"] == 5


def test_the_next_fit_goes_on_from_there_and_tidies_up(tmp_path: Path) -> None:
    fail(tmp_path, 5)
    trainer = make_trainer(tmp_path, OnExceptionCheckpoint(tmp_path / "kept"))
    steps: list[int] = []

    class Watched(Scripted):
        def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
            steps.append(self.trainer.global_step)

    trainer.fit(Watched(), batches(), batches(1))
    assert steps == [5, 6, 7, 8, 9, 10, 11]
    assert names(tmp_path / "kept") == []


def test_a_checkpoint_that_is_asked_for_goes_before(tmp_path: Path) -> None:
    fail(tmp_path, 5)
    (tmp_path / "kept" / "on_exception.ckpt").rename(tmp_path / "asked.ckpt")
    fail(tmp_path, 2)
    trainer = make_trainer(tmp_path, OnExceptionCheckpoint(tmp_path / "kept"))
    module = Scripted(fails_at=4)  # where the other file would lead to
    trainer.fit(module, batches(), batches(1), ckpt_path=tmp_path / "asked.ckpt")
    assert trainer.global_step == 12


def test_evaluation_neither_saves_nor_tidies_up(tmp_path: Path) -> None:
    """In Lightning 2.6 a validation removes the file."""
    fail(tmp_path, 5)
    trainer = make_trainer(tmp_path, OnExceptionCheckpoint(tmp_path / "kept"))
    trainer.validate(Scripted(), batches(1), verbose=False)
    assert names(tmp_path / "kept") == ["on_exception.ckpt"]


def test_fast_dev_run_leaves_files_alone(tmp_path: Path) -> None:
    fail(tmp_path, 5)
    before = (tmp_path / "kept" / "on_exception.ckpt").read_bytes()
    trainer = make_trainer(tmp_path, OnExceptionCheckpoint(tmp_path / "kept"), fast_dev_run=True)
    trainer.fit(Scripted(), batches(), batches(1))
    assert trainer.global_step == 1
    assert (tmp_path / "kept" / "on_exception.ckpt").read_bytes() == before


def test_path() -> None:
    assert OnExceptionCheckpoint("folder").ckpt_path == "folder/on_exception.ckpt"
    assert OnExceptionCheckpoint("memory://a", "b").ckpt_path == "memory://a/b.ckpt"


def test_an_empty_name_is_an_error() -> None:
    with pytest.raises(ConfigError, match="filename=''"):
        OnExceptionCheckpoint("folder", filename="")
