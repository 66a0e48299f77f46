"""The law: a training that was killed and taken up, however often, is the one that was never interrupted."""

from __future__ import annotations

import functools
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fulmen as pl
from fulmen.loggers import CSVLogger

from . import feeds
from .journal import Journal, RowKeeper, differences, global_generators
from .nets import Average, Net, end_of

SEED = 20
MOST_SHOWN = 8  # differences in the message of an error
# A kill takes nothing from the disk's cache, so files in memory are as good, and fsync does not wait.
FAST_FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}


def seed_like_a_script() -> None:
    """What most scripts begin with."""
    pl.seed_everything(SEED, workers=True, verbose=False)


def seed_by_hand() -> None:
    """What scripts do that know nothing of `seed_everything`."""
    torch.manual_seed(SEED)
    np.random.seed(SEED)
    random.seed(SEED)


@dataclass(frozen=True, eq=False)
class Case:
    """How to train. Everything is built anew for each process."""

    title: str
    loader: Callable[[], Any] = feeds.shuffled
    module: Callable[[Journal], pl.LightningModule] = Net
    validation: Callable[[], Any] | None = feeds.validation_data
    datamodule: Callable[[], pl.LightningDataModule] | None = None
    options: Callable[[], dict[str, Any]] = dict
    """More arguments of the Trainer."""
    callbacks: Callable[[Path], list[pl.Callback]] = lambda folder: [Average()]
    seed: Callable[[], object] = seed_like_a_script
    window: int = 1
    """The longest accumulation window."""

    def __str__(self) -> str:
        return self.title.replace(" ", "_")


@dataclass(frozen=True)
class Moment:
    """When a process saves, and when it is killed."""

    hook: str
    batches: int
    """It saves in the first such hook after so many batches of its own."""
    survives: int = 0
    """Batches that it goes on for after that; what it does in them is lost."""
    by_a_plain_callback: bool = False
    """Whether one of the user's callbacks saves, that does not come after all others."""

    def __str__(self) -> str:
        more = f"_then_{self.survives}_more" if self.survives else ""
        plain = "_plainly" if self.by_a_plain_callback else ""
        return f"{self.hook.removeprefix('on_')}_{self.batches}{more}{plain}"


def after(batches: int, **options: Any) -> Moment:
    """Right after a batch."""
    return Moment("on_train_batch_end", batches, **options)


class Killed(BaseException):
    """Ends a training like a kill: nobody may handle it."""


class Killer(pl.Callback):
    """Saves at the moment, notes where the journal was, and ends the process that this stands for."""

    def __init__(self, moment: Moment, path: Path, journal: Journal) -> None:
        self.moment, self.path, self.journal = moment, path, journal
        self.batches = 0
        self.has_asked = False
        self.saved_after_batch: int | None = None
        self.saved_at = 0
        """Events before the save."""

    def act(self, hook: str, trainer: pl.Trainer) -> None:
        if trainer.sanity_checking:
            return
        if hook == self.moment.hook and self.batches >= self.moment.batches and not self.has_asked:
            trainer.save_checkpoint(self.path)
            self.has_asked = True
        if self.saved_after_batch is None and self.path.exists():  # within a batch or a window, a save waits
            self.saved_after_batch, self.saved_at = self.batches, len(self.journal.events)
        if (
            self.saved_after_batch is not None
            and self.batches >= self.saved_after_batch + self.moment.survives
        ):
            raise Killed

    def on_train_epoch_start(self, trainer: Any, *args: Any) -> None:
        self.act("on_train_epoch_start", trainer)

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        self.act("on_train_batch_start", trainer)

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        self.batches += 1
        self.act("on_train_batch_end", trainer)

    def on_validation_start(self, trainer: Any, *args: Any) -> None:
        self.act("on_validation_start", trainer)

    def on_validation_batch_end(self, trainer: Any, *args: Any) -> None:
        self.act("on_validation_batch_end", trainer)

    def on_validation_end(self, trainer: Any, *args: Any) -> None:
        self.act("on_validation_end", trainer)

    def on_train_epoch_end(self, trainer: Any, *args: Any) -> None:
        self.act("on_train_epoch_end", trainer)


class LastKiller(Killer, pl.callbacks.Checkpoint):
    """Comes after all other callbacks, as those do that save checkpoints."""


def make_killer(moment: Moment, path: Path, journal: Journal) -> Killer:
    return (Killer if moment.by_a_plain_callback else LastKiller)(moment, path, journal)


@dataclass
class Trace:
    """A whole training: what happened, and what it left in the process and in its folder."""

    events: list[Any]
    end: dict[str, Any] = field(default_factory=dict)


