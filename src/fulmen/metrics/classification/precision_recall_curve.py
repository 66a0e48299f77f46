"""Precision against recall, over all thresholds."""

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
from fulmen.metrics.plot import plot_precision_recall


def _precision_recall_curve(
    curves: Curves, average: CurveAverage = None, without_positives: float = 1.0
) -> Any:
    warn_of_missing(curves, "positives")

    def points(curve: Curve) -> Points:
        precision = fraction(curve.tp, curve.tp + curve.fp, math.nan)
        recall = fraction(curve.tp, curve.positives.unsqueeze(-1), without_positives)
        return pad(precision, (0, 1), value=1.0), pad(recall, (0, 1)), curve.thresholds

    several = points_of(curves, points)
    return _mean(*several) if average == "macro" else several


def _curve_of_classes(curves: Curves, average: CurveAverage) -> Any:
    return _precision_recall_curve(curves, average, math.nan)


def _mean(precision: Any, recall: Any, thresholds: Any) -> Points:
    """The mean of all curves there are. Its thresholds are those of all, no longer each of one point."""
    every = torch.cat(list(recall)).sort().values
    at_each = [
        interpolated(every, x.flip(0), y.nan_to_num(1.0).flip(0), last=False)
        for x, y in zip(recall, precision, strict=True)
    ]
    if isinstance(thresholds, Tensor):
        thresholds = [thresholds] * len(recall)
    return torch.stack(at_each).nanmean(0).flip(0), every.flip(0), torch.cat(thresholds).sort().values


def _area(precision: Tensor, recall: Tensor) -> Tensor:
    return -(recall.diff() * precision[:-1]).nansum()


def binary_precision_recall_curve(
    preds: Tensor,
    target: Tensor,
    thresholds: Thresholds = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Points:
    """Precision, recall, and thresholds of two classes; see `BinaryPrecisionRecallCurve`."""
    curves = BinaryScores(thresholds, ignore_index, validate_args).curves(preds, target)
    return in_dtype(_precision_recall_curve(with_probabilities(curves)), result_dtype(preds))


def multiclass_precision_recall_curve(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    thresholds: Thresholds = None,
    average: CurveAverage = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Any:
    """Precision, recall, and thresholds of each class; see `MulticlassPrecisionRecallCurve`."""
    check_among("average", average, CURVE_AVERAGES)
    scores = MulticlassScores(thresholds, ignore_index, validate_args, num_classes)
    curves = scores.curves(preds, target, micro=average == "micro")
    return in_dtype(_curve_of_classes(curves, average), result_dtype(preds))


def multilabel_precision_recall_curve(
    preds: Tensor,
    target: Tensor,
    num_labels: int,
    thresholds: Thresholds = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Any:
    """Precision, recall, and thresholds of each label; see `MultilabelPrecisionRecallCurve`."""
    curves = MultilabelScores(thresholds, ignore_index, validate_args, num_labels).curves(preds, target)
    return in_dtype(_precision_recall_curve(with_probabilities(curves)), result_dtype(preds))


@by_task(binary_precision_recall_curve, multiclass_precision_recall_curve, multilabel_precision_recall_curve)
def precision_recall_curve(
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
    """Precision, recall, and thresholds of a task; see `PrecisionRecallCurve`."""
    ...


class _PrecisionRecallCurve(CurveMetric):
    """Base of the precision-recall curves."""

    _points = staticmethod(_precision_recall_curve)
    _area = staticmethod(_area)
    _draw = staticmethod(plot_precision_recall)


class BinaryPrecisionRecallCurve(_PrecisionRecallCurve, BinaryCurve):
    """Precision, recall, and the thresholds of them, ascending.

    The last point, of precision 1 and recall 0, has no threshold.
    `preds` are probabilities or logits of the label 1, `target` is 0 and 1, of the same shape. Exact, keeping
    all scores, with one point for every score that occurs; of logits, the thresholds are the sigmoid. Or with
    `thresholds` (a number of them, or a list), keeping counts, with one point for each: precision is NaN
    where no score reaches one. Recall is 1 with a warning where there are no positive samples.

    Args:
        ignore_index: a value in `target` that stands for no label.
        normalization: "sigmoid", applied where any score is outside [0, 1], or None.
    """


class MulticlassPrecisionRecallCurve(_PrecisionRecallCurve, MulticlassCurve):
    """What `BinaryPrecisionRecallCurve` gives, for each class against the rest.

    Lists, or with thresholds, tensors (C, T + 1), (C, T + 1), (T,).
    `preds` (N, C, ...) are probabilities or logits, `target` (N, ...) is 0 ... C - 1. The recall of a class
    without samples is NaN, with a warning.

    Args:
        average: one curve of all classes' scores together ("micro"); or the mean of all curves' precisions,
            wherever any of them has a point ("macro"; torchmetrics takes that of recalls, which are not a
            function of precision).
        ignore_index: a value in `target` that stands for no label.
    """

    _points = staticmethod(_curve_of_classes)


class MultilabelPrecisionRecallCurve(_PrecisionRecallCurve, MultilabelCurve):
    """What `BinaryPrecisionRecallCurve` gives, for each label.

    Lists, or with thresholds, tensors (L, T + 1), (L, T + 1), (T,).
    `preds` (N, L, ...) are probabilities or logits, `target` (N, L, ...) is 0 and 1, or `ignore_index`.
    """


class PrecisionRecallCurve:
    """Makes a binary, multiclass or multilabel one, by `task`."""

    @by_task(BinaryPrecisionRecallCurve, MulticlassPrecisionRecallCurve, MultilabelPrecisionRecallCurve)
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
