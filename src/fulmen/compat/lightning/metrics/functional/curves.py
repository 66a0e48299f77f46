"""Curves over all thresholds and the areas under them, as 1.0 to 1.4 gave them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fulmen.compat.lightning.metrics.eras import (
    AUC_OF_DISORDER,
    AVERAGE_OF_WEIGHTS,
    LABELS_APART,
    SampleWeights,
    accepting,
    by_version,
    version,
)
from fulmen.compat.lightning.metrics.labels import get_num_classes
from fulmen.errors import ConfigError
from fulmen.metrics.classification.curves import Curve, of_scores

Points = tuple[Tensor, Tensor, Tensor]


def _curve(preds: Tensor, target: Tensor, weights: Any = None, positive: float = 1) -> Curve:
    """How many positives and negatives, or what weights of them, have at least each score."""
    scores, labels = preds.flatten(), (target.flatten() == positive).long()
    exact = of_scores(scores if scores.is_floating_point() else scores.float(), labels)
    if weights is None:
        return exact
    weights = torch.as_tensor(weights, dtype=torch.float32, device=preds.device).flatten()
    reached = scores.unsqueeze(0) >= exact.thresholds.unsqueeze(1).to(scores.dtype)
    tp, fp = ((reached * (weights * of_kind)).sum(1) for of_kind in (labels, 1 - labels))
    return Curve(
        exact.thresholds, tp, fp, (weights * labels).sum(), (weights * (1 - labels)).sum(), is_exact=True
    )


def _roc_of(curve: Curve) -> Points:
    for name, count in (("negative", curve.negatives), ("positive", curve.positives)):
        if count == 0:
            raise ConfigError(f"There is no {name} sample, so that the ROC curve has no meaning.")
    rates = (curve.fp / curve.negatives, curve.tp / curve.positives)
    start = curve.thresholds.new_zeros(1)
    fpr, tpr = (torch.cat([start, rate.float().flip(0)]) for rate in rates)
    descending = curve.thresholds.flip(0)
    return fpr, tpr, torch.cat([descending[:1] + 1, descending])


def _precision_recall_of(curve: Curve) -> Points:
    # Thresholds below the highest one that finds all positives are left out.
    first = int((curve.tp == curve.tp[0]).nonzero().max())
    tp, fp = curve.tp[first:], curve.fp[first:]
    end = curve.thresholds.new_ones(1)
    precision = torch.cat([(tp / (tp + fp)).float(), end])
    return precision, torch.cat([(tp / curve.positives).float(), end * 0]), curve.thresholds[first:]


def _average_precision_of(curve: Curve) -> Tensor:
    precision, recall, _ = _precision_recall_of(curve)
    return -((recall[1:] - recall[:-1]) * precision[:-1]).sum()


def _of_classes(
    preds: Tensor, target: Tensor, num_classes: int | None, pos_label: float | None, weights: Any
) -> Curve | list[Curve]:
    """The curve of class 1, or those of all classes or labels."""
    if preds.ndim == target.ndim + 1 and preds.shape[1] > 1:
        if num_classes != preds.shape[1]:
            raise ConfigError(
                "There are scores of several classes.",
                received=f"num_classes={num_classes}, scores {tuple(preds.shape)}",
                expected=f"num_classes={preds.shape[1]}",
            )
        scores, labels = preds.transpose(0, 1).flatten(1), target.flatten()
        return [_curve(of_class, labels, weights, c) for c, of_class in enumerate(scores)]
    several = preds.ndim > 1 and preds.shape == target.shape and num_classes not in (None, 1)
    if several and not LABELS_APART.is_undone():
        columns = zip(preds.transpose(0, 1), target.transpose(0, 1), strict=True)
        return [_curve(of_label, labels, weights) for of_label, labels in columns]
    return _curve(preds, target, weights, 1 if pos_label is None else pos_label)


def _each(formula: Callable[[Curve], Any], curves: Curve | list[Curve]) -> Any:
    """A formula of a curve, or the list of those of several; of points, a list for each part."""
    if isinstance(curves, Curve):
        return formula(curves)
    values = [formula(curve) for curve in curves]
    return tuple(map(list, zip(*values, strict=True))) if isinstance(values[0], tuple) else values


# ------------------------------------------------------------------------------------------------ curves


def _roc_1_0(
    pred: Tensor, target: Tensor, sample_weight: SampleWeights | None = None, pos_label: float = 1.0
) -> Points:
    """False and true positive rates, and thresholds, of class `pos_label`."""
    return _roc_of(_curve(pred, target, sample_weight, pos_label))


def roc_of(
    preds: Tensor,
    target: Tensor,
    num_classes: int | None = None,
    pos_label: float | None = None,
    sample_weights: SampleWeights | None = None,
) -> Any:
    """False and true positive rates, and thresholds: tensors, or of several classes, lists."""
    return _each(_roc_of, _of_classes(preds, target, num_classes, pos_label, sample_weights))


def _precision_recall_curve_1_0(
    pred: Tensor, target: Tensor, sample_weight: SampleWeights | None = None, pos_label: float = 1.0
) -> Points:
    """Precision, recall, and thresholds, of class `pos_label`."""
    return _precision_recall_of(_curve(pred, target, sample_weight, pos_label))


def precision_recall_curve_of(
    preds: Tensor,
    target: Tensor,
    num_classes: int | None = None,
    pos_label: float | None = None,
    sample_weights: SampleWeights | None = None,
) -> Any:
    """Precision, recall, and thresholds: tensors, or of several classes, lists."""
    return _each(_precision_recall_of, _of_classes(preds, target, num_classes, pos_label, sample_weights))


def _average_precision_1_0(
    pred: Tensor, target: Tensor, sample_weight: SampleWeights | None = None, pos_label: float = 1.0
) -> Tensor:
    """The mean precision over all gains in recall."""
    return _average_precision_of(_curve(pred, target, sample_weight, pos_label))


def average_precision_of(
    preds: Tensor,
    target: Tensor,
    num_classes: int | None = None,
    pos_label: float | None = None,
    sample_weights: SampleWeights | None = None,
) -> Any:
    """The mean precision over all gains in recall; of several classes, a list."""
    if sample_weights is not None:
        AVERAGE_OF_WEIGHTS.say()
    return _each(_average_precision_of, _of_classes(preds, target, num_classes, pos_label, sample_weights))


roc = by_version("roc", {"1.0": _roc_1_0, "1.1": roc_of})
precision_recall_curve = by_version(
    "precision_recall_curve", {"1.0": _precision_recall_curve_1_0, "1.1": precision_recall_curve_of}
)
average_precision = by_version(
    "average_precision", {"1.0": _average_precision_1_0, "1.1": average_precision_of}
)


def _by_class(
    pred: Tensor, target: Tensor, sample_weight: SampleWeights | None, num_classes: int | None
) -> list[Curve]:
    classes = get_num_classes(pred.argmax(1), target, num_classes)
    return [_curve(pred[:, c], target, sample_weight, c) for c in range(classes)]


@accepting(preds="pred")
def multiclass_roc(
    pred: Tensor,
    target: Tensor,
    sample_weight: SampleWeights | None = None,
    num_classes: int | None = None,
) -> tuple[Points, ...]:
    """False and true positive rates, and thresholds, for each class."""
    return tuple(_roc_of(curve) for curve in _by_class(pred, target, sample_weight, num_classes))


@accepting(preds="pred")
def multiclass_precision_recall_curve(
    pred: Tensor,
    target: Tensor,
    sample_weight: SampleWeights | None = None,
    num_classes: int | None = None,
) -> tuple[Points, ...]:
    """Precision, recall, and thresholds, for each class."""
    curves = _by_class(pred, target, sample_weight, num_classes)
    return tuple(_precision_recall_of(curve) for curve in curves)


# ------------------------------------------------------------------------------------------------- areas


def auc(x: Tensor, y: Tensor, reorder: bool | None = None) -> Tensor:
    """The area under points, by trapezoids; `reorder` sorts them."""
    if reorder is None:
        steps = x.diff()
        in_order = bool((steps >= 0).all() or (steps <= 0).all())
        reorder = version() == "1.0" or (not in_order and version() is None)
        if reorder and version() is None:
            AUC_OF_DISORDER.say()
    if reorder:
        order = x.argsort(stable=True)
        x, y = x[order], y[order]
    steps = x.diff()
    if bool((steps < 0).any()) and not bool((steps <= 0).all()):
        raise ConfigError("The points are in no order.", fix="`reorder=True` sorts them")
    area = torch.trapezoid(y, x)
    return -area if bool((steps < 0).any()) else area


def auc_decorator(reorder: bool = True) -> Callable[..., Any]:
    """Makes of a function that gives points one that gives the area under them."""

    def decorate(points: Callable[..., Any]) -> Callable[..., Tensor]:
        def area(*args: Any, **kwargs: Any) -> Tensor:
            x, y = points(*args, **kwargs)[:2]
            return auc(x, y, reorder)

        return area

    return decorate


def multiclass_auc_decorator(reorder: bool = True) -> Callable[..., Any]:
    """Makes of a function that gives points for each class one that gives the areas under them: [C]."""

    def decorate(points: Callable[..., Any]) -> Callable[..., Tensor]:
        def areas(*args: Any, **kwargs: Any) -> Tensor:
            return torch.stack([auc(x, y, reorder) for x, y, *_ in points(*args, **kwargs)])

        return areas

    return decorate


def _area_of(curve: Curve, max_fpr: float | None = None) -> Tensor:
    """The area under a ROC curve; up to `max_fpr`, standardised as D. K. McClish (1989) has it."""
    fpr, tpr, _ = _roc_of(curve)
    if max_fpr is None or max_fpr == 1:
        return torch.trapezoid(tpr, fpr)
    end = torch.tensor(max_fpr, device=fpr.device)
    right = int(torch.searchsorted(fpr, end, right=True))
    share = (end - fpr[right - 1]) / (fpr[right] - fpr[right - 1])
    last = torch.lerp(tpr[right - 1], tpr[right], share)
    area = torch.trapezoid(torch.cat([tpr[:right], last[None]]), torch.cat([fpr[:right], end[None]]))
    least = end**2 / 2
    return (1 + (area - least) / (end - least)) / 2


def _auroc_1_0(
    pred: Tensor, target: Tensor, sample_weight: SampleWeights | None = None, pos_label: float = 1.0
) -> Tensor:
    """The area under the ROC curve of class `pos_label`."""
    if int(target.max()) > 1 or pred.shape != target.shape:
        raise ConfigError("This is of two classes.", fix="`num_classes=`, or `multiclass_auroc`")
    return _area_of(_curve(pred, target, sample_weight, pos_label))


def auroc_of(
    preds: Tensor,
    target: Tensor,
    num_classes: int | None = None,
    pos_label: float | None = None,
    average: str | None = "macro",
    max_fpr: float | None = None,
    sample_weights: Sequence[float] | Tensor | None = None,
) -> Tensor:
    """The area under the ROC curve, of two classes, or averaged over classes or labels."""
    if average not in ("macro", "weighted", "micro", "none", None):
        raise ConfigError("There is no such `average`.", received=repr(average))
    labels = preds.ndim > 1 and preds.shape == target.shape
    if labels and average != "micro":
        columns = zip(preds.transpose(0, 1), target.transpose(0, 1), strict=True)
        curves: Any = [_curve(of_label, true, sample_weights) for of_label, true in columns]
    elif labels:
        curves = _curve(preds, target, sample_weights)
    else:
        curves = _of_classes(preds, target, num_classes, pos_label, sample_weights)
    if isinstance(curves, Curve):
        return _area_of(curves, max_fpr)
    if max_fpr is not None:
        raise ConfigError("`max_fpr` is for two classes.", received=f"scores {tuple(preds.shape)}")
    areas = torch.stack([_area_of(curve) for curve in curves])
    if average in ("none", None):
        return areas
    weights = torch.stack([curve.positives for curve in curves]) if average == "weighted" else areas * 0 + 1
    return (areas * weights).sum() / weights.sum()


auroc = by_version("auroc", {"1.0": _auroc_1_0, "1.2": auroc_of})


@accepting(preds="pred")
def multiclass_auroc(
    pred: Tensor,
    target: Tensor,
    sample_weight: SampleWeights | None = None,
    num_classes: int | None = None,
) -> Tensor:
    """The mean of the areas under the ROC curves of all classes."""
    areas = [_area_of(curve) for curve in _by_class(pred, target, sample_weight, num_classes)]
    return torch.stack(areas).mean()
