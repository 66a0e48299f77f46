"""Batches added in blocks of a handy size: many small ones together, large ones in parts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor

from fulmen.metrics.folding import States
from fulmen.metrics.metric import Metric
from fulmen.metrics.regression.inputs import check_shapes

BLOCK = 32768
"""So many elements are computed with at once on a CPU: with their intermediate results they fit its cache."""

MOST_WAITING = 64
"""So many small batches wait for each other at the most."""


class BlockMetric(Metric):
    """A metric that keeps one tensor of a small batch as it is, and adds many of them to its states at once.

    The tensor is a new one, so that the batch may be written over. What waits is a state like the others.
    """

    recent: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("recent", [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        size = preds.numel()
        if size > BLOCK:
            self._put_states(self._with_blocks(self.metric_state, blocks(self._kept, preds, target)))
            return
        recent = self.recent
        recent.append(self._kept(preds, target))
        if len(recent) >= MOST_WAITING or len(recent) * size > BLOCK:
            self._put_states(self._settled(self.metric_state))

    @abstractmethod
    def _kept(self, preds: Tensor, target: Tensor) -> Tensor:
        """What is kept of a batch until it is added: a new tensor."""

    @abstractmethod
    def _joined(self, batches: list[Tensor]) -> Tensor:
        """What was kept of several batches as one."""

    @abstractmethod
    def _with_blocks(self, states: States, kept: Iterable[Tensor]) -> States:
        """The states with what was kept added; `recent` stays as it is."""

    def _settled(self, states: States) -> States:
        """The states with all that waits in them added."""
        recent: Any = states["recent"]
        if not recent:
            return states
        if self.compute_on_cpu:
            recent = [batch.to(self.device) for batch in recent]
        return {**self._with_blocks(states, [self._joined(recent)]), "recent": []}

    def combine_states(self, parts: list[States], counts: Sequence[int]) -> States:
        """The states of several batches or ranks as one."""
        combined = super().combine_states(parts, counts)
        return self._settled(combined) if len(combined["recent"]) >= MOST_WAITING else combined


def blocks(kept: Callable[[Tensor, Tensor], Tensor], preds: Tensor, target: Tensor) -> Iterator[Tensor]:
    """What is kept of a batch, in parts that fit the cache of a CPU; accelerators have it whole."""
    if preds.shape != target.shape:
        check_shapes(preds, target)
    size = preds.numel()
    if size <= BLOCK or preds.device.type != "cpu":
        yield kept(preds, target)
        return
    length = max(1, BLOCK * len(preds) // size)
    yield from map(kept, preds.split(length), target.split(length))
