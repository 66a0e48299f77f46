"""How predicted and true classes coincide: confusion matrix, IoU, dice."""

from __future__ import annotations

import torch
from torch import Tensor

from fulmen.compat.lightning.metrics.eras import (
    IGNORED_CLASS,
    SCORES_AS_LABELS,
    Threshold,
    accepting,
    by_version,
)
from fulmen.compat.lightning.metrics.functional.per_class import scores_as_labels, stat_scores_of_class
from fulmen.compat.lightning.metrics.inputs import read
from fulmen.compat.lightning.metrics.labels import get_num_classes, reduce
from fulmen.errors import ConfigError
from fulmen.metrics.functional import multiclass_confusion_matrix


def normalized(matrix: Tensor, normalize: str | None) -> Tensor:
    """A matrix divided by the sums of its rows ("true"), of its columns ("pred") or of "all"; 0 / 0 is 0."""
    dims = {None: (), "none": (), "true": (1,), "pred": (0,), "all": (0, 1)}
    if normalize not in dims:
        raise ConfigError(
            "There is no such `normalize`.",
            received=repr(normalize),
            expected="'true', 'pred', 'all', 'none' or None",
        )
    if not dims[normalize]:
        return matrix.clone()
    return (matrix / matrix.sum(dims[normalize], keepdim=True)).nan_to_num(0.0)


def _matrix(preds: Tensor, target: Tensor, num_classes: int) -> Tensor:
    return multiclass_confusion_matrix(preds, target, num_classes).float()


def _confusion_matrix_1_0(
    pred: Tensor, target: Tensor, normalize: bool = False, num_classes: int | None = None
) -> Tensor:
    """How often each label is predicted (columns) where each is true (rows)."""
    pred, target = pred.flatten().long(), target.flatten().long()
    classes = get_num_classes(pred, target, num_classes)
    return normalized(_matrix(pred, target, classes), "true" if normalize else None)


def _confusion_matrix_1_1(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    normalize: str | None = None,
    threshold: float = 0.5,
) -> Tensor:
    """How often each class is predicted (columns) where each is true (rows); or parts."""
    labels = read(preds, target, threshold, num_classes=num_classes).labels
    return normalized(_matrix(*labels, num_classes), normalize)


confusion_matrix = by_version(
    "confusion_matrix",
    {"1.0": _confusion_matrix_1_0, "1.1": _confusion_matrix_1_1},
    SCORES_AS_LABELS,
    scores_as_labels,
)


def iou_of(
    matrix: Tensor,
    ignore_index: int | None = None,
    absent_score: float = 0.0,
    reduction: str = "elementwise_mean",
) -> Tensor:
    """Intersection over union of a confusion matrix."""
    is_ignored = ignore_index is not None and 0 <= ignore_index < len(matrix)
    if is_ignored and not IGNORED_CLASS.is_undone(lambda: bool(matrix[ignore_index].sum() > 0)):
        matrix = matrix.clone()
        matrix[ignore_index] = 0
    both = matrix.diag()
    either = matrix.sum(0) + matrix.sum(1) - both
    scores = torch.where(either == 0, absent_score, both / either)
    if is_ignored:
        kept = torch.arange(len(matrix), device=matrix.device) != ignore_index
        scores = scores[kept]
    return reduce(scores, reduction)


def _iou_1_0(
    pred: Tensor,
    target: Tensor,
    ignore_index: int | None = None,
    absent_score: float = 0.0,
    num_classes: int | None = None,
    reduction: str = "elementwise_mean",
) -> Tensor:
    """Intersection over union of labels."""
    return _iou_1_2(pred, target, ignore_index, absent_score, Threshold(0.5), num_classes, reduction)


def _iou_1_2(
    preds: Tensor,
    target: Tensor,
    ignore_index: int | None = None,
    absent_score: float = 0.0,
    threshold: Threshold = Threshold(0.5),  # noqa: B008 - a float
    num_classes: int | None = None,
    reduction: str = "elementwise_mean",
) -> Tensor:
    """Intersection over union of labels or scores; `absent_score` is that of classes that are nowhere."""
    if num_classes is None:
        num_classes = get_num_classes(preds, target) if not preds.is_floating_point() else None
    labels = read(preds, target, threshold, num_classes=num_classes).labels
    return iou_of(
        _matrix(*labels, get_num_classes(*labels, num_classes)), ignore_index, absent_score, reduction
    )


iou = by_version("iou", {"1.0": _iou_1_0, "1.2": _iou_1_2})


@accepting(preds="pred")
def dice_score(
    pred: Tensor,
    target: Tensor,
    bg: bool = False,
    nan_score: float = 0.0,
    no_fg_score: float = 0.0,
    reduction: str = "elementwise_mean",
) -> Tensor:
    """Twice the true positives by all that are predicted or true, of each class but 0 (`bg` takes it in).

    Args:
        nan_score: of classes without any count.
        no_fg_score: of classes that are nowhere true.
    """
    scores = []
    for index in range(0 if bg else 1, pred.shape[1]):
        tp, fp, _, fn, support = stat_scores_of_class(pred, target, index)
        if not support:
            scores.append(no_fg_score)
            continue
        whole = float(2 * tp + fp + fn)
        scores.append(float(2 * tp) / whole if whole else nan_score)
    return reduce(torch.tensor(scores, device=pred.device), reduction)
