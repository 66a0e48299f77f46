"""Errors in proportion to what was to be predicted."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from fulmen.metrics.dtypes import result_dtype, widest
from fulmen.metrics.metric import Metric
from fulmen.metrics.regression.inputs import check_shapes, paired, widened
from fulmen.metrics.regression.mean_error import ErrorSum, penalty_mean

EPSILON = torch.finfo(torch.float64).eps
"""The least that is divided by, as in scikit-learn: values may be small, and not be zero."""


class RelativeError(ErrorSum):
    """A mean of what needs predictions and targets themselves, and not only their differences."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def _kept(self, preds: Tensor, target: Tensor) -> Tensor:
        return flat_pairs(preds, target)

    def _joined(self, batches: list[Tensor]) -> Tensor:
        return torch.cat(batches, 1)


def flat_pairs(preds: Tensor, target: Tensor) -> Tensor:
    """Predictions and targets of one shape, whichever, in one tensor of shape `(2, elements)`."""
    if preds.shape != target.shape:
        check_shapes(preds, target)
    return paired(preds.reshape(-1), target.reshape(-1))


def share(pairs: Tensor) -> Tensor:
    """Differences in units of the targets."""
    preds, target = pairs
    return (preds - target).abs() / target.abs().clamp(min=EPSILON)


def symmetric_share(pairs: Tensor) -> Tensor:
    """Differences in units of the mean size of prediction and target."""
    preds, target = pairs
    return 2 * (preds - target).abs() / pairs.abs().sum(0).clamp(min=EPSILON)


def squared_log_difference(pairs: Tensor) -> Tensor:
    """Squared differences of the logarithms of `1 + x`."""
    preds, target = pairs.log1p()
    return (preds - target).square()


class MeanAbsolutePercentageError(RelativeError):
    """Mean of `|preds - target| / |target|`, a share and no percentage; takes tensors of one shape.

    Where a target is 0 the error is divided by the epsilon of float64, as in scikit-learn (torchmetrics
    divides by at least 1.17e-6, which is wrong for small targets). NaN where nothing was added.
    """

    penalty = staticmethod(share)


def mean_absolute_percentage_error(preds: Tensor, target: Tensor) -> Tensor:
    """Mean of `|preds - target| / |target|`; see `MeanAbsolutePercentageError`."""
    return penalty_mean(share, flat_pairs, preds, target).to(result_dtype(preds, target))


class SymmetricMeanAbsolutePercentageError(RelativeError):
    """Mean of `2 |preds - target| / (|preds| + |target|)`, from 0 to 2; 0 where both are 0."""

    penalty = staticmethod(symmetric_share)


def symmetric_mean_absolute_percentage_error(preds: Tensor, target: Tensor) -> Tensor:
    """Mean of `2 |preds - target| / (|preds| + |target|)`; see `SymmetricMeanAbsolutePercentageError`."""
    return penalty_mean(symmetric_share, flat_pairs, preds, target).to(result_dtype(preds, target))


class MeanSquaredLogError(RelativeError):
    """Mean of `(ln(1 + preds) - ln(1 + target))²`; NaN where a value is below -1, or nothing was added."""

    penalty = staticmethod(squared_log_difference)


def mean_squared_log_error(preds: Tensor, target: Tensor) -> Tensor:
    """Mean of `(ln(1 + preds) - ln(1 + target))²`; see `MeanSquaredLogError`."""
    return penalty_mean(squared_log_difference, flat_pairs, preds, target).to(result_dtype(preds, target))


class WeightedMeanAbsolutePercentageError(Metric):
    """The sum of `|preds - target|` over that of `|target|`; takes tensors of one shape."""

    is_differentiable = True
    higher_is_better = False

    error: Tensor
    scale: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("error", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("scale", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    @property
    def update_options(self) -> Hashable:
        return ()

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        error, scale = _sizes(preds, target, self.error.dtype)
        self.error = self.error + error
        self.scale = self.scale + scale

    def compute(self) -> Tensor:
        """The share over all batches."""
        return (self.error / self.scale.clamp(min=EPSILON)).to(self.dtype)


def _sizes(preds: Tensor, target: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The sums of absolute differences and of absolute targets."""
    if preds.shape != target.shape:
        check_shapes(preds, target)
    preds, target = widened(preds, target)
    return (preds - target).abs().sum(dtype=dtype), target.abs().sum(dtype=dtype)


def weighted_mean_absolute_percentage_error(preds: Tensor, target: Tensor) -> Tensor:
    """The sum of `|preds - target|` over that of `|target|`."""
    error, scale = _sizes(preds, target, widest(preds))
    return (error / scale.clamp(min=EPSILON)).to(result_dtype(preds, target))
