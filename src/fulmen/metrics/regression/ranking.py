"""How far predictions put samples in the order that targets put them in."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Hashable
from typing import Any, Literal

import torch
from torch import Tensor

from fulmen.errors import ConfigError
from fulmen.metrics.arguments import check_among, check_at_least
from fulmen.metrics.dtypes import result_dtype, widest
from fulmen.metrics.metric import Metric
from fulmen.metrics.regression.inputs import check_shapes

Variant = Literal["a", "b", "c"]
Alternative = Literal["two-sided", "less", "greater"]


class RankMetric(Metric):
    """A metric that needs all samples at once: it keeps them all."""

    is_differentiable = False

    preds: list[Tensor]
    target: list[Tensor]

    def __init__(self, num_outputs: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_at_least("num_outputs", num_outputs, 1)
        self.num_outputs = num_outputs
        self.add_state("preds", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")

    @property
    def update_options(self) -> Hashable:
        return self.num_outputs

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch; takes two tensors of shape `(N,)` or `(N, num_outputs)`."""
        check_shapes(preds, target, self.num_outputs)
        self.preds.append(preds.detach().clone())  # the batch may be written over, or a part of a whole
        self.target.append(target.detach().clone())

    def _samples(self) -> tuple[Tensor, Tensor]:
        """All predictions and targets, of shape `(N, num_outputs)`."""
        empty = torch.zeros(0, self.num_outputs, device=self.device)
        preds, target = (
            torch.cat([empty[:0].to(batches[0].dtype), *(b.reshape(-1, self.num_outputs) for b in batches)])
            if batches
            else empty
            for batches in (self.preds, self.target)
        )
        return preds, target

    @abstractmethod
    def compute(self) -> Any:
        """The value over all batches."""


def _of_outputs(of_one: Callable[[Tensor, Tensor], Tensor], preds: Tensor, target: Tensor) -> Tensor:
    """The value of each output; that of a single one without a dimension."""
    if preds.ndim == 1:
        return of_one(preds, target)
    values = [of_one(*columns) for columns in zip(preds.unbind(1), target.unbind(1), strict=True)]
    return values[0] if len(values) == 1 else torch.stack(values)


# --------------------------------------------------------------------------------------------------- Spearman


class SpearmanCorrCoef(RankMetric):
    """Spearman's coefficient of rank correlation, from -1 to 1: Pearson's of the ranks.

    Ties share their mean rank. NaN where all predictions or all targets are the same, or any is NaN, as in
    SciPy. Batches are `(N,)` or `(N, num_outputs)`; with several outputs each has its value. All samples are
    kept.
    """

    higher_is_better = True

    def compute(self) -> Tensor:
        """The coefficient over all batches."""
        return _of_outputs(_spearman, *self._samples()).to(self.dtype)


def spearman_corrcoef(preds: Tensor, target: Tensor) -> Tensor:
    """Spearman's coefficient of rank correlation, for each output; see `SpearmanCorrCoef`."""
    check_shapes(preds, target)
    return _of_outputs(_spearman, preds, target).to(result_dtype(preds, target))


def _spearman(preds: Tensor, target: Tensor) -> Tensor:
    deviations = [_ranks(values) - (len(values) + 1) / 2 for values in (preds, target)]
    covariance = (deviations[0] * deviations[1]).sum()
    scale = deviations[0].square().sum().sqrt() * deviations[1].square().sum().sqrt()
    value = torch.where(scale > 0, covariance / scale, torch.nan)
    return torch.where(_any_nan(preds, target), torch.nan, value.clamp(-1, 1))


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 1 on; those of equal values are the mean of the places they take."""
    ordered, order = values.sort()
    _, group, sizes = torch.unique_consecutive(ordered, return_inverse=True, return_counts=True)
    means = sizes.cumsum(0) - (sizes - 1).to(widest(values)) / 2
    return torch.empty_like(means[group]).scatter_(0, order, means[group])


def _any_nan(preds: Tensor, target: Tensor) -> Tensor:
    return preds.isnan().any() | target.isnan().any()


# --------------------------------------------------------------------------------------------------- Kendall


class KendallRankCorrCoef(RankMetric):
    """Kendall's tau, from -1 to 1: how many more pairs of samples are in one order than in opposite orders.

    NaN where all predictions or all targets are the same (variants "b" and "c"), with fewer than two
    samples, or where any value is NaN. Batches are `(N,)` or `(N, num_outputs)`; with several outputs each
    has its value. All samples are kept; time is O(N log N) and memory O(N).

    Args:
        variant: what the difference is divided by: "a" the number of pairs; "b" that of the pairs without
            ties in each, as geometric mean; "c" the greatest one possible with so few different values.
        t_test: whether to give the p-value too, as a second value: of the hypothesis that there is no
            association, by the normal approximation with correction for ties, as in SciPy.
        alternative: that the association is not zero, less or greater.
    """

    def __init__(
        self,
        variant: Variant = "b",
        t_test: bool = False,
        alternative: Alternative | None = "two-sided",
        num_outputs: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_outputs, **kwargs)
        _check_kendall_options(variant, t_test, alternative)
        self.variant = variant
        self.t_test = t_test
        self.alternative = alternative

    def compute(self) -> Tensor | tuple[Tensor, Tensor]:
        """Tau over all batches, or tau and the p-value."""
        preds, target = self._samples()
        return _kendall(preds, target, self.variant, self.t_test, self.alternative, self.dtype)


def kendall_rank_corrcoef(
    preds: Tensor,
    target: Tensor,
    variant: Variant = "b",
    t_test: bool = False,
    alternative: Alternative | None = "two-sided",
) -> Tensor | tuple[Tensor, Tensor]:
    """Kendall's tau, for each output; with `t_test`, and the p-value; see `KendallRankCorrCoef`."""
    check_shapes(preds, target)
    _check_kendall_options(variant, t_test, alternative)
    return _kendall(preds, target, variant, t_test, alternative, result_dtype(preds, target))


