"""`pytorch_lightning.metrics`, of 1.0 to 1.4, on `fulmen.metrics`."""

from fulmen.compat.lightning.metrics import functional
from fulmen.compat.lightning.metrics.classification import (
    F1,
    Accuracy,
    ConfusionMatrix,
    FBeta,
    Fbeta,
    HammingDistance,
    IoU,
    Precision,
    Recall,
    StatScores,
)
from fulmen.compat.lightning.metrics.curves import (
    AUC,
    AUROC,
    ROC,
    AveragePrecision,
    PrecisionRecallCurve,
)
from fulmen.compat.lightning.metrics.metric import Metric
from fulmen.compat.lightning.metrics.regression import (
    PSNR,
    SSIM,
    ExplainedVariance,
    MeanAbsoluteError,
    MeanSquaredError,
    MeanSquaredLogError,
    R2Score,
)
from fulmen.metrics import CompositionalMetric, MetricCollection

__all__ = [
    "AUC",
    "AUROC",
    "F1",
    "PSNR",
    "ROC",
    "SSIM",
    "Accuracy",
    "AveragePrecision",
    "CompositionalMetric",
    "ConfusionMatrix",
    "ExplainedVariance",
    "FBeta",
    "Fbeta",
    "HammingDistance",
    "IoU",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "MeanSquaredLogError",
    "Metric",
    "MetricCollection",
    "Precision",
    "PrecisionRecallCurve",
    "R2Score",
    "Recall",
    "StatScores",
    "functional",
]
