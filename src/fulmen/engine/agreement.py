"""How processes see to it that all of them train on equally many batches: one alone would wait for ever."""

from __future__ import annotations

import time

import torch

from fulmen.base.report import warn
from fulmen.engine.combined_loader import length_of
from fulmen.engine.data import Loaders
from fulmen.runtime.collectives import Collectives

EVERY_S = 0.5


class SignalAgreement:
    """Lets all processes end a training at the same step when any of them was told to end.

    They ask each other about twice a second; after how many steps, they agree on as well.
    """

    def __init__(self, collectives: Collectives) -> None:
        self._collectives = collectives
        self._interval_steps = self._left = 1
        self._asked_s = time.monotonic()

    def ask(self, heard: int | None) -> int | None:
        """The signal that ends the training at this step, if any process got one; called after each step."""
        self._left -= 1
        if self._left:
            return None
        now_s = time.monotonic()
        step_s = max((now_s - self._asked_s) / self._interval_steps, 1e-6)
        wanted_steps = min(max(round(EVERY_S / step_s), 1), 2 * self._interval_steps)
        # The longest wait of all: it is the same for all, and nobody asks too often.
        asked = self._collectives.all_reduce(torch.tensor([heard or 0, wanted_steps]), "max")
        signum, self._interval_steps = asked.tolist()
        self._left, self._asked_s = self._interval_steps, time.monotonic()
        return signum or None


def agree_on_length(loaders: Loaders, collectives: Collectives) -> None:
    """Let an epoch be as long as that of the rank with the fewest batches, where that is known."""
    own = torch.tensor([loaders.lengths[0], length_of(loaders.loaders[0])], dtype=torch.float64)
    lengths, natural = collectives.all_gather(own).T.tolist()
    loaders.are_counted = max(natural) < float("inf")
    if len(set(lengths)) > 1:
        warn(
            f"The processes have unequal numbers of training batches ({', '.join(map(_words, lengths))}): "
            "each epoch ends when the first of them has none left."
        )
    loaders.lengths = [min(lengths)]


def all_have(one: bool, collectives: Collectives) -> bool:
    """Whether every rank has what this one may have; asked on the host, so that no device waits."""
    return bool(collectives.all_reduce(torch.tensor(int(one)), "min"))


def _words(length: float) -> str:
    return "unknown" if length == float("inf") else f"{length:.0f}"
