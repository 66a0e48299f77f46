"""Average precision: the area under the precision-recall curve, in steps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fulmen.metrics.arguments import check_among
from fulmen.metrics.classification.counting import divide
from fulmen.metrics.classification.curve_metrics import (
    CLASS_AVERAGES,
    LABEL_AVERAGES,
    MulticlassArea,
    MultilabelArea,
)
from fulmen.metrics.classification.curves import (
    Curve,
    Curves,
    averaged,
    each,
    fraction,
    real,
    warn_of_missing,
)
from fulmen.metrics.classification.dispatch import TaskName, by_task
from fulmen.metrics.classification.scoring import (
    BinaryScores,
    ClassAverage,
    LabelAverage,
    MulticlassScores,
    MultilabelScores,
    ScoresMetric,
    Thresholds,
)
from fulmen.metrics.dtypes import result_dtype


def _average_precision(
    curves: Curves, average: LabelAverage = None, without_positives: float = 0.0
) -> Tensor:
    warn_of_missing(curves, "positives")

    def of(curve: Curve) -> Tensor:
        added = -torch.diff(curve.tp, append=torch.zeros_like(curve.tp[..., :1]))
        weighted = added * fraction(curve.tp, curve.tp + curve.fp)
        return divide(weighted.sum(-1), real(curve.positives), without_positives)

    return averaged(each(of, curves), curves, average)


def _mean_of_classes(curves: Curves, average: ClassAverage) -> Tensor:
    return _average_precision(curves, average, math.nan)


def binary_average_precision(
    preds: Tensor,
    target: Tensor,
    thresholds: Thresholds = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The average precision of two classes; see `BinaryAveragePrecision`."""
    curves = BinaryScores(thresholds, ignore_index, validate_args).curves(preds, target)
    return _average_precision(curves).to(result_dtype(preds))


def multiclass_average_precision(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    average: ClassAverage = "macro",
    thresholds: Thresholds = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The average precision of each class against the rest; see `MulticlassAveragePrecision`."""
    check_among("average", average, CLASS_AVERAGES)
    curves = MulticlassScores(thresholds, ignore_index, validate_args, num_classes).curves(preds, target)
    return _mean_of_classes(curves, average).to(result_dtype(preds))


def multilabel_average_precision(
    preds: Tensor,
    target: Tensor,
    num_labels: int,
    average: LabelAverage = "macro",
    thresholds: Thresholds = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The average precision of each label; see `MultilabelAveragePrecision`."""
    check_among("average", average, LABEL_AVERAGES)
    scores = MultilabelScores(thresholds, ignore_index, validate_args, num_labels)
    curves = scores.curves(preds, target, micro=average == "micro")
    return _average_precision(curves, average).to(result_dtype(preds))


@by_task(binary_average_precision, multiclass_average_precision, multilabel_average_precision)
def average_precision(
    preds: Tensor,
    target: Tensor,
    task: TaskName,
    thresholds: Thresholds = None,
    num_classes: int | None = None,
    num_labels: int | None = None,
    average: LabelAverage = "macro",
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The average precision of a task; see `AveragePrecision`."""
    ...


class BinaryAveragePrecision(ScoresMetric):
    """The mean of the precisions at all thresholds, weighted by the recall that each adds; 0 to 1.

    `preds` are probabilities or logits of the label 1, `target` is 0 and 1, of the same shape. 0 with a
    warning where there are no positive samples. Exact, keeping all scores; or with `thresholds` (a number of
    them, or a list), keeping counts.

    Args:
        ignore_index: a value in `target` that stands for no label.
        normalization: "sigmoid", applied where any score is outside [0, 1], or None.
    """

    higher_is_better = True

    def __init__(
        self,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        normalization: str | None = "sigmoid",
        **kwargs: Any,
    ) -> None:
        super().__init__(BinaryScores(thresholds, ignore_index, validate_args, normalization), **kwargs)

    def compute(self) -> Tensor:
        """The average precision."""
        return _average_precision(self._curves()).to(self.dtype)


class MulticlassAveragePrecision(MulticlassArea):
    """The average precision of each class against the rest, or the mean of all.

    `preds` (N, C, ...) are probabilities or logits, `target` (N, ...) is 0 ... C - 1. That of a class without
    samples is NaN, with a warning, and left out of the mean. See `BinaryAveragePrecision` for `thresholds`.

    Args:
        average: the mean of all classes ("macro"), weighted by how many samples are of each ("weighted"), or
            one value for each class, (C,).
        ignore_index: a value in `target` that stands for no label.
    """

    _area = staticmethod(_mean_of_classes)


class MultilabelAveragePrecision(MultilabelArea):
    """The average precision of each label, or the mean of all.

    `preds` (N, L, ...) are probabilities or logits, `target` (N, L, ...) is 0 and 1. That of a label that no
    sample has is 0, with a warning. See `BinaryAveragePrecision` for `thresholds`.

    Args:
        average: that of all labels' scores as one ("micro"), the mean of all labels ("macro"), weighted by
            how many samples have each ("weighted"), or one value for each label, (L,).
        ignore_index: a value in `target` that stands for no label.
    """

    _area = staticmethod(_average_precision)


class AveragePrecision:
    """Makes a binary, multiclass or multilabel one, by `task`."""

    @by_task(BinaryAveragePrecision, MulticlassAveragePrecision, MultilabelAveragePrecision)
    def __new__(
        cls,
        task: TaskName,
        thresholds: Thresholds = None,
        num_classes: int | None = None,
        num_labels: int | None = None,
        average: LabelAverage = "macro",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> Any: ...
