"""Where checkpoints go to and come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from fulmen.base.manifest import link_checkpoint, remove_checkpoint, save_tensors
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

    def link_checkpoint(self, path: str, link: str) -> bool:
        """Make `link` lead to the checkpoint at `path`; False where that is impossible."""
        return link_checkpoint(path, link)

    def finish(self) -> None:
        """Wait until all that was asked for is done."""

    def raise_pending_error(self) -> None:
        """Raise, once, what went wrong after the call that asked for it; `fit` asks at each step's end."""

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
        save_tensors(checkpoint, path)

    def load_checkpoint(
        self, path: str, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        # A state may be far larger than what one device has room for, so it is read on the host.
        return load_tensors(path, map_location=map_location or "cpu", weights_only=weights_only is not False)

    def remove_checkpoint(self, path: str) -> None:
        remove_checkpoint(path)
