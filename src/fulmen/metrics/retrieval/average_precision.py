"""Mean average precision of queries."""

from __future__ import annotations

from torch import Tensor

from fulmen.metrics.retrieval.base import RetrievalMetric, checked_top_k
from fulmen.metrics.retrieval.ranking import Ranking, one_query, only_value


def retrieval_average_precision(preds: Tensor, target: Tensor, top_k: int | None = None) -> Tensor:
    """The mean precision at the relevant items of one query; see `RetrievalMAP`."""
    ranking = one_query(preds, target)
    return only_value(ranking, _average_precision(ranking, checked_top_k(top_k)), preds)


class RetrievalMAP(RetrievalMetric):
    """The mean, over the relevant items among the first `top_k`, of the precision at their ranks; 0 to 1.

    Items with equal scores all have the rank of the last of them, as in scikit-learn's
    `average_precision_score`; torchmetrics takes them in an order that is not defined. Arguments: see
    `RetrievalMetric`.
    """

    def values(self, ranking: Ranking) -> Tensor:
        return _average_precision(ranking, self.top_k)


def _average_precision(ranking: Ranking, top_k: int | None) -> Tensor:
    counts = ranking.is_relevant if top_k is None else ranking.is_relevant & (ranking.last_rank <= top_k)
    counts = counts.to(ranking.relevance.dtype)
    return ranking.sum(counts * ranking.hits / ranking.last_rank) / ranking.sum(counts).clamp(min=1)
