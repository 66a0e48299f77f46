"""Normalised discounted cumulative gain."""

from __future__ import annotations

import torch
from torch import Tensor

from fulmen.metrics.retrieval.base import RetrievalMetric, checked_top_k
from fulmen.metrics.retrieval.ranking import Ranking, one_query, only_value


def retrieval_normalized_dcg(preds: Tensor, target: Tensor, top_k: int | None = None) -> Tensor:
    """The gain of one query's items as a share of the greatest possible; see `RetrievalNormalizedDCG`."""
    ranking = one_query(preds, target, graded=True)
    return only_value(ranking, _normalized_dcg(ranking, checked_top_k(top_k)), preds)


class RetrievalNormalizedDCG(RetrievalMetric):
    """The relevances of the first `top_k` items over log2(1 + rank), as a share of the best order's; 0 to 1.

    K. Järvelin and J. Kekäläinen, ACM TOIS 20 (2002). Relevances are 0 or more and count as they are. Items
    with equal scores share the mean of their discounts, as in scikit-learn's `ndcg_score` and torchmetrics.
    Arguments: see `RetrievalMetric`.
    """

    graded = True

    def values(self, ranking: Ranking) -> Tensor:
        return _normalized_dcg(ranking, self.top_k)


def _normalized_dcg(ranking: Ranking, top_k: int | None) -> Tensor:
    discount = 1 / (ranking.rank + 1).to(ranking.relevance.dtype).log2()
    if top_k is not None:
        discount = torch.where(ranking.rank <= top_k, discount, 0)
    gain = ranking.sum(ranking.relevance * ranking.averaged(discount))
    best = ranking.sum(ranking.ideal_relevance * discount)
    return torch.where(best > 0, gain / best, 0)
