"""Checkpoints that Lightning 1.0 to 2.6 have written: each is taken up where it was saved.

The files and the ends of their trainings were recorded with those versions, by `fixtures/record.py`.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import fulmen as pl
from fulmen.callbacks import Callback, EarlyStopping, GradientAccumulationScheduler, ModelCheckpoint

from .old_files import read, replaced, write

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = ("1.0.8", "1.1.8", "1.2.10", "1.3.8", "1.4.9", "1.5.10", "1.6.5", "1.9.5", "2.0.9", "2.6.6")
NOTE_UPDATES_ALONE = VERSIONS[:6]

spec = importlib.util.spec_from_file_location("record", FIXTURES / "record.py")
record: Any = importlib.util.module_from_spec(spec)  # pyright: ignore[reportArgumentType]
spec.loader.exec_module(record)  # pyright: ignore[reportOptionalMemberAccess]

WHERE = {
    # file: epoch, batch and update that come next; updates at the end
    "by_saver": (1, 0, 4, 12),
    "on_plateau": (1, 0, 4, 12),
    "after_fit": (1, 0, 4, 12),
    "within_epoch": (1, 3, 7, 12),
    "after_validation": (1, 2, 6, 12),
    "after_window": (1, 2, 3, 6),
}

every_version = pytest.mark.parametrize("version", VERSIONS)
versions_that_note_updates_alone = pytest.mark.parametrize("version", NOTE_UPDATES_ALONE)


class Watch(Callback):
    """Notes where training goes on."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, int]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append((trainer.current_epoch, batch_idx, trainer.global_step))


def fit(
    file: Path, scenario: str, tmp_path: Path, *callbacks: Callback, model: Any = None, **arguments: Any
) -> tuple[Any, Any, Watch]:
    optimizer, given = record.SCENARIOS[scenario]
    model = model or record.Tiny(optimizer, record.Namespace(lr=0.1))
    watch = Watch()
    trainer = pl.Trainer(
        **{**given, **arguments}, callbacks=[watch, *callbacks], logger=False, num_sanity_val_steps=0,
        default_root_dir=tmp_path, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
    )  # fmt: skip
    trainer.fit(model, ckpt_path=file)
    return trainer, model, watch


# --------------------------------------------------------------------------------------------------- going on


@every_version
@pytest.mark.parametrize("name", WHERE)
def test_training_goes_on_where_it_stood(version: str, name: str, tmp_path: Path) -> None:
    """Weights at the end are those of the version's own training, which was never interrupted."""
    scenario = record.PLACES[name][0]
    counter = record.Counter()
    trainer, model, watch = fit(FIXTURES / version / f"{name}.ckpt", scenario, tmp_path, counter)
    assert watch.seen[0] == WHERE[name][:3]
    assert (trainer.current_epoch, trainer.global_step) == (3, WHERE[name][3])
    assert counter.batches == 3 * record.BATCHES  # of which some were counted by the version itself
    if (version, name) == ("1.0.8", "on_plateau"):
        return  # the file lacks the scheduler's last step, and the metric that it would need
    ends = json.loads((FIXTURES / version / "ends.json").read_text())[scenario]
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, torch.tensor(ends[key]), rtol=1e-5, atol=1e-6)


@versions_that_note_updates_alone
def test_it_says_where_in_an_epoch_it_goes_on(
    version: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        fit(FIXTURES / version / "within_epoch.ckpt", "steps", tmp_path)
    assert "in epoch 1, after 3 of 4 batches" in caplog.text


def shorter_loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(record.numbers(4, 3), record.numbers(4, 2)), batch_size=2)


class WithOtherData(record.Tiny):
    def train_dataloader(self) -> Any:
        return shorter_loader()


