"""Metrics of predicted numbers."""

from fulmen.metrics.regression.correlation import ConcordanceCorrCoef, PearsonCorrCoef
from fulmen.metrics.regression.cosine import CosineSimilarity
from fulmen.metrics.regression.determination import ExplainedVariance, R2Score
from fulmen.metrics.regression.mean_error import (
    LogCoshError,
    MeanAbsoluteError,
    MeanSquaredError,
    MinkowskiDistance,
)
from fulmen.metrics.regression.ranking import KendallRankCorrCoef, SpearmanCorrCoef
from fulmen.metrics.regression.relative_error import (
    MeanAbsolutePercentageError,
    MeanSquaredLogError,
    SymmetricMeanAbsolutePercentageError,
    WeightedMeanAbsolutePercentageError,
)

__all__ = [
    "ConcordanceCorrCoef",
    "CosineSimilarity",
    "ExplainedVariance",
    "KendallRankCorrCoef",
    "LogCoshError",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogError",
    "MinkowskiDistance",
    "PearsonCorrCoef",
    "R2Score",
    "SpearmanCorrCoef",
    "SymmetricMeanAbsolutePercentageError",
    "WeightedMeanAbsolutePercentageError",
]