def _check_kendall_options(variant: str, t_test: bool, alternative: str | None) -> None:
    check_among("variant", variant, ("a", "b", "c"))
    if not isinstance(t_test, bool):
        raise ConfigError("`t_test` is a switch.", received=repr(t_test), expected="True or False")
    if t_test or alternative is not None:
        check_among("alternative", alternative, ("two-sided", "less", "greater"))


def _kendall(
    preds: Tensor, target: Tensor, variant: str, t_test: bool, alternative: str | None, dtype: torch.dtype
) -> Any:
    def of_one(preds: Tensor, target: Tensor) -> Tensor:
        if len(preds) < 2:
            return preds.new_full((2,), torch.nan, dtype=widest(preds))
        values = torch.stack(_tau_and_p(preds, target, variant, alternative or "two-sided"))
        return torch.where(_any_nan(preds, target), torch.nan, values)

    tau, p = _of_outputs(of_one, preds, target).to(dtype).unbind(-1)
    return (tau, p) if t_test else tau


def _tau_and_p(preds: Tensor, target: Tensor, variant: str, alternative: str) -> tuple[Tensor, Tensor]:
    """Tau, and the p-value of no association; formulas as in Kendall, Rank correlation methods (1970)."""
    count = len(preds)
    dtype = widest(preds)
    pairs = count * (count - 1) // 2
    ranks = [torch.unique(values, return_inverse=True, return_counts=True)[1:] for values in (preds, target)]
    (x, x_sizes), (y, y_sizes) = ranks
    both_sizes = torch.unique(x * count + y, return_counts=True)[1]
    x_tied, y_tied, both_tied = (_pairs(sizes) for sizes in (x_sizes, y_sizes, both_sizes))
    in_order = y[torch.argsort(x * count + y)]
    surplus = (pairs - x_tied - y_tied + both_tied - 2 * _inversions(in_order)).to(dtype)
    if variant == "a":
        tau = surplus / pairs
    elif variant == "b":
        tau = surplus / (pairs - x_tied).to(dtype).sqrt() / (pairs - y_tied).to(dtype).sqrt()
    else:
        fewest = min(len(x_sizes), len(y_sizes))
        tau = 2 * surplus * fewest / (count * count * (fewest - 1)) if fewest > 1 else surplus * torch.nan
    (x0, x1), (y0, y1) = (_tie_terms(sizes.to(dtype)) for sizes in (x_sizes, y_sizes))
    variance = (2 * pairs * (2 * count + 5) - x1 - y1) / 18
    variance = variance + x_tied.to(dtype) * y_tied.to(dtype) / pairs
    variance = variance + x0 * y0 / (18 * pairs * max(count - 2, 1))
    z = surplus / variance.sqrt()
    if alternative == "two-sided":
        p = torch.erfc(z.abs() / math.sqrt(2))
    else:
        p = torch.erfc((z if alternative == "greater" else -z) / math.sqrt(2)) / 2
    return tau.clamp(-1, 1), torch.where(tau.isnan(), torch.nan, p)


def _pairs(sizes: Tensor) -> Tensor:
    return (sizes * (sizes - 1) // 2).sum()


def _tie_terms(sizes: Tensor) -> tuple[Tensor, Tensor]:
    pairs = sizes * (sizes - 1)
    return (pairs * (sizes - 2)).sum(), (pairs * (2 * sizes + 5)).sum()


def _inversions(ranks: Tensor) -> Tensor:
    """How many pairs have the greater one first; `ranks` are integers from 0 to less than their number.

    From the highest bit to the lowest, samples are divided stably by it, among those that agree in the bits
    above: a sample with the bit 0 is in the wrong order with all of its group before it that have 1.
    """
    bits = max(len(ranks) - 1, 1).bit_length()
    smaller = torch.bincount(ranks, minlength=2**bits).cumsum(0)
    smaller = torch.cat([smaller.new_zeros(1), smaller])
    """How many ranks are below each number: where the group begins whose lowest rank it is."""
    places = torch.arange(len(ranks), device=ranks.device)
    total = ranks.new_zeros(())
    for bit in reversed(range(bits)):
        ones = ranks >> bit & 1
        before = ones.cumsum(0) - ones
        before = before - before[smaller[ranks >> bit + 1 << bit + 1]]
        total = total + before.sum() - (before * ones).sum()
        moved_to = torch.where(ones == 1, smaller[ranks >> bit << bit] + before, places - before)
        ranks = torch.empty_like(ranks).scatter_(0, moved_to, ranks)
    return total
