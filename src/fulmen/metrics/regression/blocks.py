"""Batches added in blocks of a handy size: many small ones together, large ones in parts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor

from fulmen.metrics.blocks import BLOCK, BlockMetric
from fulmen.metrics.folding import States
from fulmen.metrics.regression.inputs import check_shapes


class ErrorMetric(BlockMetric):
    """A metric of predictions and targets; large batches are added to its states in parts."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        if preds.numel() > BLOCK:
            self._put_states(self._with_blocks(self.metric_state, blocks(self._part, preds, target)))
        else:
            self._wait(self._kept(preds, target))

    @abstractmethod
    def _kept(self, preds: Tensor, target: Tensor) -> Tensor:
        """What is kept of a small batch until it is added: a new tensor."""

    def _part(self, preds: Tensor, target: Tensor) -> Any:
        """What is added of a part of a large batch: the same, or what it is made of."""
        return self._kept(preds, target)

    @abstractmethod
    def _joined(self, batches: list[Tensor]) -> Any:
        """What was kept of several batches, as one part; a new tensor."""

    @abstractmethod
    def _with_blocks(self, states: States, parts: Iterable[Any]) -> States:
        """The states with parts added, which may be written over; `recent` stays as it is."""

    def _with_waiting(self, states: States, waiting: list[Tensor]) -> States:
        return self._with_blocks(states, [self._joined(waiting)])


def blocks(part: Callable[[Tensor, Tensor], Any], preds: Tensor, target: Tensor) -> Iterator[Any]:
    """What is to be added of a batch, in parts that fit the cache of a CPU; accelerators have it whole."""
    if preds.shape != target.shape:
        check_shapes(preds, target)
    size = preds.numel()
    if size <= BLOCK or preds.device.type != "cpu":
        yield part(preds, target)
        return
    length = max(1, BLOCK * len(preds) // size)
    yield from map(part, preds.split(length), target.split(length))
