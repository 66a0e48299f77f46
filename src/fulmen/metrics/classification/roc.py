"""The receiver operating characteristic: the true against the false positive rate, over all thresholds."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from fulmen.metrics.arguments import check_among
from fulmen.metrics.classification.curve_metrics import (
    CURVE_AVERAGES,
    BinaryCurve,
    CurveMetric,
    MulticlassCurve,
    MultilabelCurve,
)
from fulmen.metrics.classification.curves import (
    Curve,
    Curves,
    Points,
    fraction,
    in_dtype,
    interpolated,
    points_of,
    warn_of_missing,
    with_probabilities,
)
from fulmen.metrics.classification.dispatch import TaskName, by_task
from fulmen.metrics.classification.scoring import (
    BinaryScores,
    CurveAverage,
    MulticlassScores,
    MultilabelScores,
    Thresholds,
)
from fulmen.metrics.dtypes import result_dtype
from fulmen.metrics.plot import plot_roc


def _roc(curves: Curves, average: CurveAverage = None) -> Any:
    warn_of_missing(curves, "positives", "negatives")
    points = points_of(curves, _points)
    return _mean(*points) if average == "macro" else points


def _points(curve: Curve) -> Points:
    fpr = fraction(curve.fp, curve.negatives.unsqueeze(-1)).flip(-1)
    tpr = fraction(curve.tp, curve.positives.unsqueeze(-1)).flip(-1)
    thresholds = curve.thresholds.flip(-1)
    if not curve.is_exact:
        return fpr, tpr, thresholds
    highest = 1.0 if not len(thresholds) or thresholds[0] <= 1 else math.inf
    return pad(fpr, (1, 0)), pad(tpr, (1, 0)), pad(thresholds, (1, 0), value=highest)


def _mean(fpr: Any, tpr: Any, thresholds: Any) -> Points:
    """The mean curve of all classes. Its thresholds are those of all, no longer each of one point."""
    every = torch.cat(list(fpr)).sort().values
    mean = torch.stack([interpolated(every, x, y, last=True) for x, y in zip(fpr, tpr, strict=True)]).mean(0)
    if isinstance(thresholds, Tensor):
        thresholds = [thresholds] * len(fpr)
    return every, mean, torch.cat(thresholds).sort(descending=True).values


def _area(fpr: Tensor, tpr: Tensor) -> Tensor:
    return torch.trapezoid(tpr, fpr)


def binary_roc(
    preds: Tensor,
    target: Tensor,
    thresholds: Thresholds = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Points:
    """False positive rate, true positive rate, and thresholds of two classes; see `BinaryROC`."""
    curves = BinaryScores(thresholds, ignore_index, validate_args).curves(preds, target)
    return in_dtype(_roc(with_probabilities(curves)), result_dtype(preds))


def multiclass_roc(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    thresholds: Thresholds = None,
    average: CurveAverage = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Any:
    """False positive rate, true positive rate, and thresholds of each class; see `MulticlassROC`."""
    check_among("average", average, CURVE_AVERAGES)
    scores = MulticlassScores(thresholds, ignore_index, validate_args, num_classes)
    points = _roc(scores.curves(preds, target, micro=average == "micro"), average)
    return in_dtype(points, result_dtype(preds))


def multilabel_roc(
    preds: Tensor,
    target: Tensor,
    num_labels: int,
    thresholds: Thresholds = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Any:
    """False positive rate, true positive rate, and thresholds of each label; see `MultilabelROC`."""
    curves = MultilabelScores(thresholds, ignore_index, validate_args, num_labels).curves(preds, target)
    return in_dtype(_roc(with_probabilities(curves)), result_dtype(preds))


@by_task(binary_roc, multiclass_roc, multilabel_roc)
def roc(
    preds: Tensor,
    target: Tensor,
    task: TaskName,
    thresholds: Thresholds = None,
    num_classes: int | None = None,
    num_labels: int | None = None,
    average: CurveAverage = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Any:
    """False positive rate, true positive rate, and thresholds of a task; see `ROC`."""
    ...


class _ROC(CurveMetric):
    """Base of the ROC curves."""

    _points = staticmethod(_roc)
    _area = staticmethod(_area)
    _draw = staticmethod(plot_roc)


class BinaryROC(_ROC, BinaryCurve):
    """False positive rate, true positive rate, and the thresholds of them, descending.

    `preds` are probabilities or logits of the label 1, `target` is 0 and 1, of the same shape. Exact, keeping
    all scores, with one point for every score that occurs behind (0, 0), whose threshold is 1; of logits, the
    thresholds are the sigmoid. Or with `thresholds` (a number of them, or a list), keeping counts, with one
    point for each. A rate is 0 with a warning where there are no samples of that class.

    Args:
        ignore_index: a value in `target` that stands for no label.
        normalization: "sigmoid", applied where any score is outside [0, 1], or None.
    """


class MulticlassROC(_ROC, MulticlassCurve):
    """What `BinaryROC` gives, for each class against the rest: lists, or of thresholds, tensors (C, T), (T,).

    `preds` (N, C, ...) are probabilities or logits, `target` (N, ...) is 0 ... C - 1.

    Args:
        average: one curve of all classes' scores together ("micro"); or the mean of all curves' true positive
            rates, wherever any of them has a point ("macro").
        ignore_index: a value in `target` that stands for no label.
    """


class MultilabelROC(_ROC, MultilabelCurve):
    """What `BinaryROC` gives, for each label: lists, or of thresholds, tensors (L, T), (T,).

    `preds` (N, L, ...) are probabilities or logits, `target` (N, L, ...) is 0 and 1, or `ignore_index`.
    """


class ROC:
    """Makes a `BinaryROC`, `MulticlassROC` or `MultilabelROC`, by `task`."""

    @by_task(BinaryROC, MulticlassROC, MultilabelROC)
    def __new__(
        cls,
        task: TaskName,
        thresholds: Thresholds = None,
        num_classes: int | None = None,
        num_labels: int | None = None,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> Any: ...
