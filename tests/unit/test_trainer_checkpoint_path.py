"""Which checkpoint "last", "auto", "best" and a path mean, and what is said of those that are damaged."""

from __future__ import annotations

import csv
import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.base import files
from fulmen.base.manifest import manifest_path, save_tensors
from fulmen.base.report import FulmenWarning
from fulmen.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from fulmen.errors import CheckpointError, CheckpointNotFoundError, ConfigError
from fulmen.loggers import CSVLogger, TensorBoardLogger

from .callbacks.scenarios import Scripted, batches, make_trainer, names

EPOCH = 4  # batches


def every_epoch(folder: Any, **arguments: Any) -> ModelCheckpoint:
    return ModelCheckpoint(folder, **({"save_top_k": -1, "filename": "{epoch}"} | arguments))


def train(
    root: Path, *callbacks: pl.Callback, ckpt_path: Any = None, **options: Any
) -> tuple[str | None, int]:
    """What a training in a new process starts from, and with which step."""
    started: list[int] = []

    class Watched(Scripted):
        def on_train_start(self) -> None:
            started.append(self.trainer.global_step)

    trainer = make_trainer(root, *callbacks, **options)
    trainer.fit(Watched((3, 1, 2)), batches(EPOCH), batches(1), ckpt_path=ckpt_path)
    return trainer.ckpt_path, started[0] if started else -1


def again(root: Path, folder: Any = None, ckpt_path: Any = "auto", **options: Any) -> tuple[str | None, int]:
    """The same for a rerun that has an epoch more to train."""
    path, step = train(root, every_epoch(folder or root), ckpt_path=ckpt_path, max_epochs=4, **options)
    return path and Path(path).name, step


def set_age(*paths: Path | str, at: float = 1e9) -> None:
    """Give files the same date, or each the next second."""
    for path in paths:
        os.utime(path, (at, at))


