"""Whatever fails in a save, and wherever it is killed: a complete checkpoint is found, and resumed from."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.base.manifest import remove_checkpoint, verify
from fulmen.base.report import FulmenWarning
from fulmen.callbacks import ModelCheckpoint
from fulmen.errors import CheckpointError

from . import faults
from .faults import FINE, KILLED, LOUD

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to kill processes at a moment")


def run_script(*arguments: Any) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, faults.__file__, *map(str, arguments)], capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@forks
def test_every_operation_of_a_save_may_fail_or_be_the_last(tmp_path: Path) -> None:
    rows = run_script("save", tmp_path)
    kinds = {row["what"] for row in rows}
    for what in ("create", "flush", "write", "fsync", "replace", "close"):
        assert {f"{what} temporary file", f"{what} temporary manifest"} <= kinds
    assert {"remove manifest", "remove file", "symlink temporary file", "fsync folder"} <= kinds
    harmless = {"mkdir folder", "flock temporary file", "flock temporary manifest"}
    for row in rows:
        found, mode, act = row["found"], row["mode"], row["act"]
        files = {name: state for name, state in found.items() if name != "temporaries"}
        note = json.dumps(row)

        assert all(intact for intact, _, _ in files.values()), note
        if mode == "fails":
            link_is_whole = act == "link" and row["what"] == "remove manifest"
            assert row["ended"] == (FINE if row["what"] in harmless or link_is_whole else LOUD), note
            assert not found["temporaries"], note
        else:
            assert row["ended"] == KILLED, note
        if act == "add":
            assert files["old.ckpt"] == [True, "manifest", 1], note
        else:
            assert files["old.ckpt"][2] in (1, 2), note

        again = row["again"]
        assert not again["temporaries"], note  # what the killed one has left is gone
        assert again["old.ckpt"] == [True, "manifest", 1 if act in ("add", "remove") else 2], note
        assert again.get("new.ckpt", again["old.ckpt"])[1] == "manifest", note
        assert ("new.ckpt" in again) is (act in ("add", "link")), note


@forks
def test_a_rerun_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """Killed or failed in the second of three epochs; weights, rows and files are the same in the end."""
    rows = run_script("train", tmp_path)
    assert len(rows) >= 10
    assert {row["mode"] for row in rows} == {"fails", "dies before", "dies after"}
    for row in rows:
        assert row["ended"] == (LOUD if row["mode"] == "fails" else KILLED), row
        assert row["rerun"] == FINE, row
        assert row["same"], row
        assert row["files"] == ["epoch=2-step=6.ckpt", "last.ckpt"], row


# ------------------------------------------------------------------------- disks that are full, or not ours

EPOCHS = 5
CHECKPOINT_BYTES = 100_000


class Heavy(pl.LightningModule):
    """Whose checkpoints are a bit larger than that."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(3, 1)
        self.register_buffer("ballast", torch.zeros(CHECKPOINT_BYTES // 4))

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return self.net(batch[0]).pow(2).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(saver: ModelCheckpoint, folder: Path, epochs: int = EPOCHS) -> pl.Trainer:
    """A training of one step per epoch that goes on where there is something to go on from."""
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, callbacks=[saver], default_root_dir=folder,
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(Heavy(), DataLoader(TensorDataset(torch.ones(2, 3)), batch_size=2), ckpt_path="auto")
    return trainer


def keep_all(folder: Path, **arguments: Any) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1, **arguments)


def contents(folder: Path) -> list[str]:
    """What is there, hidden files too; each checkpoint is intact and has its manifest."""
    names = sorted(path.name for path in folder.iterdir())
    checkpoints = [name for name in names if not name.startswith(".")]
    assert names == sorted([*checkpoints, *(f".{name}.manifest" for name in checkpoints)])
    assert all(verify(folder / name).intact for name in checkpoints)
    return checkpoints


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system with room for two checkpoints."""
    folder.mkdir()
    size = f"size={CHECKPOINT_BYTES * 14 // 5}"
    try:
        run = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, text=True
        )
        refused = run.stderr
    except FileNotFoundError as error:
        refused = str(error)
    if not os.path.ismount(folder):
        pytest.skip(f"no small disk can be mounted here: {refused.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def no_larger_files_than(limit_bytes: int) -> Iterator[None]:
    """As on a disk that is full, for any user and on any file system."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_the_run_and_leaves_what_was_there(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as folder:
        saver = keep_all(folder)
        with pytest.raises(CheckpointError, match=r"epoch=2\.ckpt: No space left on device"):
            fit(saver, tmp_path)
        assert contents(folder) == ["epoch=0.ckpt", "epoch=1.ckpt"]
        assert saver.best_model_path == str(folder / "epoch=1.ckpt")
        remove_checkpoint(folder / "epoch=0.ckpt")
        trainer = fit(keep_all(folder), tmp_path, epochs=3)
        assert trainer.ckpt_path == str(folder / "epoch=1.ckpt")
        assert contents(folder) == ["epoch=1.ckpt", "epoch=2.ckpt"]


def test_a_full_disk_may_be_put_up_with(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as folder:
        saver = keep_all(folder, on_save_error="warn")
        with pytest.warns(FulmenWarning, match="No space left on device") as caught:
            trainer = fit(saver, tmp_path)
        assert trainer.current_epoch == EPOCHS
        assert saver.failed_saves == len(caught) == EPOCHS - 2
        assert contents(folder) == ["epoch=0.ckpt", "epoch=1.ckpt"]


def test_a_disk_with_room_for_one_more_is_enough(tmp_path: Path) -> None:
    """The old one is there until the new one is, and no longer."""
    with small_disk(tmp_path / "disk") as folder:
        fit(ModelCheckpoint(folder, filename="{epoch}"), tmp_path)
        assert contents(folder) == [f"epoch={EPOCHS - 1}.ckpt"]


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_a_write_that_is_refused_says_why(share: float, tmp_path: Path) -> None:
    """Also where torch, which does the writing, would only say that it is at another position."""
    folder = tmp_path / "kept"
    fit(keep_all(folder), tmp_path, epochs=1)
    size = (folder / "epoch=0.ckpt").stat().st_size
    reason = os.strerror(errno.EFBIG)
    with (
        no_larger_files_than(int(share * size)),
        pytest.raises(CheckpointError, match=rf"epoch=1\.ckpt: {reason}"),
    ):
        fit(keep_all(folder), tmp_path)
    assert contents(folder) == ["epoch=0.ckpt"]
    assert fit(keep_all(folder), tmp_path, epochs=2).ckpt_path == str(folder / "epoch=0.ckpt")
    assert contents(folder) == ["epoch=0.ckpt", "epoch=1.ckpt"]


def test_a_disk_that_became_read_only(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as folder:
        fit(keep_all(folder), tmp_path, epochs=1)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        with pytest.raises(CheckpointError, match=r"epoch=1\.ckpt: Read-only file system"):
            fit(keep_all(folder), tmp_path)
        assert contents(folder) == ["epoch=0.ckpt"]


@forks
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """By an ordinary user; the administrator may do anything."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # where every user can look
    try:
        fit(keep_all(folder), tmp_path, epochs=1)
        folder.chmod(0o555)
        script = NOBODY.format(folder=str(folder))
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
        assert f"{folder}/epoch=1.ckpt: Permission denied" in done.stdout, done.stderr
        assert contents(folder) == ["epoch=0.ckpt"]
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


NOBODY = """
import os
import torch
from fulmen.base.manifest import remove_checkpoint, save_tensors
from fulmen.errors import CheckpointError

def save(name):
    save_tensors({{"weight": torch.zeros(3)}}, {folder!r} + "/" + name)

try:  # what is imported late, while it may be
    save("early.ckpt")
    remove_checkpoint({folder!r} + "/early.ckpt")
except CheckpointError:
    pass
if os.geteuid() == 0:
    os.setuid(65534)
try:
    save("epoch=1.ckpt")
except CheckpointError as error:
    print(error)
"""
