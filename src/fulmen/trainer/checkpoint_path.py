"""Which file a `ckpt_path` means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fulmen.base import files
from fulmen.base.report import warn
from fulmen.callbacks import ModelCheckpoint
from fulmen.callbacks.checkpoint_files import default_folder
from fulmen.errors import ConfigError

if TYPE_CHECKING:
    from fulmen.trainer import Trainer


def resolve_checkpoint_path(
    trainer: Trainer, ckpt_path: files.AnyPath | None, *, must_exist: bool
) -> str | None:
    """The path of a checkpoint: as given, or the newest for "last", or the best that was saved for "best"."""
    if ckpt_path is None:
        return None
    if ckpt_path == "best":
        return _best(trainer)
    if ckpt_path == "last":
        found = _newest(trainer)
        if found is None:
            message = "ckpt_path='last': no checkpoint was found in any folder that this Trainer saves to"
            if must_exist:
                raise ConfigError(f"{message}.")
            warn(f"{message}; training starts from the beginning.")
        return found
    if ckpt_path in ("hpc", "registry"):
        raise ConfigError(f"ckpt_path={ckpt_path!r} is not supported.", expected="a path, 'last' or 'best'")
    return files.absolute(ckpt_path)


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


def _newest(trainer: Trainer) -> str | None:
    """The checkpoint that was written last, in the folders that this Trainer saves to."""
    found: list[tuple[float, str]] = []
    for saver in trainer.checkpoint_callbacks:
        if isinstance(saver, ModelCheckpoint):
            folder = saver.dirpath or default_folder(trainer)
            for name in files.list_names(folder):
                if name.endswith(saver.FILE_EXTENSION) and not name.startswith("."):
                    path = files.join(folder, name)
                    found.append((files.modified_s(path), path))
    return max(found)[1] if found else None
