"""Precision and recall at k."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fulmen.errors import ConfigError
from fulmen.metrics.retrieval.base import Aggregation, RetrievalMetric, checked_top_k
from fulmen.metrics.retrieval.ranking import Ranking, one_query, only_value


def retrieval_precision(
    preds: Tensor, target: Tensor, top_k: int | None = None, adaptive_k: bool = False
) -> Tensor:
    """The share of one query's first items that are relevant; see `RetrievalPrecision`."""
    ranking = one_query(preds, target)
    return only_value(ranking, _precision(ranking, checked_top_k(top_k), adaptive_k), preds)


def retrieval_recall(preds: Tensor, target: Tensor, top_k: int | None = None) -> Tensor:
    """The share of one query's relevant items that come first; see `RetrievalRecall`."""
    ranking = one_query(preds, target)
    return only_value(ranking, _recall(ranking, checked_top_k(top_k)), preds)


class RetrievalPrecision(RetrievalMetric):
    """The relevant ones among the first `top_k` items, over `top_k`; from 0 to 1.

    Items with equal scores share the places that they stand at: three of them at the last place that counts
    count one third each, whatever their order. Arguments: see `RetrievalMetric`.

    Args:
        adaptive_k: whether a query with fewer items than `top_k` is measured by as many as it has.
    """

    def __init__(
        self,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        top_k: int | None = None,
        adaptive_k: bool = False,
        aggregation: Aggregation = "mean",
        **kwargs: Any,
    ) -> None:
        super().__init__(empty_target_action, ignore_index, top_k, aggregation, **kwargs)
        if not isinstance(adaptive_k, bool):
            raise ConfigError(
                "`adaptive_k` is a switch.", received=repr(adaptive_k), expected="True or False"
            )
        self.adaptive_k = adaptive_k

    def values(self, ranking: Ranking) -> Tensor:
        return _precision(ranking, self.top_k, self.adaptive_k)


class RetrievalRecall(RetrievalMetric):
    """The relevant ones among the first `top_k` items, over all that are relevant; from 0 to 1.

    Items with equal scores share the places that they stand at, as in `RetrievalPrecision`. Arguments: see
    `RetrievalMetric`.
    """

    def values(self, ranking: Ranking) -> Tensor:
        return _recall(ranking, self.top_k)


def _precision(ranking: Ranking, top_k: int | None, adaptive_k: bool) -> Tensor:
    if top_k is None:
        return ranking.total_relevance / ranking.sizes
    return _found(ranking, top_k) / (ranking.sizes.clamp(max=top_k) if adaptive_k else top_k)


def _recall(ranking: Ranking, top_k: int | None) -> Tensor:
    found = ranking.total_relevance if top_k is None else _found(ranking, top_k)
    return found / torch.where(ranking.total_relevance > 0, ranking.total_relevance, 1)


def _found(ranking: Ranking, top_k: int) -> Tensor:
    """How many relevant items are among the first."""
    counts = ranking.averaged((ranking.rank <= top_k).to(ranking.relevance.dtype))
    return ranking.sum(ranking.relevance * counts)
