"""Metrics of predicted numbers, as functions."""

from fulmen.metrics.regression.correlation import concordance_corrcoef, pearson_corrcoef
from fulmen.metrics.regression.cosine import cosine_similarity
from fulmen.metrics.regression.determination import explained_variance, r2_score
from fulmen.metrics.regression.mean_error import (
    log_cosh_error,
    mean_absolute_error,
    mean_squared_error,
    minkowski_distance,
)
from fulmen.metrics.regression.ranking import kendall_rank_corrcoef, spearman_corrcoef
from fulmen.metrics.regression.relative_error import (
    mean_absolute_percentage_error,
    mean_squared_log_error,
    symmetric_mean_absolute_percentage_error,
    weighted_mean_absolute_percentage_error,
)

__all__ = [
    "concordance_corrcoef",
    "cosine_similarity",
    "explained_variance",
    "kendall_rank_corrcoef",
    "log_cosh_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_log_error",
    "minkowski_distance",
    "pearson_corrcoef",
    "r2_score",
    "spearman_corrcoef",
    "symmetric_mean_absolute_percentage_error",
    "weighted_mean_absolute_percentage_error",
]
