"""The items of many queries in the order a model puts them, all queries at once."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from fulmen.errors import UsageError
from fulmen.metrics.dtypes import result_dtype, widest


class Ranking:
    """Items sorted by query, and in each by falling score.

    Items with equal scores have no order that a metric could depend on: they are found through `averaged` or
    through `last_rank`.
    """

    def __init__(self, preds: Tensor, target: Tensor, indexes: Tensor) -> None:
        keys, order = _keys(indexes, preds).sort()
        _, self.query, self.sizes = (keys >> 32).unique_consecutive(return_inverse=True, return_counts=True)
        self.relevance = target[order].to(widest(preds))
        before = (self.sizes.cumsum(0) - self.sizes)[self.query]
        self.rank = torch.arange(1, len(keys) + 1, device=keys.device) - before
        self._tie, self._tie_sizes = keys.unique_consecutive(return_inverse=True, return_counts=True)[1:]
        is_nan = preds.isnan()
        self._nan = is_nan[order] if is_nan.any() else None

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the items of each query."""
        return values.new_zeros(len(self.sizes)).index_add_(0, self.query, values)

    def max(self, values: Tensor) -> Tensor:
        """The greatest of each query's items, at least 0."""
        return values.new_zeros(len(self.sizes)).scatter_reduce_(0, self.query, values, "amax")

    def averaged(self, values: Tensor) -> Tensor:
        """What is worth `values` at each place, as the mean of the places that items of equal score share."""
        shared = values.new_zeros(len(self._tie_sizes)).index_add_(0, self._tie, values)
        return (shared / self._tie_sizes)[self._tie]

    @cached_property
    def last_rank(self) -> Tensor:
        """The rank of each item, from 1; of items with equal scores, that of the last."""
        return self.rank[self._last_of_tie]

    @cached_property
    def hits(self) -> Tensor:
        """How many items of the query are relevant up to `last_rank`."""
        so_far = self.is_relevant.cumsum(0)
        of_queries = so_far[self.sizes.cumsum(0) - 1]
        before = torch.cat([of_queries.new_zeros(1), of_queries])[self.query]
        return so_far[self._last_of_tie] - before

    @property
    def is_relevant(self) -> Tensor:
        """Whether each item is one that was looked for."""
        return self.relevance > 0

    @cached_property
    def total_relevance(self) -> Tensor:
        """The relevance of all items of each query."""
        return self.sum(self.relevance)

    @cached_property
    def ideal_relevance(self) -> Tensor:
        """The relevance of the items of each query in the best order."""
        # Grades that are one in single precision are as good as one.
        return self.relevance[_keys(self.query, self.relevance.float()).argsort()]

    def spoiled(self, values: Tensor) -> Tensor:
        """Values of queries, NaN where a score was NaN."""
        if self._nan is None:
            return values
        return values.masked_fill(self.sum(self._nan.to(values.dtype)) > 0, torch.nan)

    @cached_property
    def _last_of_tie(self) -> Tensor:
        return (self._tie_sizes.cumsum(0) - 1)[self._tie]


def _keys(indexes: Tensor, scores: Tensor) -> Tensor:
    """Integers that sort by query and then by falling score: many times as fast as two sorts of numbers.

    The upper half tells the query; both halves are equal where query and score are.
    """
    queries = indexes.long()
    low, high = queries.aminmax()
    if low < -(2**31) or high >= 2**31:
        queries = queries.unique(return_inverse=True)[1]
    if scores.dtype is torch.float64:
        falling = -scores.unique(return_inverse=True)[1]
    else:  # the bits of floats are in order, but for negative ones, whose order is the opposite
        bits = scores.float().view(torch.int32).long()
        falling = torch.where(bits < 0, bits + 2**31, -bits)
    return (queries << 32) + falling + 2**31


def checked(preds: Tensor, target: Tensor, *, graded: bool, ignore_index: int | None = None) -> None:
    """Raise where scores and relevances do not fit; values only where that needs no wait for a device."""
    if preds.shape != target.shape:
        raise UsageError(
            "Each item needs a score and a relevance.",
            received=f"preds {tuple(preds.shape)}, target {tuple(target.shape)}",
            expected="the same shape",
        )
    if not preds.is_floating_point() or target.is_complex():
        raise UsageError(
            "Items are ranked by scores.",
            received=f"preds {preds.dtype}, target {target.dtype}",
            expected="preds of floating point, target of bool, integer or floating point",
        )
    if target.device.type != "cpu" or target.dtype is torch.bool or not target.numel():
        return
    counted = target if ignore_index is None else torch.where(target == ignore_index, 0, target)
    low, high = (bound.item() for bound in counted.aminmax())
    has_fractions = not graded and target.is_floating_point() and bool(counted.frac().any())
    if low < 0 or has_fractions or (high > 1 and not graded):
        raise UsageError(
            "The target has relevances that mean nothing here.",
            received=f"target from {low} to {high}" + (", with fractions" if has_fractions else ""),
            expected="0 or more" if graded else "0 or 1",
            fix=None if graded else "RetrievalNormalizedDCG takes grades; else compare them with a threshold",
        )


def one_query(preds: Tensor, target: Tensor, *, graded: bool = False) -> Ranking:
    """The ranking of items that all belong to one query."""
    checked(preds, target, graded=graded)
    if not preds.numel():
        raise UsageError(
            "A query has no items.", received=f"preds {tuple(preds.shape)}", expected="at least 1"
        )
    scores = preds.detach().flatten()
    return Ranking(scores, target.flatten(), torch.zeros_like(scores, dtype=torch.int64))


def only_value(ranking: Ranking, values: Tensor, preds: Tensor) -> Tensor:
    """The value of the one query, in the type that its scores call for."""
    return ranking.spoiled(values)[0].to(result_dtype(preds))
