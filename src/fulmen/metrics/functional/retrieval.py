"""Metrics of what a search brings up, as functions of one query."""

from fulmen.metrics.retrieval.average_precision import retrieval_average_precision
from fulmen.metrics.retrieval.normalized_dcg import retrieval_normalized_dcg
from fulmen.metrics.retrieval.precision_recall import retrieval_precision, retrieval_recall
from fulmen.metrics.retrieval.reciprocal_rank import retrieval_reciprocal_rank

__all__ = [
    "retrieval_average_precision",
    "retrieval_normalized_dcg",
    "retrieval_precision",
    "retrieval_recall",
    "retrieval_reciprocal_rank",
]
