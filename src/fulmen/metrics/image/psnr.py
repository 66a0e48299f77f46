"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fulmen.metrics.arguments import check_among
from fulmen.metrics.image.images import (
    REDUCTIONS,
    Range,
    Reduction,
    limits_and_width,
    prepare,
    reduce_scores,
)
from fulmen.metrics.metric import Metric

Dims = int | tuple[int, ...] | None


def peak_signal_noise_ratio(
    preds: Tensor,
    target: Tensor,
    data_range: Range = 3.0,
    base: float = 10.0,
    reduction: Reduction = "elementwise_mean",
    dim: Dims = None,
) -> Tensor:
    """See `fulmen.metrics.PeakSignalNoiseRatio`."""
    check_among("reduction", reduction, REDUCTIONS)
    limits, width = limits_and_width(data_range)
    preds, target = prepare(preds, target, limits)
    ratios = _decibels(_mean_squared(preds - target, dim), width, base)
    return ratios if dim is None else reduce_scores(ratios, reduction)


class PeakSignalNoiseRatio(Metric):
    """10 log(range² / mean squared error), in decibels where the logarithm is of base 10.

    `preds` and `target` are of one shape, of any type. Infinite where they are equal.

    Args:
        data_range: how far apart the least and the greatest possible value are; or both, as (least,
            greatest), and what lies beyond is clamped. The default is torchmetrics', and seldom right.
        base: of the logarithm.
        reduction: of the ratios, where `dim` leaves several: "elementwise_mean", "sum", or "none" for all of
            them, in one dimension.
        dim: the dimensions that errors are averaged over, (1, 2, 3) for a ratio per image; None for one ratio
            of everything.
    """

    is_differentiable = True
    higher_is_better = True
    sum_squared_error: Tensor
    ratio: Any
    total: Tensor

    def __init__(
        self,
        data_range: Range = 3.0,
        base: float = 10.0,
        reduction: Reduction = "elementwise_mean",
        dim: Dims = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_among("reduction", reduction, REDUCTIONS)
        self.limits, self.width = limits_and_width(data_range)
        self.base, self.reduction, self.dim = base, reduction, dim
        if dim is None:
            self.add_state("sum_squared_error", torch.zeros((), dtype=torch.float64), "sum")
        elif reduction in ("none", None):
            self.add_state("ratio", [], "cat")
        else:
            self.add_state("ratio", torch.zeros((), dtype=torch.float64), "sum")
        self.add_state("total", torch.tensor(0), "sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add images."""
        preds, target = prepare(preds, target, self.limits)
        if self.dim is None:
            squared = (preds - target).square().sum(dtype=self.sum_squared_error.dtype)
            self.sum_squared_error = self.sum_squared_error + squared
            self.total = self.total + preds.numel()
            return
        ratios = _decibels(_mean_squared(preds - target, self.dim), self.width, self.base)
        self.total = self.total + ratios.numel()
        if isinstance(self.ratio, list):
            self.ratio.append(ratios.flatten())
        else:
            self.ratio = self.ratio + ratios.sum(dtype=self.ratio.dtype)

    def compute(self) -> Tensor:
        """The ratio of everything; or the ratios, reduced."""
        if self.dim is None:
            value = _decibels(self.sum_squared_error / self.total, self.width, self.base)
        elif isinstance(self.ratio, list):
            value = torch.cat(self.ratio) if self.ratio else torch.empty(0, device=self.device)
        else:
            value = self.ratio / self.total if self.reduction == "elementwise_mean" else self.ratio
        return value.to(self.dtype)


def _mean_squared(errors: Tensor, dim: Dims) -> Tensor:
    squared = errors.square()
    return squared.mean() if dim is None else squared.mean(dim)


def _decibels(mean_squared_error: Tensor, width: float, base: float) -> Tensor:
    return (2 * math.log(width) - mean_squared_error.log()) * (10 / math.log(base))
