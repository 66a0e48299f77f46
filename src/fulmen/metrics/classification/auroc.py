"""The area under the ROC curve."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from fulmen.errors import ConfigError
from fulmen.metrics.arguments import check_among
from fulmen.metrics.classification.counting import divide
from fulmen.metrics.classification.curve_metrics import (
    CLASS_AVERAGES,
    LABEL_AVERAGES,
    MulticlassArea,
    MultilabelArea,
)
from fulmen.metrics.classification.curves import Curve, Curves, averaged, each, fraction, warn_of_missing
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


def _auroc(curves: Curves, average: LabelAverage = None, max_fpr: float | None = None) -> Tensor:
    warn_of_missing(curves, "positives", "negatives")
    area = _area if max_fpr is None or max_fpr == 1 else lambda curve: _partial_area(curve, max_fpr)
    return averaged(each(area, curves), curves, average)


def _area(curve: Curve) -> Tensor:
    """By the trapezoidal rule, in whole numbers."""
    fp, tp = _from_all_to_none(curve)
    doubled = ((fp[..., :-1] - fp[..., 1:]) * (tp[..., :-1] + tp[..., 1:])).sum(-1)
    return fraction(doubled, 2 * curve.positives * curve.negatives)


def _partial_area(curve: Curve, max_fpr: float) -> Tensor:
    """The area up to a false positive rate, scaled as by McClish (1989)."""
    fp, tp = _from_all_to_none(curve)
    x, y = fraction(fp, curve.negatives), fraction(tp, curve.positives)
    within = x.clamp(max=max_fpr)
    share = divide(within[:-1] - within[1:], x[:-1] - x[1:])
    heights = 2 * y[1:] + (y[:-1] - y[1:]) * share
    area = ((within[:-1] - within[1:]) * heights).sum() / 2
    least = max_fpr**2 / 2
    scaled = (1 + (area - least) / (max_fpr - least)) / 2
    return torch.where(curve.positives * curve.negatives > 0, scaled, 0.0)


def _from_all_to_none(curve: Curve) -> tuple[Tensor, Tensor]:
    """False and true positives, from where every sample is called positive to where none is."""
    fp = torch.cat((curve.negatives.unsqueeze(-1), curve.fp), -1)
    tp = torch.cat((curve.positives.unsqueeze(-1), curve.tp), -1)
    return pad(fp, (0, 1)), pad(tp, (0, 1))


def _check_max_fpr(max_fpr: float | None) -> None:
    if max_fpr is not None and not 0 < max_fpr <= 1:
        raise ConfigError(
            "`max_fpr` cannot be used.", received=max_fpr, expected="None, or above 0 and at most 1"
        )


def binary_auroc(
    preds: Tensor,
    target: Tensor,
    max_fpr: float | None = None,
    thresholds: Thresholds = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The area under the ROC curve of two classes; see `BinaryAUROC`."""
    _check_max_fpr(max_fpr)
    curves = BinaryScores(thresholds, ignore_index, validate_args).curves(preds, target)
    return _auroc(curves, max_fpr=max_fpr).to(result_dtype(preds))


def multiclass_auroc(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    average: ClassAverage = "macro",
    thresholds: Thresholds = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The area under the ROC curve of each class against the rest; see `MulticlassAUROC`."""
    check_among("average", average, CLASS_AVERAGES)
    curves = MulticlassScores(thresholds, ignore_index, validate_args, num_classes).curves(preds, target)
    return _auroc(curves, average).to(result_dtype(preds))


def multilabel_auroc(
    preds: Tensor,
    target: Tensor,
    num_labels: int,
    average: LabelAverage = "macro",
    thresholds: Thresholds = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The area under the ROC curve of each label; see `MultilabelAUROC`."""
    check_among("average", average, LABEL_AVERAGES)
    scores = MultilabelScores(thresholds, ignore_index, validate_args, num_labels)
    return _auroc(scores.curves(preds, target, micro=average == "micro"), average).to(result_dtype(preds))


@by_task(binary_auroc, multiclass_auroc, multilabel_auroc)
def auroc(
    preds: Tensor,
    target: Tensor,
    task: TaskName,
    thresholds: Thresholds = None,
    num_classes: int | None = None,
    num_labels: int | None = None,
    average: LabelAverage = "macro",
    max_fpr: float | None = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The area under the ROC curve of a task; see `AUROC`."""
    ...


class BinaryAUROC(ScoresMetric):
    """The area under the ROC curve: the probability that a positive sample scores higher than a negative one.

    `preds` are probabilities or logits of the label 1, `target` is 0 and 1, of the same shape. 0 to 1, chance
    is 0.5; 0 with a warning where one of the classes is missing. Exact, keeping all scores; or with
    `thresholds` (a number of them, or a list), keeping counts, of the polygon through their points and the
    corners (0, 0) and (1, 1).

    Args:
        max_fpr: the area up to this false positive rate only, scaled so that chance is 0.5 and the best is 1.
        ignore_index: a value in `target` that stands for no label.
    """

    higher_is_better = True

    def __init__(
        self,
        max_fpr: float | None = None,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(BinaryScores(thresholds, ignore_index, validate_args), **kwargs)
        _check_max_fpr(max_fpr)
        self.max_fpr = max_fpr

    def compute(self) -> Tensor:
        """The area."""
        return _auroc(self._curves(), max_fpr=self.max_fpr).to(self.dtype)


class MulticlassAUROC(MulticlassArea):
    """The area under the ROC curve of each class against the rest, or the mean of all.

    `preds` (N, C, ...) are probabilities or logits, `target` (N, ...) is 0 ... C - 1. The area of a class
    that no sample, or every one, belongs to is 0, with a warning. See `BinaryAUROC` for `thresholds`.

    Args:
        average: the mean of all classes ("macro"), weighted by how many samples are of each ("weighted"), or
            one value for each class, (C,).
        ignore_index: a value in `target` that stands for no label.
    """

    _area = staticmethod(_auroc)


class MultilabelAUROC(MultilabelArea):
    """The area under the ROC curve of each label, or the mean of all.

    `preds` (N, L, ...) are probabilities or logits, `target` (N, L, ...) is 0 and 1. The area of a label that
    no sample, or every one, has is 0, with a warning. See `BinaryAUROC` for `thresholds`.

    Args:
        average: the area of all labels' scores as one ("micro"), the mean of all labels ("macro"), weighted
            by how many samples have each ("weighted"), or one value for each label, (L,).
        ignore_index: a value in `target` that stands for no label.
    """

    _area = staticmethod(_auroc)


class AUROC:
    """Makes a `BinaryAUROC`, `MulticlassAUROC` or `MultilabelAUROC`, by `task`."""

    @by_task(BinaryAUROC, MulticlassAUROC, MultilabelAUROC)
    def __new__(
        cls,
        task: TaskName,
        thresholds: Thresholds = None,
        num_classes: int | None = None,
        num_labels: int | None = None,
        average: LabelAverage = "macro",
        max_fpr: float | None = None,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> Any: ...
