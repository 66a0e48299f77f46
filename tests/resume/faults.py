"""Saves in which one operation on files fails, or is the last thing that the process does.

Run as a script, for it forks: `python faults.py save|train FOLDER` prints what became of each fault, as JSON.
"""

from __future__ import annotations

import builtins
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.base.manifest import link_checkpoint, remove_checkpoint, save_tensors, verify
from fulmen.base.report import log
from fulmen.callbacks import ModelCheckpoint
from fulmen.errors import CheckpointError
from fulmen.loggers import CSVLogger

FINE, LOUD, UNCLEAR = 0, 3, 4  # exit codes: no error, a CheckpointError, another one
KILLED = -signal.SIGKILL

# ------------------------------------------------------------------------------------------------- the faults


class Disk:
    """Counts what is done to files in a folder, and strikes at one of the operations."""

    def __init__(self, folder: Path, *, strike_at: int = -1, mode: str = "fails") -> None:
        self.folder = str(folder)
        self.strike_at = strike_at
        self.mode = mode
        self.done: list[str] = []
        """What each operation was: its name and the kind of file."""

    def do(self, what: str, path: Any, call: Callable[[], Any]) -> Any:
        if not str(path).startswith(self.folder):
            return call()
        self.done.append(f"{what} {kind_of(Path(path))}")
        if len(self.done) - 1 != self.strike_at:
            return call()
        if self.mode == "fails":
            if what == "close":
                call()
            raise OSError(5, os.strerror(5), str(path))
        if self.mode == "dies after":
            with contextlib.suppress(OSError):
                call()
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, everything that is done goes through `do`."""
        opened: dict[int, Any] = {}
        originals = {
            (module, name): getattr(module, name)
            for module, name in (
                (builtins, "open"), (fcntl, "flock"), (os, "fsync"), (os, "mkdir"), (os, "open"),
                (os, "remove"), (os, "replace"), (os, "symlink"), (os, "unlink"),
            )
        }  # fmt: skip

        def patched(module: Any, name: str) -> Any:
            original = originals[module, name]

            def call(first: Any, *rest: Any, **options: Any) -> Any:
                if module is builtins:
                    file = original(first, *rest, **options)
                    if "w" not in (rest[0] if rest else "r"):
                        return file
                    file.close()  # so that it is there when the process dies after it
                    made = self.do("create", first, lambda: original(first, *rest, **options))
                    opened[made.fileno()] = first
                    return Watched(made, first, self)
                path = rest[0] if name == "symlink" else first
                if name in ("fsync", "flock"):
                    path = opened.get(first if isinstance(first, int) else first.fileno(), "elsewhere")
                made = self.do(name, path, lambda: original(first, *rest, **options))
                if name == "open":
                    opened[made] = first
                return made

            return call

        for module, name in originals:
            setattr(module, name, patched(module, name))
        try:
            yield
        finally:
            for (module, name), original in originals.items():
                setattr(module, name, original)


class Watched:
    """An open file whose operations go through a `Disk`."""

    def __init__(self, file: Any, path: Any, disk: Disk) -> None:
        self.file, self.path, self.disk = file, path, disk

    def write(self, data: Any) -> int:
        return self.disk.do("write", self.path, lambda: self.file.write(data))

    def flush(self) -> None:
        self.disk.do("flush", self.path, self.file.flush)

    def close(self) -> None:
        self.disk.do("close", self.path, self.file.close)

    def fileno(self) -> int:
        return self.file.fileno()

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def kind_of(path: Path) -> str:
    manifest = "manifest" if ".manifest" in path.name else "file"
    if path.name.endswith(".tmp"):
        return f"temporary {manifest}"
    return manifest if path.suffix else "folder"


def in_a_child(call: Callable[[], None]) -> int:
    """How a process ends that does this and nothing else."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = UNCLEAR
    try:
        call()
        code = FINE
    except CheckpointError:
        code = LOUD
    except BaseException as error:
        print(repr(error), file=sys.stderr)
    finally:
        os._exit(code)


# ------------------------------------------------------------------------------------------------- one save


def content(step: int) -> dict[str, Any]:
    return {"global_step": step, "weight": torch.full((300,), float(step))}


def replace(folder: Path) -> None:
    save_tensors(content(2), folder / "old.ckpt")


def add(folder: Path) -> None:
    save_tensors(content(2), folder / "new.ckpt")


def link(folder: Path) -> None:
    if not link_checkpoint(folder / "new.ckpt", folder / "old.ckpt"):
        raise CheckpointError("There is no link.")


def remove(folder: Path) -> None:
    remove_checkpoint(folder / "new.ckpt")


