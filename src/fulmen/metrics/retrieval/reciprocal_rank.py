"""Mean reciprocal rank."""

from __future__ import annotations

from torch import Tensor

from fulmen.metrics.retrieval.base import RetrievalMetric, checked_top_k
from fulmen.metrics.retrieval.ranking import Ranking, one_query, only_value


def retrieval_reciprocal_rank(preds: Tensor, target: Tensor, top_k: int | None = None) -> Tensor:
    """One over the rank of the first relevant item of one query; see `RetrievalMRR`."""
    ranking = one_query(preds, target)
    return only_value(ranking, _reciprocal_rank(ranking, checked_top_k(top_k)), preds)


class RetrievalMRR(RetrievalMetric):
    """One over the rank of the first relevant item, 0 where none is among the first `top_k`; from 0 to 1.

    Items with equal scores all have the rank of the last of them: scores that tell nothing earn little.
    torchmetrics takes them in an order that is not defined. Arguments: see `RetrievalMetric`.
    """

    def values(self, ranking: Ranking) -> Tensor:
        return _reciprocal_rank(ranking, self.top_k)


def _reciprocal_rank(ranking: Ranking, top_k: int | None) -> Tensor:
    counts = ranking.is_relevant if top_k is None else ranking.is_relevant & (ranking.last_rank <= top_k)
    return ranking.max(counts / ranking.last_rank.to(ranking.relevance.dtype))
