"""Time limits that all ranks see pass at the same batch."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fulmen.trainer import Trainer


def has_passed(trainer: Trainer, deadline_s: float, *, at_once: bool = False) -> bool:
    """Whether `time.monotonic` of rank 0 is past `deadline_s`; to be asked by every rank.

    Several ranks have to talk about it, so they look once in `log_every_n_steps` updates, unless `at_once`.
    """
    if trainer.world_size == 1:
        return monotonic() >= deadline_s
    if not at_once and trainer.global_step % (trainer.log_every_n_steps or 1):
        return False
    return trainer.strategy.broadcast(monotonic() >= deadline_s)