SAVES = {"replace": replace, "add": add, "link": link, "remove": remove}


def each_save(root: Path) -> Iterator[dict[str, Any]]:
    """What is in the folder after each fault, and after the same was done again without one."""
    add(root)  # what is imported late
    for name, act in SAVES.items():
        folder = root / name

        def prepare(folder: Path = folder, name: str = name) -> None:
            shutil.rmtree(folder, ignore_errors=True)
            save_tensors(content(1), folder / "old.ckpt")
            if name in ("link", "remove"):
                add(folder)

        prepare()
        dry = Disk(folder)
        with dry.watched():
            act(folder)
        for mode in ("fails", "dies before", "dies after"):
            for at, what in enumerate(dry.done):
                is_like_the_next = dry.done[at + 1 : at + 2] == [what]
                if is_like_the_next and (mode == "dies after" or name == "add"):
                    continue  # to die after a write is to die before the next; once is enough
                prepare()

                def strike(at: int = at, mode: str = mode, act: Any = act, folder: Path = folder) -> None:
                    with Disk(folder, strike_at=at, mode=mode).watched():
                        act(folder)

                ended = in_a_child(strike)
                found = look(folder)
                act(folder)
                yield {
                    "act": name, "what": what, "mode": mode, "ended": ended,
                    "found": found, "again": look(folder),
                }  # fmt: skip


def look(folder: Path) -> dict[str, Any]:
    """What a resume would see."""
    found: dict[str, Any] = {"temporaries": sorted(path.name for path in folder.glob(".*.tmp"))}
    for path in sorted(folder.glob("*.ckpt")):
        verdict = verify(path)
        step = -1
        if verdict.intact:
            loaded = torch.load(path, weights_only=True)
            step = loaded["global_step"]
            assert loaded["weight"].equal(content(step)["weight"])
        found[path.name] = [verdict.intact, verdict.checked_by, step]
    return found


# -------------------------------------------------------------------------------------------- whole trainings


class Net(pl.LightningModule):
    """Shuffled samples through dropout, so that little is as before if anything is not."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss = self.net(batch[0]).pow(2).mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


def train(folder: Path, disk: Disk | None = None) -> None:
    """Three epochs of two batches with default folders; leaves the weights in `end.pt`."""
    pl.seed_everything(3, workers=True, verbose=False)
    module = Net()
    data = DataLoader(TensorDataset(torch.arange(12.0).view(4, 3)), batch_size=2, shuffle=True)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=3, default_root_dir=folder, logger=CSVLogger(folder),
        callbacks=[ModelCheckpoint(save_last=True)], log_every_n_steps=1, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    with disk.watched() if disk is not None else contextlib.nullcontext():
        trainer.fit(module, data, ckpt_path="auto")
    torch.save(module.state_dict(), folder / "end.pt")


def each_training(root: Path) -> Iterator[dict[str, Any]]:
    """How a rerun ends after a fault in each kind of operation of the second epoch's saves."""
    train(root / "whole")
    dry = Disk(root / "dry" / "lightning_logs" / "version_0" / "checkpoints")
    train(root / "dry", dry)
    second = range(len(dry.done) // 3, 2 * len(dry.done) // 3)
    # The last of each kind; those that are close to another one would tell nothing new.
    places = {dry.done[at]: at for at in second if not dry.done[at].startswith(("close", "fl", "mkdir"))}
    for what, at in places.items():
        mode = ("fails", "dies before", "dies after")[at % 3]
        folder = root / f"{at}"
        disk = Disk(folder / "lightning_logs" / "version_0" / "checkpoints", strike_at=at, mode=mode)
        ended = in_a_child(lambda folder=folder, disk=disk: train(folder, disk))
        yield {
            "what": what, "mode": mode, "ended": ended,
            "rerun": in_a_child(lambda folder=folder: train(folder)),
            "same": outcome(folder) == outcome(root / "whole"),
            "files": sorted(path.name for path in (folder / "lightning_logs").rglob("*.ckpt")),
        }  # fmt: skip


def outcome(folder: Path) -> Any:
    """The weights, and the rows of the logger."""
    end = folder / "end.pt"
    weights = torch.load(end, weights_only=True) if end.exists() else {}
    rows = sorted(path.read_text() for path in folder.rglob("metrics.csv"))
    return {name: value.tolist() for name, value in weights.items()}, rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.fsync = lambda descriptor: None  # that it is called is counted; that it is slow helps nobody here
    log.setLevel("ERROR")
    warnings.simplefilter("ignore")
    for row in (each_save if sys.argv[1] == "save" else each_training)(Path(sys.argv[2])):
        print(json.dumps(row))
