"""Losses of samples, and their mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fulmen.metrics.classification.inputs import Inputs, as_scores, check_values
from fulmen.metrics.classification.options import Option
from fulmen.metrics.dtypes import widest
from fulmen.metrics.metric import Metric

Losses = tuple[Tensor, Tensor | int]
"""The loss of each sample, [N] or [N, K], 0 where it is ignored; and how many are not, for each K."""


class MeanLoss(Metric):
    """Base of what is a mean of losses.

    Args:
        options: of the function that gives the losses.
        size: the shape of the value.
    """

    is_differentiable = True
    higher_is_better = False
    total: Tensor
    count: Tensor
    num_classes = Option("_options")
    num_labels = Option("_options")
    squared = Option("_options")
    multiclass_mode = Option("_options")
    ignore_index = Option("_options")
    validate_args = Option("_options")

    def __init__(self, options: dict[str, Any], size: tuple[int, ...] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._options = options
        self.add_state("total", torch.zeros(size, dtype=torch.float64), "sum")
        self.add_state("count", torch.zeros(size, dtype=torch.int64), "sum")

    _losses: Callable[..., Losses]
    """The losses of a batch: `losses(preds, target, **options)`."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch of scores and labels."""
        losses, count = self._losses(preds, target, **self._options)
        total = self.total + losses.sum(0, dtype=self.total.dtype)
        self._put_states({"total": total, "count": self.count + count})

    def compute(self) -> Tensor:
        """The mean loss; NaN of no samples."""
        return (self.total / self.count).to(self.dtype)


def mean_of(losses: Tensor, count: Tensor | int) -> Tensor:
    """The mean loss, in the type of the losses."""
    return (losses.sum(0, dtype=widest(losses)) / count).to(losses.dtype)


def checked(inputs: Inputs, values: int, validate_args: bool | None) -> Inputs:
    """Inputs whose predictions are scores, in float32 at least; labels to be ignored become 0."""
    preds, target, ignored = inputs
    preds = as_scores(preds)
    check_values((preds, target, ignored), values, validate_args)
    return preds, target if ignored is None else target.masked_fill(ignored, 0), ignored


def without(ignored: Tensor | None, losses: Tensor) -> Losses:
    """Losses with 0 where they are ignored; those of samples in the first dimension."""
    if ignored is None:
        return losses, len(losses)
    return losses.masked_fill(ignored, 0), (~ignored).sum(0)
