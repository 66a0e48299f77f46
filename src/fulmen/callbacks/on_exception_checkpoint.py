"""Saves a run that an exception ends, and lets the next one go on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fulmen.base import files
from fulmen.base.report import info
from fulmen.callbacks.checkpoint import Checkpoint, try_to_save
from fulmen.errors import ConfigError

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer


class OnExceptionCheckpoint(Checkpoint):
    """Writes `<dirpath>/<filename>.ckpt` when training is interrupted or fails.

    A later fit that is given no checkpoint resumes from this file, and removes it when it has gone well.
    """

    FILE_EXTENSION: str = ".ckpt"

    def __init__(self, dirpath: files.AnyPath, filename: str = "on_exception") -> None:
        if not filename:
            raise ConfigError("OnExceptionCheckpoint needs a file name.", received=f"filename={filename!r}")
        self.dirpath = dirpath
        self.filename = filename

    @property
    def ckpt_path(self) -> str:
        """The file that is written."""
        return files.join(self.dirpath, self.filename + self.FILE_EXTENSION)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if (
            stage == "fit"
            and not trainer.ckpt_path
            and not trainer.fast_dev_run
            and files.exists(self.ckpt_path)
        ):
            info(f"Going on from where an exception ended the last run: {self.ckpt_path}")
            trainer.ckpt_path = self.ckpt_path

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and not trainer.fast_dev_run:
            try_to_save(trainer, lambda: trainer.save_checkpoint(self.ckpt_path))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.fast_dev_run:
            trainer.strategy.remove(self.ckpt_path)
