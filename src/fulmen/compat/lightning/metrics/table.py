"""The names of `pytorch_lightning.metrics`, the versions that had them, and what does the same now."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fulmen.compat.lightning import metrics
from fulmen.compat.lightning.metrics import functional
from fulmen.compat.lightning.metrics.eras import NEWEST, written


@dataclass(frozen=True)
class OldName:
    """A class or function, from its first to its last version."""

    first: str
    last: str
    now: str
    """The name in `fulmen.metrics`, or `fulmen.metrics.functional`."""


def _since(first: str, last: str = NEWEST, **now: str) -> dict[str, OldName]:
    return {name: OldName(first, last, modern) for name, modern in now.items()}


CLASSES = {
    **_since(
        "1.0",
        Metric="Metric",
        Accuracy="Accuracy(task=...)",
        Precision="Precision(task=...)",
        Recall="Recall(task=...)",
        FBeta="FBetaScore(task=...)",
        F1="F1Score(task=...)",
        MeanSquaredError="MeanSquaredError",
        MeanAbsoluteError="MeanAbsoluteError",
        MeanSquaredLogError="MeanSquaredLogError",
        ExplainedVariance="ExplainedVariance",
        PSNR="PeakSignalNoiseRatio(data_range=...)",
        SSIM="StructuralSimilarityIndexMeasure",
    ),
    **_since("1.0", "1.0", Fbeta="FBetaScore(task=...)"),
    **_since(
        "1.1",
        ConfusionMatrix="ConfusionMatrix(task=...)",
        PrecisionRecallCurve="PrecisionRecallCurve(task=...)",
        ROC="ROC(task=...)",
        AveragePrecision="AveragePrecision(task=...)",
    ),
    **_since(
        "1.2",
        AUC="torch.trapezoid",
        AUROC="AUROC(task=...)",
        HammingDistance="HammingDistance(task=...)",
        IoU="JaccardIndex(task=...)",
        StatScores="StatScores(task=...)",
        R2Score="R2Score",
        MetricCollection="MetricCollection",
        CompositionalMetric="CompositionalMetric",
    ),
}
"""Of `pytorch_lightning.metrics`."""

FUNCTIONS = {
    **_since(
        "1.0",
        accuracy="accuracy(task=...)",
        precision="precision(task=...)",
        recall="recall(task=...)",
        precision_recall="precision(task=...), recall(task=...)",
        confusion_matrix="confusion_matrix(task=...)",
        stat_scores="stat_scores(task=...)",
        roc="roc(task=...)",
        precision_recall_curve="precision_recall_curve(task=...)",
        average_precision="average_precision(task=...)",
        auroc="auroc(task=...)",
        auc="torch.trapezoid",
        iou="jaccard_index(task=...)",
        f1="f1_score(task=...)",
        fbeta="fbeta_score(task=...)",
        psnr="peak_signal_noise_ratio(data_range=...)",
        ssim="structural_similarity_index_measure",
        bleu_score="bleu_score",
        embedding_similarity="torch.nn.functional.cosine_similarity",
        explained_variance="explained_variance",
        mean_absolute_error="mean_absolute_error",
        mean_squared_error="mean_squared_error",
        mean_squared_log_error="mean_squared_log_error",
    ),
    **_since("1.0", "1.0", mse="mean_squared_error", rmse="mean_squared_error(squared=False)"),
    **_since("1.0", "1.0", mae="mean_absolute_error", rmsle="mean_squared_log_error, and its root"),
    **_since(
        "1.0",
        "1.2",
        multiclass_roc="multiclass_roc",
        multiclass_precision_recall_curve="multiclass_precision_recall_curve",
        to_onehot="torch.nn.functional.one_hot",
        auc_decorator="torch.trapezoid",
        multiclass_auc_decorator="torch.trapezoid",
    ),
    **_since("1.0", "1.1", f1_score="f1_score(task=...)", fbeta_score="fbeta_score(task=...)"),
    **_since(
        "1.0",
        "1.3",
        dice_score="dice_score",
        stat_scores_multiple_classes="multiclass_stat_scores(average=None)",
        to_categorical="torch.argmax",
        get_num_classes="the number of classes itself",
    ),
    **_since("1.1", "1.3", multiclass_auroc="multiclass_auroc"),
    **_since("1.0", reduce="torch.mean, torch.sum", class_reduce="`average=` of the score"),
    **_since(
        "1.2",
        hamming_distance="hamming_distance(task=...)",
        image_gradients="torch.diff",
        mean_relative_error="mean_absolute_percentage_error",
        r2score="r2_score",
    ),
}
"""Of `pytorch_lightning.metrics.functional`, and of the modules in it."""


def rows() -> Iterator[tuple[str, str, str]]:
    """For each name and signature: what is written, in which versions, and what does the same now."""
    for names, module in ((CLASSES, metrics), (FUNCTIONS, functional)):
        for name, old in names.items():
            forms = _forms(getattr(module, name), old.first)
            firsts = list(forms)
            for first, following in zip(firsts, [*firsts[1:], None], strict=True):
                last = f"before {following}" if following else f"to {old.last}"
                yield f"{name}({written(forms[first])})", f"{max(first, old.first)} {last}", old.now


def _forms(value: Any, first: str) -> dict[str, Callable[..., Any]]:
    return vars(value).get("variants", {first: value}) if inspect.isfunction(value) else {first: value}
