"""Masks: references of scikit-learn, on the labels of pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score, jaccard_score
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from fulmen.metrics.functional.segmentation import dice_score, mean_iou
from fulmen.metrics.segmentation import DiceScore, MeanIoU

from .case import Batch, Case

SIZES = (3, 1, 4)
CLASSES = 4


def masks(generator: Generator, input_format: str = "index") -> list[Batch]:
    """Of the first three of four classes; the first sample of a batch is all background."""
    batches: list[Batch] = []
    for size in SIZES:
        preds, target = torch.randint(0, CLASSES - 1, (2, size, 6, 5), generator=generator)
        preds[0] = target[0] = 0
        if input_format == "one-hot":
            preds, target = (one_hot(labels, CLASSES).movedim(-1, 1) for labels in (preds, target))
        elif input_format == "mixed":
            preds = torch.randn(size, CLASSES, 6, 5, generator=generator)
        batches.append((preds, target))
    return batches


def labels_of(mask: Tensor) -> np.ndarray:
    """[N, pixels]."""
    return (mask.argmax(1) if mask.ndim == 4 else mask).flatten(1).numpy()


def of_classes(score: Any, y: np.ndarray, x: np.ndarray, first: int = 0) -> np.ndarray:
    """The scores of classes; NaN for those that are in neither."""
    kept = list(range(first, CLASSES))
    values = score(y, x, labels=kept, average=None, zero_division=0)
    return np.where(np.isin(kept, x) | np.isin(kept, y), values, np.nan)


def of_samples(preds: Tensor, target: Tensor, of: Callable[..., Any]) -> np.ndarray:
    """What `of` gives for each."""
    return np.array([of(y, x) for y, x in zip(labels_of(target), labels_of(preds), strict=True)])


# --------------------------------------------------------------------------------------------------- mean IoU


def jaccard(preds: Tensor, target: Tensor, *, first: int = 0) -> float:
    """The mean over classes and samples."""
    return float(nanmean(of_samples(preds, target, partial(of_classes, jaccard_score, first=first)).ravel()))


def jaccard_per_class(preds: Tensor, target: Tensor) -> np.ndarray:
    """The mean over samples of each class; -1 where there is none."""
    of_each = of_samples(preds, target, partial(of_classes, jaccard_score))
    counted = (~np.isnan(of_each)).sum(0)
    return np.where(counted, np.nansum(of_each, 0) / np.maximum(counted, 1), -1)


def mean_iou_of_all(*args: Any, per_class: bool = False, **options: Any) -> Tensor:
    """What the class gives, of what the function gives for samples and classes."""
    each = mean_iou(*args, per_class=True, **options)
    each = torch.where(each < 0, math.nan, each)
    return each.nanmean(0).nan_to_num(-1) if per_class else each.nanmean()


# ------------------------------------------------------------------------------------------------------- Dice


def f1(preds: Tensor, target: Tensor, *, first: int = 0, samplewise: bool, average: str) -> Any:
    """The mean over samples, or that of all pixels."""
    of = partial(f1_of_pixels, first=first, average=average)
    if samplewise:
        return nanmean(of_samples(preds, target, of))
    return of(labels_of(target).ravel(), labels_of(preds).ravel())


def f1_of_pixels(y: np.ndarray, x: np.ndarray, *, first: int, average: str) -> Any:
    """NaN where there is no pixel of the classes."""
    each = of_classes(f1_score, y, x, first)
    if average == "none" or np.isnan(each).all():
        return each if average == "none" else np.nan
    if average == "macro":
        return np.nanmean(each)
    scored: Any = f1_score
    return scored(y, x, labels=list(range(first, CLASSES)), average=average, zero_division=0)


def nanmean(values: np.ndarray) -> np.ndarray:
    """Over the first dimension, of what is not NaN."""
    counted = (~np.isnan(values)).sum(0)
    return np.where(counted, np.nansum(values, 0) / np.maximum(counted, 1), np.nan)


def f1_with_zeros(preds: Tensor, target: Tensor) -> float:
    """The mean over samples and classes, 1 for those that are not there."""
    return float(np.nan_to_num(of_samples(preds, target, partial(of_classes, f1_score)), nan=1.0).mean())


def dice_of_all(*args: Any, **options: Any) -> Tensor:
    """What the class gives, of what the function gives for samples."""
    return dice_score(*args, **options).nanmean(0)


def _case(name: str, kind: Any, functional: Any, reference: Any, **options: Any) -> Case:
    batches = partial(masks, input_format=options.get("input_format", "one-hot"))
    bound = partial(functional, **options)
    return Case(f"{kind.__name__}, {name}", partial(kind, **options), batches, reference, bound, half=False)


INDEX: dict[str, Any] = {"num_classes": CLASSES, "input_format": "index"}
CASES = [
    _case("labels", MeanIoU, mean_iou_of_all, jaccard, **INDEX),
    _case(
        "without background",
        MeanIoU,
        mean_iou_of_all,
        partial(jaccard, first=1),
        include_background=False,
        **INDEX,
    ),
    _case("of classes", MeanIoU, mean_iou_of_all, jaccard_per_class, per_class=True, **INDEX),
    _case("one-hot", MeanIoU, mean_iou_of_all, jaccard),
    _case("one-hot, of classes", MeanIoU, mean_iou_of_all, jaccard_per_class, per_class=True),
    _case("scores and labels", MeanIoU, mean_iou_of_all, jaccard, num_classes=CLASSES, input_format="mixed"),
    *(
        _case(
            f"{average}, {level}{', without background' if first else ''}",
            DiceScore,
            dice_of_all,
            partial(f1, first=first, samplewise=level == "samplewise", average=average),
            average=average,
            aggregation_level=level,
            include_background=not first,
            **INDEX,
        )
        for average in ("micro", "macro", "weighted", "none")
        for level in ("samplewise", "global")
        for first in (0, 1)
    ),
    _case(
        "one-hot",
        DiceScore,
        dice_of_all,
        partial(f1, samplewise=True, average="macro"),
        num_classes=CLASSES,
        aggregation_level="samplewise",
    ),
    _case(
        "absent classes are 1",
        DiceScore,
        dice_of_all,
        f1_with_zeros,
        zero_division=1.0,
        aggregation_level="samplewise",
        **INDEX,
    ),
]
