"""Where checkpoints go to and come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from fulmen.base import files
from fulmen.base.safe_load import load_tensors
from fulmen.errors import ConfigError


class CheckpointIO(ABC):
    """Reads and writes whole checkpoints; pass one in `Trainer(plugins=...)` to keep them elsewhere."""

    @abstractmethod
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
        """Write `checkpoint` so that it is complete or not there at all."""

    @abstractmethod
    def load_checkpoint(
        self, path: str, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint."""

    @abstractmethod
    def remove_checkpoint(self, path: str) -> None:
        """Delete a checkpoint; nothing happens where there is none."""

    def teardown(self) -> None:
        """Finish what is still being written."""


class TorchCheckpointIO(CheckpointIO):
    """One file per checkpoint, in torch's format, on any file system that fsspec knows."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
        if storage_options is not None:
            raise ConfigError(
                "`storage_options` mean nothing to TorchCheckpointIO.",
                received=storage_options,
                fix="a CheckpointIO of your own in Trainer(plugins=...)",
            )
        files.save_tensors(checkpoint, path)

    def load_checkpoint(
        self, path: str, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        # A state may be far larger than what one device has room for, so it is read on the host.
        return load_tensors(path, map_location=map_location or "cpu", weights_only=weights_only is not False)

    def remove_checkpoint(self, path: str) -> None:
        files.remove(path)
