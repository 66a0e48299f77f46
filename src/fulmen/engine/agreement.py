"""What processes agree on so that none is left waiting: how long an epoch is, when it ends or validates."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from fulmen.base.report import warn
from fulmen.engine.combined_loader import length_of
from fulmen.engine.data import Loaders
from fulmen.engine.loaders import StandIn
from fulmen.engine.sharding import Counts, samples_in
from fulmen.engine.validation import interval_has_passed
from fulmen.runtime.collectives import Collectives

if TYPE_CHECKING:
    from fulmen.engine.run import Run

EVERY_S = 0.5


class Agreement:
    """Lets all processes do the same after the same step, whichever of them has a reason for it.

    That is to end for a signal or a request to stop that any of them got, and to validate when rank 0's clock
    says so. They ask each other about twice a second; after how many steps, they agree on as well.
    """

    def __init__(self, collectives: Collectives) -> None:
        self._collectives = collectives
        self._interval_steps = self._left = 1
        self._asked_s = time.monotonic()

    def ask(self, run: Run) -> None:
        """Have all know what any of them knows; called after each step."""
        self._left -= 1
        if self._left:
            return
        now_s = time.monotonic()
        step_s = max((now_s - self._asked_s) / self._interval_steps, 1e-6)
        wanted_steps = min(max(round(EVERY_S / step_s), 1), 2 * self._interval_steps)
        is_time = run.strategy.is_global_zero and interval_has_passed(run)
        # The longest wait of all: it is the same for all, and nobody asks too often.
        own = torch.tensor([run.signals.heard or 0, wanted_steps, run.stop.requested, is_time])
        signum, self._interval_steps, stops, is_time = self._collectives.all_reduce(own, "max").tolist()
        self._left, self._asked_s = self._interval_steps, time.monotonic()
        run.signals.noted = run.signals.noted or signum or None
        run.time_says_validate = bool(is_time)
        _hear_of_stop(run, bool(stops))


def agree_on_stop(run: Run) -> None:
    """Have all processes of a training know whether any of them asked to stop."""
    if run.together is not None:
        requested = torch.tensor(int(run.stop.requested))
        _hear_of_stop(run, bool(run.strategy.reduce(requested, "max")))


def _hear_of_stop(run: Run, stops: bool) -> None:
    if stops and not run.stop.is_due:
        reasons = run.strategy.collectives.gather_objects(run.stop.reason)
        run.stop.request(next(filter(None, reasons), None))
    run.stop.is_due = stops


def agree_on_length(loaders: Loaders, collectives: Collectives, *, joins: bool) -> None:
    """Let an epoch be as long as that of the rank with the fewest batches, where that is known.

    Where ranks that have none left join the others, as that of the rank with the most.
    """
    counts = count_batches(loaders.loaders[0], collectives)
    lengths = collectives.all_gather(torch.tensor(loaders.lengths[0], dtype=torch.float64)).tolist()
    loaders.are_counted = max(counts.batches) < float("inf")
    if joins:
        loaders.counts = counts if loaders.are_counted else None
        loaders.lengths = [max(lengths)]
        return
    if len(set(lengths)) > 1:
        warn(
            f"The processes have unequal numbers of training batches ({', '.join(map(_words, lengths))}): "
            "each epoch ends when the first of them has none left. DDPStrategy(uneven='join') trains on all."
        )
    loaders.lengths = [min(lengths)]


def count_batches(loader: Any, collectives: Collectives) -> Counts:
    """How many batches, and samples, each rank has of a loader."""
    given = loader.given if isinstance(loader, StandIn) else loader
    own = torch.tensor([length_of(loader), *samples_in(given)], dtype=torch.float64)
    batches, samples, sizes = collectives.all_gather(own).T.tolist()
    return Counts(batches, list(map(int, samples)), list(map(int, sizes)))


def _words(length: float) -> str:
    return "unknown" if length == float("inf") else f"{length:.0f}"