@versions_that_note_updates_alone
def test_other_data_than_it_was_saved_with(version: str, tmp_path: Path) -> None:
    """Then nobody knows how long its epochs were: the next one begins, and that is said."""
    model = WithOtherData("sgd", record.Namespace(lr=0.1))
    with pytest.warns(UserWarning, match="after 4 updates.*With 2 batches.*epoch 1 begins"):
        _, _, watch = fit(FIXTURES / version / "by_saver.ckpt", "epochs", tmp_path, model=model)
    assert watch.seen[0] == (1, 0, 4)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(TensorDataset(record.numbers(8, 3), record.numbers(8, 2)))


class WithoutLength(record.Tiny):
    def train_dataloader(self) -> Any:
        return DataLoader(Stream(), batch_size=2)


@versions_that_note_updates_alone
def test_epochs_without_a_length(version: str, tmp_path: Path) -> None:
    model = WithoutLength("adam", record.Namespace(lr=0.1))
    with pytest.warns(UserWarning, match="does not say where in an epoch"):
        _, _, watch = fit(FIXTURES / version / "within_epoch.ckpt", "steps", tmp_path, model=model,
                          val_check_interval=1.0)  # fmt: skip
    assert watch.seen[0] == (2, 0, 7)


@versions_that_note_updates_alone
def test_windows_that_change_from_epoch_to_epoch(version: str, tmp_path: Path) -> None:
    """Two updates in the first epoch and one in those that follow: after three, two epochs are over."""
    schedule = GradientAccumulationScheduler({0: 2, 1: 4})
    file = tmp_path / "a.ckpt"
    checkpoint = read(FIXTURES / version / "after_window.ckpt")
    write(checkpoint, file)
    _, _, watch = fit(file, "windows", tmp_path, schedule, accumulate_grad_batches=1)
    assert watch.seen[0] == (2, 0, 3)


def test_a_file_without_any_position(tmp_path: Path) -> None:
    checkpoint = read(FIXTURES / "2.6.6" / "by_saver.ckpt")
    for key in ("loops", "pytorch-lightning_version"):
        del checkpoint[key]
    write(checkpoint, tmp_path / "a.ckpt")
    with pytest.warns(UserWarning, match="does not say where training stood"):
        _, _, watch = fit(tmp_path / "a.ckpt", "epochs", tmp_path)
    assert watch.seen[0] == (0, 0, 4)


# ----------------------------------------------------------------------------------------------- making again


@every_version
def test_a_module_is_made_again(version: str) -> None:
    model = record.Tiny.load_from_checkpoint(FIXTURES / version / "by_saver.ckpt")
    assert (model.optimizer_name, model.lr) == ("sgd", 0.1)  # the second from a Namespace
    assert model.hparams.options.lr == 0.1
    first = record.Tiny.load_from_checkpoint(FIXTURES / VERSIONS[0] / "by_saver.ckpt")
    assert all(a.allclose(b) for a, b in zip(model.parameters(), first.parameters(), strict=True))
    assert not model.layer.bias.equal(record.Tiny("sgd", record.Namespace(lr=0.1)).layer.bias)


# -------------------------------------------------------------------------------------------------- callbacks


@every_version
def test_callbacks_go_on(version: str, tmp_path: Path) -> None:
    """The folder that is named in the files is that of the run, so that the ranking goes on."""
    checkpoint = read(FIXTURES / version / "by_saver.ckpt")
    checkpoint["callbacks"] = replaced(checkpoint["callbacks"], "/tmp/lightning", str(tmp_path))
    write(checkpoint, tmp_path / "a.ckpt")
    stopping = EarlyStopping("vl", patience=50)
    saver = ModelCheckpoint(tmp_path / "checkpoints", monitor="vl", save_top_k=-1)
    fit(tmp_path / "a.ckpt", "epochs", tmp_path, stopping, saver, max_epochs=1)
    assert stopping.best_score.item() == pytest.approx(0.4802467, abs=1e-5)
    assert stopping.wait_count == 0
    assert saver.best_model_path.startswith(str(tmp_path / "checkpoints"))
    assert saver.best_model_score is not None
    assert saver.best_model_score.item() == pytest.approx(stopping.best_score.item())
    assert list(saver.best_k_models) == [saver.best_model_path] == [saver.kth_best_model_path]
