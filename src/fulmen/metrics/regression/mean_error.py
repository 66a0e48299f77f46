"""Means over all elements of an error: squared, absolute, of logarithms."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fulmen.errors import ConfigError
from fulmen.metrics.arguments import check_at_least
from fulmen.metrics.blocks import BLOCK
from fulmen.metrics.dtypes import result_dtype, widest
from fulmen.metrics.folding import States
from fulmen.metrics.regression.blocks import ErrorMetric, blocks
from fulmen.metrics.regression.inputs import check_outputs, check_shapes, widened

Penalty = Callable[[Tensor], Tensor]
"""What each residual counts as, elementwise; may be written over the residuals."""

Residual = Callable[[Tensor, Tensor], Tensor]
"""How far predictions are from targets, elementwise."""


class ErrorSum(ErrorMetric):
    """A sum over all elements of a penalty of residuals, and their number."""

    is_differentiable = True
    higher_is_better = False

    penalty: Penalty
    total: Tensor
    count: Tensor

    def __init__(self, num_outputs: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_at_least("num_outputs", num_outputs, 1)
        self.num_outputs = num_outputs
        zeros = torch.zeros(() if num_outputs == 1 else (num_outputs,), dtype=torch.float64)
        self.add_state("total", zeros, dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    @property
    def update_options(self) -> Hashable:
        return type(self), self.num_outputs

    def _kept(self, preds: Tensor, target: Tensor) -> Tensor:
        residual = difference(preds, target, self.num_outputs)
        return residual if residual.ndim == 1 or self.num_outputs > 1 else residual.reshape(-1)

    def _joined(self, batches: list[Tensor]) -> Tensor:
        return torch.cat(batches)

    def _with_blocks(self, states: States, parts: Iterable[Tensor]) -> States:
        total: Any = states["total"]
        counted: Any = states["count"]
        added, count = penalty_sum(self.penalty, parts, self.num_outputs, total.dtype)
        return {**states, "total": total + added, "count": counted + count}

    def _sums(self) -> tuple[Tensor, Tensor]:
        """The sum of penalties and the number of elements, over all batches."""
        states: Any = self._settled(self.metric_state)
        return states["total"], states["count"]

    def _mean(self) -> Tensor:
        total, count = self._sums()
        return total / count

    def compute(self) -> Tensor:
        """The mean over all batches."""
        return self._mean().to(self.dtype)


def penalty_sum(
    penalty: Penalty, residuals: Iterable[Tensor], num_outputs: int, dtype: torch.dtype
) -> tuple[Tensor, int]:
    """Sum over all elements, or of each of several outputs, and their number."""
    sums: list[Tensor] = []
    count = 0
    for block in residuals:
        penalties = penalty(block)
        if num_outputs == 1:
            # The sum of a whole block is rounded once, as torch adds in a cascade; that is twice as fast.
            size = penalties.numel()
            sums.append(penalties.sum(dtype=dtype) if size < BLOCK else penalties.sum().to(dtype))
            count += size
        else:
            penalties = penalties.reshape(-1, num_outputs)
            sums.append(penalties.sum(0, dtype=dtype))
            count += len(penalties)
    return (sums[0] if len(sums) == 1 else torch.stack(sums).sum(0)), count


def penalty_mean(
    penalty: Penalty, residual: Residual, preds: Tensor, target: Tensor, num_outputs: int = 1
) -> Tensor:
    """Mean over all elements, or of each of several outputs, in the type that sums are taken in."""
    total, count = penalty_sum(penalty, blocks(residual, preds, target), num_outputs, widest(preds))
    return total / count


def difference(preds: Tensor, target: Tensor, num_outputs: int = 1) -> Tensor:
    """Predictions less targets, which are of one shape: any, or `(N, num_outputs)` for several outputs."""
    if preds.shape != target.shape:
        check_shapes(preds, target)
    if num_outputs > 1:
        check_outputs(preds, num_outputs)
    if preds.dtype is not torch.float32 or target.dtype is not torch.float32:
        preds, target = widened(preds, target)
    return preds - target


def log_cosh(residuals: Tensor) -> Tensor:
    """The logarithm of the hyperbolic cosine; large values do not overflow."""
    size = residuals.abs()
    return size + torch.nn.functional.softplus(-2 * size) - math.log(2)


class MeanSquaredError(ErrorSum):
    """Mean of `(preds - target)²`; takes tensors of one shape. NaN where nothing was added.

    Args:
        squared: else the root of the mean is given.
        num_outputs: with more than one, batches are `(N, num_outputs)` and each output has its value.
    """

    penalty = staticmethod(torch.square_)

    def __init__(self, squared: bool = True, num_outputs: int = 1, **kwargs: Any) -> None:
        super().__init__(num_outputs, **kwargs)
        if not isinstance(squared, bool):
            raise ConfigError("`squared` is a switch.", received=repr(squared), expected="True or False")
        self.squared = squared

    def compute(self) -> Tensor:
        """The mean over all batches, or its root."""
        mean = self._mean()
        return (mean if self.squared else mean.sqrt()).to(self.dtype)


def mean_squared_error(preds: Tensor, target: Tensor, squared: bool = True, num_outputs: int = 1) -> Tensor:
    """Mean of `(preds - target)²`, or with `squared=False` its root; see `MeanSquaredError`."""
    mean = penalty_mean(
        torch.square_, partial(difference, num_outputs=num_outputs), preds, target, num_outputs
    )
    return (mean if squared else mean.sqrt()).to(result_dtype(preds, target))


class MeanAbsoluteError(ErrorSum):
    """Mean of `|preds - target|`; takes tensors of one shape. NaN where nothing was added.

    With `num_outputs` above one, batches are `(N, num_outputs)` and each output has its value.
    """

    penalty = staticmethod(torch.abs_)


def mean_absolute_error(preds: Tensor, target: Tensor, num_outputs: int = 1) -> Tensor:
    """Mean of `|preds - target|`; see `MeanAbsoluteError`."""
    mean = penalty_mean(torch.abs_, partial(difference, num_outputs=num_outputs), preds, target, num_outputs)
    return mean.to(result_dtype(preds, target))


class LogCoshError(ErrorSum):
    """Mean of `ln(cosh(preds - target))`: squared for small errors, absolute for large ones.

    With `num_outputs` above one, batches are `(N, num_outputs)` and each output has its value.
    """

    penalty = staticmethod(log_cosh)


def log_cosh_error(preds: Tensor, target: Tensor) -> Tensor:
    """Mean of `ln(cosh(preds - target))`, of each output where there are several; see `LogCoshError`."""
    num_outputs = preds.shape[1] if preds.ndim == 2 else 1
    mean = penalty_mean(log_cosh, partial(difference, num_outputs=num_outputs), preds, target, num_outputs)
    return mean.to(result_dtype(preds, target))


class MinkowskiDistance(ErrorSum):
    """`(sum of |preds - targets|**p) ** (1 / p)` over all elements, for p of at least 1."""

    def __init__(self, p: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.p = _checked_order(p)
        self.penalty = partial(absolute_power, p=p)

    @property
    def update_options(self) -> Hashable:
        return type(self), self.p

    def compute(self) -> Tensor:
        """The distance over all batches."""
        return (self._sums()[0] ** (1 / self.p)).to(self.dtype)


def minkowski_distance(preds: Tensor, targets: Tensor, p: float) -> Tensor:
    """`(sum of |preds - targets|**p) ** (1 / p)`; see `MinkowskiDistance`."""
    penalty = partial(absolute_power, p=_checked_order(p))
    total, _ = penalty_sum(penalty, blocks(difference, preds, targets), 1, widest(preds))
    return (total ** (1 / p)).to(result_dtype(preds, targets))


def absolute_power(residuals: Tensor, p: float) -> Tensor:
    """`|x|**p`."""
    return residuals.abs() ** p


def _checked_order(p: float) -> float:
    if not isinstance(p, (int, float)) or p < 1:
        raise ConfigError("`p` cannot be used.", received=repr(p), expected="a number of at least 1")
    return p
