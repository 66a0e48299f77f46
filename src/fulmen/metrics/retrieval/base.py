"""What metrics of retrieval have in common: items of many queries, and a value of each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable
from typing import Any, ClassVar

import torch
from torch import Tensor

from fulmen.errors import ConfigError, UsageError
from fulmen.metrics.arguments import check_among, check_at_least
from fulmen.metrics.metric import Metric
from fulmen.metrics.retrieval.ranking import Ranking, checked

Aggregation = str | Callable[..., Tensor]

_AGGREGATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": torch.mean,
    "median": torch.median,
    "min": torch.amin,
    "max": torch.amax,
}
_EMPTY_ACTIONS = ("neg", "pos", "skip", "error")


class RetrievalMetric(Metric):
    """A value of each query, and what comes of all of them; write `values`.

    The items of a query may come in any order, in several batches, on several ranks: the value is the same.
    Of scores only the order matters; torchmetrics, but for NDCG, never finds items whose score is 0 or less.
    Where a score is NaN, so is the value of its query.

    Args:
        empty_target_action: what a query without a relevant item is worth: "neg", 0; "pos", 1; "skip", it is
            left out; "error", `compute` raises.
        ignore_index: the value in `target` of items that are left out.
        top_k: how many items of each query are looked at; by default all.
        aggregation: "mean", "median" (of two in the middle, the lower), "min", "max", or a callable
            `f(values, dim=0)`. Without any query the value is 0.
    """

    is_differentiable = False
    higher_is_better = True
    graded: ClassVar[bool] = False
    """Whether relevance has degrees."""

    indexes: list[Tensor]
    preds: list[Tensor]
    target: list[Tensor]

    def __init__(
        self,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        top_k: int | None = None,
        aggregation: Aggregation = "mean",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_among("empty_target_action", empty_target_action, _EMPTY_ACTIONS)
        if ignore_index is not None and not isinstance(ignore_index, int):
            raise ConfigError(
                "`ignore_index` is a value of the target.", received=ignore_index, expected="int, None"
            )
        if not callable(aggregation) and aggregation not in _AGGREGATIONS:
            raise ConfigError(
                "The values of queries cannot be aggregated so.",
                received=f"aggregation={aggregation!r}",
                expected=f"one of {tuple(_AGGREGATIONS)}, or a callable",
            )
        self.empty_target_action = empty_target_action
        self.ignore_index = ignore_index
        self.top_k = checked_top_k(top_k)
        self.aggregation = aggregation
        self.add_state("indexes", [], dist_reduce_fx="cat")
        self.add_state("preds", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")

    @property
    def update_options(self) -> Hashable:
        return self.graded, self.ignore_index

    @abstractmethod
    def values(self, ranking: Ranking) -> Tensor:
        """The value of each query, whatever where no item is relevant."""

    def update(self, preds: Tensor, target: Tensor, indexes: Tensor) -> None:
        """Add items: their scores, their relevances, and the numbers of the queries that they belong to."""
        checked(preds, target, graded=self.graded, ignore_index=self.ignore_index)
        if indexes.shape != preds.shape or indexes.is_floating_point() or indexes.dtype is torch.bool:
            raise UsageError(
                "Each item needs the number of its query.",
                received=f"indexes {tuple(indexes.shape)} of {indexes.dtype}, preds {tuple(preds.shape)}",
                expected="indexes of the shape of preds, of integers",
            )
        for state, part in ((self.indexes, indexes), (self.preds, preds.detach()), (self.target, target)):
            state.append(part.flatten().clone())  # the batch may be written over, or a part of a whole

    def compute(self) -> Tensor:
        """What comes of the values of all queries."""
        if not self.preds:
            return torch.zeros((), dtype=self.dtype, device=self.device)
        indexes, preds, target = (torch.cat(state) for state in (self.indexes, self.preds, self.target))
        if self.ignore_index is not None:
            kept = target != self.ignore_index
            indexes, preds, target = indexes[kept], preds[kept], target[kept]
        if not len(preds):
            return torch.zeros((), dtype=self.dtype, device=self.device)
        ranking = Ranking(preds, target, indexes)
        values = self._with_empty(ranking, ranking.spoiled(self.values(ranking))).to(self.dtype)
        if callable(self.aggregation):
            return self.aggregation(values, dim=0)
        return _AGGREGATIONS[self.aggregation](values) if len(values) else values.new_zeros(())

    def _with_empty(self, ranking: Ranking, values: Tensor) -> Tensor:
        """Values with those of queries without a relevant item as it was asked for."""
        empty = ranking.total_relevance == 0
        if self.empty_target_action == "skip":
            return values[~empty]
        if self.empty_target_action == "error" and empty.any():
            raise UsageError(
                "Queries have no relevant item.",
                received=f"{int(empty.sum())} of {len(empty)} without one",
                expected="a target above 0 in each, as empty_target_action='error' demands",
            )
        return values.masked_fill(empty, float(self.empty_target_action == "pos"))


def checked_top_k(top_k: int | None) -> int | None:
    """`top_k`, or an error where it is not one."""
    if top_k is not None:
        check_at_least("top_k", top_k, 1)
    return top_k