# -------------------------------------------------------------------------------------------------- damage


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_short_by_a_byte(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def flipped_in_the_weights(path: Path) -> None:
    content = bytearray(path.read_bytes())
    weight = torch.load(path, weights_only=True)["state_dict"]["layer.weight"]
    content[content.index(weight.numpy().tobytes())] ^= 1
    path.write_bytes(content)


def flipped_in_a_header(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x03\x04", 10)] ^= 1
    path.write_bytes(content)


def flipped_in_the_manifest(path: Path) -> None:
    manifest = Path(manifest_path(path))
    text = manifest.read_text()
    manifest.write_text(text[:-3] + ("0" if text[-3] != "0" else "1") + text[-2:])


def unreadable_manifest(path: Path) -> None:
    Path(manifest_path(path)).write_text("{")


def truncated_before_its_manifest(path: Path) -> None:
    Path(manifest_path(path)).unlink()
    truncated(path)


def replaced_by_a_text(path: Path) -> None:
    Path(manifest_path(path)).unlink()
    path.write_text("precious")


DAMAGES: tuple[Callable[[Path], None], ...] = (
    truncated, cut_short_by_a_byte, emptied, flipped_in_the_weights, flipped_in_a_header,
    flipped_in_the_manifest, unreadable_manifest, truncated_before_its_manifest, replaced_by_a_text,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_is_damaged_is_named_and_the_one_before_is_taken(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    train(tmp_path, every_epoch(tmp_path))
    newest = tmp_path / "epoch=2.ckpt"
    modified = newest.stat().st_mtime
    damage(newest)
    set_age(newest, at=modified)
    with pytest.warns(FulmenWarning, match=r"epoch=2\.ckpt is passed over: \w+"):
        assert again(tmp_path) == ("epoch=1.ckpt", 2 * EPOCH)


def test_without_a_manifest_the_checkpoint_is_still_good(tmp_path: Path) -> None:
    """As after a crash right before it was written."""
    train(tmp_path, every_epoch(tmp_path))
    (tmp_path / ".epoch=2.ckpt.manifest").unlink()
    assert again(tmp_path) == ("epoch=2.ckpt", 3 * EPOCH)


@pytest.mark.parametrize("ckpt_path", ["auto", "last"])
def test_where_all_are_damaged_training_starts_from_the_beginning(ckpt_path: str, tmp_path: Path) -> None:
    train(tmp_path, every_epoch(tmp_path), max_epochs=2)
    for path in tmp_path.glob("*.ckpt"):
        emptied(path)
    with pytest.warns(FulmenWarning) as caught:
        assert again(tmp_path, ckpt_path=ckpt_path) == (None, 0)
    texts = [str(warning.message) for warning in caught]
    assert sum("passed over" in text for text in texts) == 2
    assert sum("starts from the beginning" in text for text in texts) == (ckpt_path == "last")
    assert {"epoch=0.ckpt", "epoch=0-v1.ckpt"} <= set(names(tmp_path))  # nothing is overwritten


# ------------------------------------------------------------------------------------ which is the newest


def test_auto_without_anything_is_no_reason_to_warn(tmp_path: Path) -> None:
    assert train(tmp_path, every_epoch(tmp_path), ckpt_path="auto") == (None, 0)


def test_auto_without_any_callback_that_saves(tmp_path: Path) -> None:
    assert train(tmp_path, ckpt_path="auto") == (None, 0)


def test_last_without_anything_is_one(tmp_path: Path) -> None:
    with pytest.warns(FulmenWarning, match="starts from the beginning"):
        assert train(tmp_path, every_epoch(tmp_path), ckpt_path="last") == (None, 0)


@pytest.mark.parametrize("ckpt_path", ["auto", "last"])
def test_the_one_written_last_is_taken(ckpt_path: str, tmp_path: Path) -> None:
    train(tmp_path, every_epoch(tmp_path))
    set_age(tmp_path / "epoch=0.ckpt", at=3e9)
    assert again(tmp_path, ckpt_path=ckpt_path) == ("epoch=0.ckpt", EPOCH)


def test_at_the_same_moment_progress_decides(tmp_path: Path) -> None:
    """Names do not: the tenth epoch sorts before the second."""
    train(tmp_path, every_epoch(tmp_path, filename="{epoch}"), max_epochs=11)
    set_age(*tmp_path.glob("*.ckpt"))
    path, step = train(tmp_path, every_epoch(tmp_path), ckpt_path="auto", max_epochs=12)
    assert (path and Path(path).name, step) == ("epoch=10.ckpt", 11 * EPOCH)


def test_of_two_that_were_saved_at_one_step_the_later_one_is_taken(tmp_path: Path) -> None:
    """Names do not decide here either."""

    def savers() -> list[ModelCheckpoint]:
        later = every_epoch(tmp_path, filename="a {epoch}", monitor="val_loss")
        return [every_epoch(tmp_path, filename="b {epoch}"), later]

    train(tmp_path, *savers())
    set_age(*tmp_path.glob("*.ckpt"))
    path, step = train(tmp_path, *savers(), ckpt_path="auto", max_epochs=4)
    assert (path and Path(path).name, step) == ("a epoch=2.ckpt", 3 * EPOCH)


def test_at_the_same_moment_what_is_damaged_is_named_too(tmp_path: Path) -> None:
    train(tmp_path, every_epoch(tmp_path))
    truncated(tmp_path / "epoch=1.ckpt")
    set_age(*tmp_path.glob("*.ckpt"))
    with pytest.warns(FulmenWarning, match="epoch=1"):
        assert again(tmp_path) == ("epoch=2.ckpt", 3 * EPOCH)


@pytest.mark.parametrize("save_last", [True, "link"])
def test_the_last_one_may_be_a_copy_or_a_link(save_last: Any, tmp_path: Path) -> None:
    train(tmp_path, every_epoch(tmp_path, save_last=save_last))
    assert again(tmp_path)[1] == 3 * EPOCH


def test_a_link_to_nothing_is_no_checkpoint(tmp_path: Path) -> None:
    train(tmp_path, every_epoch(tmp_path, save_last="link"))
    files.remove(tmp_path / "epoch=2.ckpt")
    assert (tmp_path / "last.ckpt").is_symlink()
    assert again(tmp_path) == ("epoch=1.ckpt", 2 * EPOCH)


def test_a_link_to_another_folder_counts(tmp_path: Path) -> None:
    train(tmp_path / "a", every_epoch(tmp_path / "a"))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "start.ckpt").symlink_to(tmp_path / "a" / "epoch=1.ckpt")
    with pytest.warns(FulmenWarning, match="ranking starts anew"):
        assert again(tmp_path, tmp_path / "b") == ("start.ckpt", 2 * EPOCH)


def test_what_is_being_written_or_hidden_is_no_checkpoint(tmp_path: Path) -> None:
    train(tmp_path, every_epoch(tmp_path))
    for name in (".epoch=3.ckpt.0123abcd.tmp", ".hidden.ckpt", "epoch=3.ckpt.tmp"):
        (tmp_path / name).write_bytes((tmp_path / "epoch=0.ckpt").read_bytes())
    assert again(tmp_path) == ("epoch=2.ckpt", 3 * EPOCH)


def test_names_with_folders_in_them(tmp_path: Path) -> None:
    train(tmp_path, every_epoch(tmp_path, filename="{epoch}/{step}"))
    saver = every_epoch(tmp_path, filename="{epoch}/{step}")
    path, step = train(tmp_path, saver, ckpt_path="auto", max_epochs=4)
    assert (path, step) == (str(tmp_path / "epoch=2" / "step=12.ckpt"), 3 * EPOCH)


def test_what_an_exception_or_a_signal_left_counts(tmp_path: Path) -> None:
    train(tmp_path, every_epoch(tmp_path))
    content = torch.load(tmp_path / "epoch=0.ckpt", weights_only=True)
    save_tensors(content, tmp_path / "interrupted.ckpt")
    assert again(tmp_path) == ("interrupted.ckpt", EPOCH)
    save_tensors(content, tmp_path / "other" / "on_exception.ckpt")
    savers = every_epoch(tmp_path), OnExceptionCheckpoint(tmp_path / "other")
    path, step = train(tmp_path, *savers, ckpt_path="auto", max_epochs=5)
    assert (path, step) == (str(tmp_path / "other" / "on_exception.ckpt"), EPOCH)


def test_weights_alone_are_nothing_to_go_on_from(tmp_path: Path) -> None:
    train(tmp_path, every_epoch(tmp_path), max_epochs=1)
    train(
        tmp_path,
        every_epoch(tmp_path, filename="weights", save_weights_only=True),
        max_epochs=2,
        ckpt_path="auto",
    )
    assert "weights.ckpt" in names(tmp_path)
    with pytest.warns(FulmenWarning, match="weights only"):
        assert again(tmp_path) == ("epoch=0.ckpt", EPOCH)
    set_age(tmp_path / "weights.ckpt", at=3e9)
    trainer = make_trainer(tmp_path, every_epoch(tmp_path))
    trainer.validate(Scripted(), batches(1), ckpt_path="last", verbose=False)
    assert trainer.ckpt_path == str(tmp_path / "weights.ckpt")


def test_behind_a_url(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    folder = f"memory://{uuid.uuid4().hex}"
    try:
        train(tmp_path, every_epoch(folder))
        newest = files.join(folder, "epoch=2.ckpt")
        assert files.exists(manifest_path(newest))
        with files.open_file(newest, "wb") as file:
            file.write(b"torn")
        with pytest.warns(FulmenWarning, match="4 bytes, not the"):
            assert again(tmp_path, folder) == ("epoch=1.ckpt", 2 * EPOCH)
    finally:
        files.remove(folder)


def test_empty_path_of_a_saver_that_has_saved_nothing(tmp_path: Path) -> None:
    with pytest.warns(FulmenWarning, match="no checkpoint is loaded"):
        assert train(tmp_path, ckpt_path=ModelCheckpoint().best_model_path) == (None, 0)
    module = Scripted()
    with torch.no_grad():
        module.layer.weight.fill_(5)
    trainer = make_trainer(tmp_path)
    with pytest.warns(FulmenWarning, match="no checkpoint is loaded"):
        trainer.validate(module, batches(1), ckpt_path="")
    assert (module.layer.weight == 5).all()


@pytest.mark.parametrize("ckpt_path", ["auto", "last"])
@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_to_look_at_weights_there_have_to_be_some(method: str, ckpt_path: str, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, every_epoch(tmp_path))
    with pytest.raises(ConfigError, match=f"No checkpoint was found(.|\n)*{ckpt_path}"):
        getattr(trainer, method)(Scripted(), batches(1), ckpt_path=ckpt_path)
    train(tmp_path, every_epoch(tmp_path))
    trainer = make_trainer(tmp_path, every_epoch(tmp_path))
    getattr(trainer, method)(Scripted(), batches(1), ckpt_path=ckpt_path)
    assert trainer.ckpt_path == str(tmp_path / "epoch=2.ckpt")


# ------------------------------------------------------------------------------------- the same files go on


def test_what_was_found_goes_in_its_turn(tmp_path: Path) -> None:
    """The files are those of a run that was never stopped; a checkpoint that the user named stays."""
    for ckpt_path, kept in (
        ("auto", []),
        (tmp_path / "named" / "epoch=0-step=4.ckpt", ["epoch=0-step=4.ckpt"]),
    ):
        folder = tmp_path / ("named" if kept else "found")
        train(folder, ModelCheckpoint(folder), max_epochs=1)
        train(folder, ModelCheckpoint(folder), ckpt_path=ckpt_path)
        assert names(folder) == [*kept, "epoch=2-step=12.ckpt"]


class Fails(Scripted):
    """Ends as suddenly as a process that is killed, but for the test going on."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.trainer.global_step == self.at:
            raise SystemExit
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", float(self.trainer.global_step))


def run(
    root: Path, *, at: int = -1, ckpt_path: Any = "auto", loggers: Any = None, **arguments: Any
) -> pl.Trainer:
    """A run with default folders, in a process of its own, that ends at a step."""
    logger = [make(root) for make in loggers or [CSVLogger]]
    trainer = make_trainer(root, ModelCheckpoint(**arguments), logger=logger)
    try:
        trainer.fit(Fails(at), batches(EPOCH), batches(1), ckpt_path=ckpt_path)
    except SystemExit:
        assert at >= 0
    return trainer


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def versions(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "lightning_logs").iterdir())


def test_a_rerun_goes_on_in_the_same_version(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    for at in (6, 9, -1):
        run(tmp_path / "parts", at=at)
    assert versions(tmp_path / "parts") == versions(tmp_path / "whole") == ["version_0"]
    whole, parts = (tmp_path / kind / "lightning_logs" / "version_0" for kind in ("whole", "parts"))
    assert rows(parts / "metrics.csv") == rows(whole / "metrics.csv")
    assert names(parts) == names(whole)


def test_a_rerun_without_anything_saved_begins_a_new_version(tmp_path: Path) -> None:
    run(tmp_path, at=2)
    run(tmp_path)
    assert versions(tmp_path) == ["version_0", "version_1"]


def test_the_newest_of_all_versions_is_taken(tmp_path: Path) -> None:
    for ckpt_path in (None, None, None):
        run(tmp_path, at=6, ckpt_path=ckpt_path)
    found = tmp_path / "lightning_logs" / "version_1" / "checkpoints" / "epoch=0-step=4.ckpt"
    set_age(found, at=3e9)
    trainer = run(tmp_path)
    assert trainer.ckpt_path == str(found)
    assert trainer.logger is not None
    assert trainer.logger.version == 1
    assert versions(tmp_path) == ["version_0", "version_1", "version_2"]


def test_a_checkpoint_that_was_named_begins_a_new_version(tmp_path: Path) -> None:
    """As in Lightning."""
    run(tmp_path, at=6)
    with pytest.warns(FulmenWarning, match="ranking starts anew"):
        run(tmp_path, ckpt_path=tmp_path / "lightning_logs/version_0/checkpoints/epoch=0-step=4.ckpt")
    assert versions(tmp_path) == ["version_0", "version_1"]


@pytest.mark.parametrize("version", [3, "mine"])
def test_a_version_that_was_chosen_is_the_only_one_looked_at(version: Any, tmp_path: Path) -> None:
    run(tmp_path, at=6)

    def make(root: Path) -> CSVLogger:
        return CSVLogger(root, version=version)

    trainer = run(tmp_path, at=6, loggers=[make])
    assert trainer.ckpt_path is None
    trainer = run(tmp_path, loggers=[make])
    folder = "mine" if version == "mine" else "version_3"
    assert trainer.ckpt_path == str(
        tmp_path / "lightning_logs" / folder / "checkpoints" / "epoch=0-step=4.ckpt"
    )
    assert versions(tmp_path) == sorted([folder, "version_0"])


def test_each_logger_goes_on_in_its_own_version(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")

    def elsewhere(root: Path) -> CSVLogger:
        return CSVLogger(root, name="other")

    (tmp_path / "other" / "version_4").mkdir(parents=True)
    loggers = [CSVLogger, elsewhere, TensorBoardLogger]
    run(tmp_path, at=6, loggers=loggers)
    before = versions(tmp_path)
    trainer = run(tmp_path, loggers=loggers)
    assert versions(tmp_path) == before
    assert [logger.version for logger in trainer.loggers][:2] == [0, 5]
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["version_4", "version_5"]


def test_within_one_process_other_versions_are_not_looked_at(tmp_path: Path) -> None:
    trainer = run(tmp_path, at=6)
    other = run(tmp_path, at=9, ckpt_path=None)
    set_age(*Path(other.checkpoint_callback.dirpath).glob("*.ckpt"), at=3e9)
    trainer.fit(Scripted(), batches(EPOCH), batches(1), ckpt_path="last")
    assert "version_0" in str(trainer.ckpt_path)
    other = make_trainer(tmp_path, ModelCheckpoint(), logger=trainer.loggers)
    other.fit(Scripted(), batches(EPOCH), batches(1), ckpt_path="last")
    assert "version_0" in str(other.ckpt_path)


def test_evaluation_finds_the_same_and_writes_elsewhere(tmp_path: Path) -> None:
    run(tmp_path)
    logger = CSVLogger(tmp_path)
    trainer = make_trainer(tmp_path, ModelCheckpoint(), logger=logger)
    trainer.validate(Scripted([1.0]), batches(1), ckpt_path="last", verbose=False)
    assert "version_0" in str(trainer.ckpt_path)
    assert logger.version == 1


# -------------------------------------------------------------------------------------------- best, and paths


def scored(root: Path) -> pl.Trainer:
    trainer = make_trainer(root, ModelCheckpoint(root, monitor="val_loss", filename="{epoch}"))
    trainer.fit(Scripted((3, 1, 2)), batches(EPOCH), batches(1))
    return trainer


def test_best_says_what_it_took(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = scored(tmp_path)
    with caplog.at_level(logging.INFO, logger="fulmen"):
        trainer.validate(ckpt_path="best", dataloaders=batches(1), verbose=False)
    assert f"ckpt_path='best' is {tmp_path / 'epoch=1.ckpt'}" in caplog.messages


def test_a_damaged_best_one_is_an_error_that_names_it(tmp_path: Path) -> None:
    trainer = scored(tmp_path)
    truncated(tmp_path / "epoch=1.ckpt")
    with pytest.raises(
        CheckpointError, match=r"(?s)damaged: .*epoch=1\.ckpt.*bytes, not.*fix: ckpt_path='last'"
    ):
        trainer.validate(ckpt_path="best", dataloaders=batches(1))


def test_a_best_one_that_is_gone_is_one_too(tmp_path: Path) -> None:
    trainer = scored(tmp_path)
    files.remove(tmp_path / "epoch=1.ckpt")
    with pytest.raises(CheckpointNotFoundError, match=r"epoch=1\.ckpt"):
        trainer.validate(ckpt_path="best", dataloaders=batches(1))


@pytest.mark.parametrize("manifest", [True, False])
def test_a_path_to_damaged_weights_is_an_error(manifest: bool, tmp_path: Path) -> None:
    """torch.load would not see it."""
    train(tmp_path, every_epoch(tmp_path), max_epochs=1)
    path = tmp_path / "epoch=0.ckpt"
    flipped_in_the_weights(path)
    if not manifest:
        Path(manifest_path(path)).unlink()
    with pytest.raises(CheckpointError, match=r"damaged: .*epoch=0\.ckpt"):
        again(tmp_path, ckpt_path=path)


def test_a_path_to_what_was_rewritten_on_purpose_is_taken(tmp_path: Path) -> None:
    """As scripts do that mend checkpoints; "last" cannot know, and takes the one before."""
    train(tmp_path, every_epoch(tmp_path), max_epochs=2)
    path = tmp_path / "epoch=1.ckpt"
    content = torch.load(path, weights_only=True)
    torch.save(content | {"hyper_parameters": {}, "note": "mended"}, path)
    with pytest.warns(
        FulmenWarning, match=r"was changed after it was saved.*delete .*epoch=1\.ckpt\.manifest"
    ):
        assert again(tmp_path, ckpt_path=path) == ("epoch=1.ckpt", 2 * EPOCH)
