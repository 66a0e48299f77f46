"""Which file a `ckpt_path` means."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any

from fulmen.base import files
from fulmen.base.manifest import manifest_path, verify
from fulmen.base.report import info, warn
from fulmen.base.safe_load import load_tensors
from fulmen.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from fulmen.callbacks.checkpoint_files import default_folder, visible_names
from fulmen.engine.checkpoint import OWN_KEY
from fulmen.engine.interruption import FILE_NAME
from fulmen.errors import CheckpointError, ConfigError
from fulmen.loggers.folder import FolderLogger
from fulmen.trainer.requeue import Requeue

if TYPE_CHECKING:
    from fulmen.trainer import Trainer


def find_checkpoint_to_fit(
    trainer: Trainer, ckpt_path: files.AnyPath | None, left: str | None = None
) -> str | None:
    """The checkpoint that training goes on from; where it is the newest one of before, so do the loggers.

    `left` is what this very fit was saved to when its job was interrupted: it counts in place of a path.
    """
    wants_newest = ckpt_path in ("last", "auto")
    known = [*(_candidates(trainer) if wants_newest else ()), *([left] if left else ())]
    path, content = _newest_intact(trainer, dict.fromkeys(known), to_train=True)
    if path is None and not wants_newest:
        _tell_savers(trainer, None)
        return _resolve(trainer, ckpt_path)
    _tell_savers(trainer, path)
    if path is not None:
        positions = content.get(OWN_KEY, {}).get("loggers", ())
        for logger, position in zip(trainer.loggers, positions, strict=False):
            if isinstance(logger, FolderLogger):
                logger.go_on_at(position)
    elif ckpt_path == "last":
        warn(f"{_NOTHING_FOUND}; training starts from the beginning.")
    return path


def find_checkpoint_to_evaluate(trainer: Trainer, ckpt_path: files.AnyPath | None) -> str | None:
    """The checkpoint whose weights are looked at; None for the present ones."""
    if ckpt_path not in ("last", "auto"):
        return _resolve(trainer, ckpt_path)
    path, _ = _newest_intact(trainer, _candidates(trainer), to_train=False)
    if path is None:
        raise ConfigError(f"{_NOTHING_FOUND}.", received=f"ckpt_path={ckpt_path!r}")
    return path


def path_when_interrupted(trainer: Trainer, requeue: Requeue | None = None) -> str | None:
    """Where a run is saved that a signal ends: beside the checkpoints of the first that saves them.

    One that comes back is saved in any case, to a file that no other run has.
    """
    saver = next((c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)), None)
    folder = None if saver is None else saver.dirpath
    if requeue is not None:
        return files.join(folder or trainer.default_root_dir, requeue.file_name)
    if saver is None or folder is None or trainer.fast_dev_run:
        return None
    return files.join(folder, FILE_NAME + saver.FILE_EXTENSION)


_NOTHING_FOUND = "No checkpoint was found in any folder that this Trainer saves to"


def _resolve(trainer: Trainer, ckpt_path: files.AnyPath | None) -> str | None:
    if ckpt_path is None:
        return None
    if ckpt_path == "":
        warn("ckpt_path='', as of a ModelCheckpoint that has saved nothing: no checkpoint is loaded.")
        return None
    if ckpt_path == "best":
        path = _best(trainer)
        info(f"ckpt_path='best' is {path}")
        _demand_intact(path, fix="ckpt_path='last' for the newest intact one, or the path of another one")
        return path
    if ckpt_path in ("hpc", "registry"):
        raise ConfigError(
            f"ckpt_path={ckpt_path!r} is not supported.", expected="a path, 'auto', 'last' or 'best'"
        )
    path = files.absolute(ckpt_path)
    if not files.is_url(path):  # what is far away is not read twice
        _demand_intact(
            path, fix="the path of another checkpoint, or ckpt_path='last' for the newest intact one"
        )
    return path


def _best(trainer: Trainer) -> str:
    savers = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
    best = next((saver.best_model_path for saver in savers if saver.best_model_path), None)
    if best is None:
        raise ConfigError(
            "ckpt_path='best': no best checkpoint was saved.",
            received="no ModelCheckpoint" if not savers else "a ModelCheckpoint that has saved nothing",
            fix="fit with a ModelCheckpoint first, or pass a path",
        )
    return best


def _demand_intact(path: str, *, fix: str) -> None:
    """Raise `CheckpointError` for a damaged file; one that was rewritten on purpose is none."""
    verdict = verify(path)
    if verdict.intact or not files.exists(path):  # of a missing file, the one who reads it tells
        return
    if not verify(path, by_manifest=False).intact:
        raise CheckpointError(f"The checkpoint is damaged: {path}", received=verdict.problem, fix=fix)
    warn(
        f"{path} was changed after it was saved: {verdict.problem}. If that was meant to be, delete "
        f"{manifest_path(path)}"
    )


def _tell_savers(trainer: Trainer, path: str | None) -> None:
    for saver in trainer.checkpoint_callbacks:
        if isinstance(saver, ModelCheckpoint):
            saver.own_start = path


# --------------------------------------------------------------------------------------------- the newest one


def _newest_intact(
    trainer: Trainer, paths: Iterable[str], *, to_train: bool
) -> tuple[str | None, dict[str, Any]]:
    """The newest of these checkpoints that can be used, and what is in it; the others are warned of."""
    for path in _newest_first(paths):
        verdict = verify(path)
        problem = verdict.problem
        if verdict.intact:
            content, problem = _look_into(trainer, path)
            if problem is None and to_train and "optimizer_states" not in content:
                problem = "it holds weights only"
            if problem is None:
                return path, content
        warn(f"The checkpoint {path} is passed over: {problem}.")
    return None, {}


def _look_into(trainer: Trainer, path: str) -> tuple[dict[str, Any], str | None]:
    """What a checkpoint holds, or why it cannot be used."""
    try:
        try:
            content = load_tensors(path, mmap=True)
        except CheckpointError:  # of another format, which the one who wrote it can read
            content = trainer.strategy.checkpoint_io.load_checkpoint(path)
    except Exception as error:  # anybody's CheckpointIO may raise anything
        return {}, str(error).replace("\n", ";")
    return (content, None) if isinstance(content, dict) else ({}, "it is not a checkpoint")


def _newest_first(paths: Iterable[str]) -> Iterator[str]:
    """By when they were written; those of one tick of the clock by how far training had come."""
    dated: list[tuple[float, str]] = []
    for path in paths:
        with suppress(FileNotFoundError):  # a link to nothing, or removed a moment ago
            dated.append((files.modified_s(path), path))
    for _, group in groupby(sorted(dated, reverse=True), key=lambda found: found[0]):
        same = [path for _, path in group]
        yield from sorted(same, key=_saves, reverse=True) if len(same) > 1 else same


def _saves(path: str) -> tuple[float, float]:
    """Updates, and checkpoints that were written, over the whole training that a checkpoint is of."""
    try:
        content = load_tensors(path, mmap=True)
        return content["global_step"], content.get(OWN_KEY, {}).get("progress", {}).get("saves", 0)
    except (CheckpointError, LookupError, TypeError, AttributeError):
        return math.inf, 0  # whatever it is, it is looked at first


def _candidates(trainer: Trainer) -> list[str]:
    """Every checkpoint in the folders that this Trainer saves to; no link to another one of them."""
    found: list[str] = []
    for saver in trainer.checkpoint_callbacks:
        if isinstance(saver, ModelCheckpoint):
            for folder in [saver.dirpath] if saver.dirpath else _default_folders(trainer):
                names = f"{saver.filename} {saver.CHECKPOINT_NAME_LAST}"
                found.extend(_files_below(folder, saver.FILE_EXTENSION, levels=names.count("/")))
        elif isinstance(saver, OnExceptionCheckpoint):
            found.append(files.absolute(saver.ckpt_path))
    links = [path for path in found if not files.is_url(path) and os.path.islink(path)]
    others = dict.fromkeys(path for path in found if path not in links)
    targets = {os.path.realpath(path) for path in others if not files.is_url(path)}
    return [*others, *(path for path in dict.fromkeys(links) if os.path.realpath(path) not in targets)]


def _default_folders(trainer: Trainer) -> list[str]:
    """That of this run, once it has written there; till then, those of all versions of the experiment."""
    own = default_folder(trainer)
    logger = trainer.loggers[0] if trainer.loggers else None
    if not isinstance(logger, FolderLogger) or files.exists(own):
        return [own]
    return [default_folder(trainer, version) for version in logger.past_versions()] or [own]


def _files_below(folder: str, extension: str, *, levels: int) -> Iterator[str]:
    for name in visible_names(folder):
        path = files.join(folder, name)
        if name.endswith(extension):
            yield path
        elif levels and files.is_folder(path):
            yield from _files_below(path, extension, levels=levels - 1)
