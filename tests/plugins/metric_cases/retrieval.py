"""Retrieval: references of scikit-learn, query by query, or formulas over all orders of equal scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, ndcg_score
from torch import Generator, Tensor

from fulmen.metrics.functional.retrieval import (
    retrieval_average_precision,
    retrieval_normalized_dcg,
    retrieval_precision,
    retrieval_recall,
    retrieval_reciprocal_rank,
)
from fulmen.metrics.retrieval import (
    RetrievalMAP,
    RetrievalMRR,
    RetrievalNormalizedDCG,
    RetrievalPrecision,
    RetrievalRecall,
)

from .case import Batch, Case

QUERIES = 12
OfQuery = Callable[[np.ndarray, np.ndarray, int | None], float]


def items(generator: Generator, grades: int = 1, equal: bool = False) -> list[Batch]:
    """Scores, relevances and queries, each of them in several batches; some have nothing that is relevant."""
    batches: list[Batch] = []
    for size in (70, 1, 40):
        preds = torch.randn(size, generator=generator)
        indexes = torch.randint(0, QUERIES, (size,), generator=generator) * 10**10 - 5
        target = torch.randint(0, 2 * grades + 1, (size,), generator=generator).sub(grades).clamp(min=0)
        target = torch.where(indexes > 8 * 10**10, 0, target)
        batches.append((preds.round() if equal else preds, target, indexes))
    return batches


def each_query(preds: Tensor, target: Tensor, indexes: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(preds[indexes == index], target[indexes == index]) for index in indexes.unique()]


def over_queries(
    *batch: Tensor,
    of_query: OfQuery,
    top_k: int | None = None,
    empty: float | None = 0.0,
    ignored: int | None = None,
    aggregate: Callable[[list[float]], float] = np.mean,  # pyright: ignore[reportArgumentType]
) -> float:
    """What comes of the values of queries."""
    preds, target, indexes = (tensor[batch[1] != ignored] for tensor in batch)
    values = []
    for scores, relevance in each_query(preds, target, indexes):
        if relevance.sum() > 0:
            values.append(of_query(scores.double().numpy(), relevance.numpy(), top_k))
        elif empty is not None:
            values.append(empty)
    return float(aggregate(values)) if values else 0.0


def functional(*batch: Tensor, of_query: Any, **options: Any) -> Tensor:
    """The mean over queries of the functional form, which takes one."""
    return torch.stack([of_query(*query, **options) for query in each_query(*batch)]).mean()


def reciprocal_rank(scores: np.ndarray, relevance: np.ndarray, top_k: int | None) -> float:
    first = rankdata(-scores, "max")[relevance > 0].min()
    return 1 / first if top_k is None or first <= top_k else 0.0


def average_precision(scores: np.ndarray, relevance: np.ndarray, top_k: int | None) -> float:
    if top_k is None:
        return float(average_precision_score(relevance, scores))
    ranks = rankdata(-scores, "max")[relevance > 0]
    found = ranks[ranks <= top_k]
    return float(np.mean([(ranks <= rank).sum() / rank for rank in found])) if len(found) else 0.0


def normalized_dcg(scores: np.ndarray, relevance: np.ndarray, top_k: int | None) -> float:
    if len(scores) == 1:  # which scikit-learn refuses
        return 1.0
    return float(ndcg_score(relevance[None], scores[None], k=top_k))


def found(scores: np.ndarray, relevance: np.ndarray, top_k: int) -> float:
    """How many relevant items are among the first, of all orders of equal scores on average."""
    count = 0.0
    for score in np.unique(scores)[::-1]:
        places = np.clip(top_k - (scores > score).sum(), 0, (scores == score).sum())
        count += relevance[scores == score].mean() * places
    return float(count)


def precision(
    scores: np.ndarray, relevance: np.ndarray, top_k: int | None, adaptive_k: bool = False
) -> float:
    k = len(scores) if top_k is None or (adaptive_k and top_k > len(scores)) else top_k
    return found(scores, relevance, k) / k


def recall(scores: np.ndarray, relevance: np.ndarray, top_k: int | None) -> float:
    return found(scores, relevance, top_k or len(scores)) / relevance.sum()


def _lower_median(values: list[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]


KINDS: dict[Any, tuple[OfQuery, Any]] = {
    RetrievalMRR: (reciprocal_rank, retrieval_reciprocal_rank),
    RetrievalMAP: (average_precision, retrieval_average_precision),
    RetrievalNormalizedDCG: (normalized_dcg, retrieval_normalized_dcg),
    RetrievalPrecision: (precision, retrieval_precision),
    RetrievalRecall: (recall, retrieval_recall),
}


def _cases(kind: Any, of_query: OfQuery, of_one: Any) -> list[Case]:
    def case(name: str, expected: dict[str, Any] | None = None, batches: Any = items, **options: Any) -> Case:
        """The functional form has no options that are about several queries."""
        return Case(
            f"{kind.__name__}, {name}",
            partial(kind, **options),
            partial(batches, grades=4) if kind.graded else batches,
            partial(over_queries, of_query=of_query, **(expected or {})),
            None if options.keys() - {"top_k"} else partial(functional, of_query=of_one, **options),
        )

    return [
        case("of all items"),
        case("of all items, equal scores", batches=partial(items, equal=True)),
        case("of the first 3", {"top_k": 3}, top_k=3),
        case("of the first 3, equal scores", {"top_k": 3}, partial(items, equal=True), top_k=3),
        case("of more than there are", {"top_k": 50}, top_k=50),
        case("queries without anything count 1", {"empty": 1.0}, empty_target_action="pos"),
        case("queries without anything do not count", {"empty": None}, empty_target_action="skip"),
        case("without some items", {"ignored": 0, "empty": 0.5}, ignore_index=0),
        case("the middle one", {"aggregate": _lower_median}, aggregation="median"),
        case("the worst", {"aggregate": min, "empty": None}, aggregation="min", empty_target_action="skip"),
        case("the best", {"aggregate": max}, aggregation="max"),
        case("the spread", {"aggregate": np.ptp}, aggregation=_spread),
    ]


def _spread(values: Tensor, dim: int) -> Tensor:
    return values.amax(dim) - values.amin(dim)


CASES = [
    *(case for kind, (of_query, of_one) in KINDS.items() for case in _cases(kind, of_query, of_one)),
    Case(
        "RetrievalPrecision, of as many as there are",
        partial(RetrievalPrecision, top_k=9, adaptive_k=True),
        items,
        partial(over_queries, of_query=partial(precision, adaptive_k=True), top_k=9),
        partial(functional, of_query=retrieval_precision, top_k=9, adaptive_k=True),
    ),
]
