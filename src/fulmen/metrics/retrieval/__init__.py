"""Metrics of what a search brings up."""

from fulmen.metrics.retrieval.average_precision import RetrievalMAP
from fulmen.metrics.retrieval.normalized_dcg import RetrievalNormalizedDCG
from fulmen.metrics.retrieval.precision_recall import RetrievalPrecision, RetrievalRecall
from fulmen.metrics.retrieval.reciprocal_rank import RetrievalMRR

__all__ = [
    "RetrievalMAP",
    "RetrievalMRR",
    "RetrievalNormalizedDCG",
    "RetrievalPrecision",
    "RetrievalRecall",
]