def train(
    case: Case,
    folder: Path,
    journal: Journal,
    *,
    killer: Killer | None = None,
    ckpt_path: Path | str | None = None,
) -> Trace:
    """Build everything and train, as one process does."""
    callbacks = [*case.callbacks(folder), *([killer] if killer else [])]
    options = {
        "max_epochs": 2,
        "log_every_n_steps": 2,
        "logger": [CSVLogger(folder, name="logs", version="run"), RowKeeper(journal)],
        "enable_checkpointing": any(isinstance(callback, pl.callbacks.Checkpoint) for callback in callbacks),
        "default_root_dir": folder,
    }
    trainer = pl.Trainer(**options | QUIET | case.options(), callbacks=callbacks)
    module = case.module(journal)
    if case.datamodule is None:
        loaders = case.loader(), case.validation and case.validation()
        trainer.fit(module, *loaders, ckpt_path=ckpt_path)
    else:
        trainer.fit(module, datamodule=case.datamodule(), ckpt_path=ckpt_path)
    return Trace(
        journal.events, {**end_of(trainer), "generators": global_generators(), "files": files_in(folder)}
    )


def files_in(folder: Path) -> dict[str, Any]:
    """Text files with their lines; of checkpoints and event files only the names."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {
        str(path.relative_to(folder)): path.read_text().splitlines()
        if path.suffix in (".csv", ".yaml")
        else ""
        for path in found
    }


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=FAST_FOLDER)


@functools.cache
def train_whole(case: Case) -> Trace:
    """Without an interruption."""
    with temporary_folder() as folder:
        case.seed()
        return without_folder(train(case, Path(folder), Journal()), folder)


def without_folder(trace: Trace, folder: str) -> Trace:
    """The same, wherever it was."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {clean(key): clean(item) for key, item in value.items()}
        if isinstance(value, list):
            return [clean(item) for item in value]
        return value.replace(folder, "<folder>") if isinstance(value, str) else value

    return Trace(clean(trace.events), clean(trace.end))


def become_another_process(case: Case, number: int) -> None:
    """Nothing is left of what the generators were; the script begins anew, and draws numbers as it likes."""
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        os.environ.pop(name, None)
    case.seed()
    for _ in range(number):
        feeds.from_all()


def assert_law(case: Case, *moments: Moment) -> None:
    """Killed at each of these moments, one after the other, the training is what it would have been."""
    whole = train_whole(case)
    assert any(event[0] == "batch" for event in whole.events)
    with temporary_folder() as folder, temporary_folder() as aside:
        saved_at, path = 0, None
        for number, moment in enumerate(moments):
            journal = Journal()
            killer = make_killer(moment, Path(aside) / f"{number}.ckpt", journal)
            start_process(case, number)
            try:
                train(case, Path(folder), journal, killer=killer, ckpt_path=path)
            except Killed:
                pass
            else:
                raise AssertionError(f"{moment} never came")
            start = place(whole.events, journal.events, saved_at, case.window)
            saved_at, path = start + killer.saved_at, killer.path
        start_process(case, len(moments))
        found = without_folder(train(case, Path(folder), Journal(), ckpt_path=path), folder)
    start = place(whole.events, found.events, saved_at, case.window)
    assert start + len(found.events) == len(whole.events), (
        f"ends after {start + len(found.events)} instead of {len(whole.events)} events"
    )
    # A checkpoint that was written after the one that the next process went on from may stay behind.
    files = {n: content for n, content in found.end["files"].items() if n in whole.end["files"] or content}
    differing = list(differences(found.end | {"files": files}, whole.end))
    assert not differing, "\n".join([f"{len(differing)} differences at the end", *differing[:MOST_SHOWN]])


def start_process(case: Case, number: int) -> None:
    """Begin as the first one, or as one that comes after it."""
    if number:
        become_another_process(case, number)
    else:
        case.seed()


def place(whole: Sequence[Any], events: Sequence[Any], saved_at: int, window: int) -> int:
    """Where in the whole training a process began that went on from a save at `saved_at`.

    It may repeat what was done of a validation, and less than one accumulation window; it may skip nothing.
    """
    for start in range(saved_at, -1, -1):
        if sum(event[0] == "batch" for event in whole[start:saved_at]) >= window:
            break
        if list(whole[start : start + len(events)]) == list(events):
            return start
    pairs = zip(events, whole[saved_at:], strict=False)
    differing = [
        line for i, (e, w) in enumerate(pairs) for line in differences(e, w, f"event {saved_at + i}")
    ]
    listed = [f"{event}" for event in events[:2]]
    raise AssertionError(
        "\n".join(
            ["not what the whole training did from there on", *differing[:MOST_SHOWN], "it began:", *listed]
        )
    )
