"""The base class of callbacks that write checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fulmen.base.report import warn
from fulmen.core.callback import Callback

if TYPE_CHECKING:
    from fulmen.trainer import Trainer


class Checkpoint(Callback):
    """Runs after all other callbacks, so that what it saves is the state that they are in."""

    monitors_metrics = True
    saves_checkpoints = True


def try_to_save(trainer: Trainer, save: Callable[[], None]) -> None:
    """Save while an exception is on its way; if that fails too, the user still has to see the first one."""
    if trainer.world_size > 1:
        warn("No checkpoint is written after the exception: that takes all processes, and one may be gone.")
        return
    try:
        save()
    except Exception as failure:
        warn(f"No checkpoint could be written after the exception: {failure}")
