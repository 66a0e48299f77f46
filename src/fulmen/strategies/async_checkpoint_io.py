"""Checkpoints that are written while training goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fulmen.errors import CheckpointError
from fulmen.strategies.checkpoint_io import CheckpointIO, TorchCheckpointIO
from fulmen.strategies.host_copies import HostCopies


class AsyncCheckpointIO(CheckpointIO):
    """Has a thread write, through another CheckpointIO, a copy of the state: only the copying is waited for.

    All is done one after the other in the order in which it was asked for: an old checkpoint is removed only
    once the new one is complete. A save waits for the one before, so that there is never more than one copy
    beside the state itself; its memory is kept for the next one. What fails is raised at the end of a later
    step, or when the run ends, and until then nothing is removed.
    """

    def __init__(self, checkpoint_io: CheckpointIO | None = None) -> None:
        self.checkpoint_io = checkpoint_io or TorchCheckpointIO()
        self._copies = HostCopies()
        self._saved: tuple[dict[str, Any], str, Any] | None = None
        """What the last save was given, the copy in place of the state."""
        self._writer: ThreadPoolExecutor | None = None  # whose thread an exiting interpreter waits for
        self._error: CheckpointError | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
        self.finish()
        self._saved = None  # its memory goes to the next copy
        self._saved = (self._copies.take(checkpoint), path, storage_options)
        self._queue("written", path, self.checkpoint_io.save_checkpoint, *self._saved, always=True)

    def load_checkpoint(
        self, path: str, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        self.finish()
        return self.checkpoint_io.load_checkpoint(path, map_location, weights_only)

    def remove_checkpoint(self, path: str) -> None:
        self._queue("removed", path, self.checkpoint_io.remove_checkpoint, path)

    def link_checkpoint(self, path: str, link: str) -> bool:
        if self._saved is None or self._saved[1] != path:  # then it could not be written instead
            self.finish()
            return self.checkpoint_io.link_checkpoint(path, link)
        self._queue("written", link, self._link_or_save, self._saved, link)
        return True

    def _link_or_save(self, saved: tuple[dict[str, Any], str, Any], link: str) -> None:
        checkpoint, path, storage_options = saved
        if not self.checkpoint_io.link_checkpoint(path, link):
            self.checkpoint_io.save_checkpoint(checkpoint, link, storage_options)

    def finish(self) -> None:
        if self._writer is not None:
            self._writer.shutdown()
            self._writer = None

    def raise_pending_error(self) -> None:
        if self._error is not None:
            self.finish()  # removals that were asked for must not be done because the error is forgotten
            error, self._error = self._error, None
            raise error

    def teardown(self) -> None:
        self.finish()
        self._copies, self._saved = HostCopies(), None
        self.checkpoint_io.teardown()
        self.raise_pending_error()

    def _queue(
        self, done: str, path: str, call: Callable[..., object], *args: Any, always: bool = False
    ) -> None:
        """Have `call` called when all before it is done; after an error, only with `always`."""
        self._writer = self._writer or ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._writer.submit(self._do, done, path, call, *args, always=always)

    def _do(self, done: str, path: str, call: Callable[..., object], *args: Any, always: bool) -> None:
        if self._error is not None and not always:
            return
        try:
            call(*args)
        except BaseException as error:
            self._error = self._error or _as_checkpoint_error(error, done, path)


def _as_checkpoint_error(error: BaseException, done: str, path: str) -> CheckpointError:
    if isinstance(error, CheckpointError):
        return error
    failure = CheckpointError(
        f"The checkpoint could not be {done}.", received=f"{path}: {type(error).__name__}: {error}"
    )
    failure.__cause__ = error
    return failure
