"""Small batches that wait for each other, and are added to the states of a metric together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fulmen.metrics.folding import States
from fulmen.metrics.metric import Metric

BLOCK = 49152
"""So many elements are computed with at once on a CPU: with their intermediate results they fit its cache."""

MOST_WAITING = 128
"""So many small batches wait for each other at the most."""


class BlockMetric(Metric):
    """A metric that keeps one tensor of a small batch as it is, and adds many of them to its states at once.

    The tensor is a new one, so that the batch may be written over. What waits is a state like the others, so
    that a run that is killed and goes on adds the same batches together; other processes get none of it.
    """

    _not_sent = ("recent",)
    recent: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("recent", [], dist_reduce_fx="cat")

    def _wait(self, kept: Tensor) -> None:
        """Keep what is needed of a batch until there are many."""
        recent = self.recent
        recent.append(kept)
        if len(recent) >= MOST_WAITING or len(recent) * kept.numel() > BLOCK:
            self._put_states(self._settled(self.metric_state))

    @abstractmethod
    def _with_waiting(self, states: States, waiting: list[Tensor]) -> States:
        """The states with what was kept of several batches added; `recent` stays as it is."""

    def _settled(self, states: States) -> States:
        """The states with all that waits in them added."""
        waiting: Any = states["recent"]
        if not waiting:
            return states
        if self.compute_on_cpu:
            waiting = [kept.to(self.device) for kept in waiting]
        return {**self._with_waiting(states, waiting), "recent": []}

    def combine_states(self, parts: list[States], counts: Sequence[int]) -> States:
        """The states of several batches or ranks as one."""
        combined = super().combine_states(parts, counts)
        return self._settled(combined) if len(combined["recent"]) >= MOST_WAITING else combined

    @property
    def _combines_jointly(self) -> bool:
        return type(self).combine_states is not BlockMetric.combine_states

    def _states_to_send(self) -> States:
        states = dict(self._settled(self.metric_state))
        del states["recent"]
        return states
