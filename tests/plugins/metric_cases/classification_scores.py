"""Cases of metrics of scores: curves, the areas under them, calibration, and losses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn import metrics as sklearn
from torch import Generator, Tensor

from fulmen.metrics import classification as kinds
from fulmen.metrics.functional import classification as functions

from .case import Batch, Case

CLASSES = 4
THRESHOLDS = [0.0, 0.2, 0.45, 0.7, 1.0]
SIZES = (40, 13, 27)
IGNORED = -1

Array = np.ndarray

# ---------------------------------------------------------------------------------------------------- batches


def _with_ignored(target: Tensor, ignore: bool) -> Tensor:
    """Labels of which some are to be ignored, but none of the first, by which every class is there."""
    if ignore:
        target[2 * CLASSES :: 5] = IGNORED
    return target


def _binary(generator: Generator, *, logits: bool = False, ignore: bool = False) -> list[Batch]:
    batches = []
    for size in SIZES:
        # A grid that half precision holds exactly, so that scores tie there as they do here.
        scores = torch.randint(1, 64, (size,), generator=generator) / 64
        target = (torch.rand(size, generator=generator) < scores).long()
        target[:2] = torch.tensor([0, 1])
        batches.append(((scores * 16 - 8) if logits else scores, _with_ignored(target, ignore)))
    return batches


def _multiclass(generator: Generator, *, logits: bool = False, ignore: bool = False) -> list[Batch]:
    batches = []
    for size in SIZES:
        scores = torch.randn(size, CLASSES, generator=generator)
        target = torch.randint(CLASSES, (size,), generator=generator)
        target[:CLASSES] = torch.arange(CLASSES)
        batches.append((scores if logits else scores.softmax(1), _with_ignored(target, ignore)))
    return batches


def _multilabel(generator: Generator, *, logits: bool = False, ignore: bool = False) -> list[Batch]:
    batches = []
    for size in SIZES:
        scores = torch.randint(1, 64, (size, CLASSES), generator=generator) / 64
        target = (torch.rand(size, CLASSES, generator=generator) < scores).long()
        target[:2] = torch.tensor([[0], [1]])
        batches.append(((scores * 16 - 8) if logits else scores, _with_ignored(target, ignore)))
    return batches


# ------------------------------------------------------------------------------------------------- references


def _columns(preds: Tensor, target: Tensor) -> list[tuple[Array, Array]]:
    """Scores in float64 and labels 0 and 1 of each class, without those to be ignored."""
    scores = preds.double()
    if preds.ndim == 1:
        return [(scores[target != IGNORED].numpy(), target[target != IGNORED].numpy())]
    if target.ndim == 2:
        return [column for i in range(preds.shape[1]) for column in _columns(preds[:, i], target[:, i])]
    kept = target != IGNORED
    scores = _class_probabilities(preds)[kept]
    return [(scores[:, i].numpy(), (target[kept] == i).long().numpy()) for i in range(preds.shape[1])]


def _class_probabilities(preds: Tensor) -> Tensor:
    """In float32, as the metrics take them, so that those tie that tie there."""
    outside = bool(((preds < 0) | (preds > 1)).any())
    return (preds.float().softmax(1) if outside else preds).double()


def _probabilities(scores: Array) -> Array:
    return 1 / (1 + np.exp(-scores)) if scores.min() < 0 or scores.max() > 1 else scores


def _all_as_one(preds: Tensor, target: Tensor) -> tuple[Array, Array]:
    scores, labels = zip(*_columns(preds, target), strict=True)
    return np.concatenate(scores), np.concatenate(labels)


def _averaged(score: Callable[..., float], average: str | None, preds: Tensor, target: Tensor) -> Any:
    """A score of scikit-learn's of each class, and its mean."""
    if average == "micro":
        scores, labels = _all_as_one(preds, target)
        return score(labels, scores)
    columns = _columns(preds, target)
    values = np.array([score(labels, scores) for scores, labels in columns])
    if average is None:
        return values if preds.ndim > 1 else values[0]
    return np.average(
        values, weights=[labels.sum() for _, labels in columns] if average == "weighted" else None
    )


def _at_thresholds(scores: Array, labels: Array) -> tuple[Array, Array]:
    """True and false positive at each threshold, counted one by one."""
    called = _probabilities(scores)[None] >= np.array(THRESHOLDS, dtype=np.float32)[:, None]
    return (called & (labels == 1)).sum(1), (called & (labels == 0)).sum(1)


def _roc(scores: Array, labels: Array) -> tuple[Array, Array, Array]:
    fpr, tpr, thresholds = sklearn.roc_curve(labels, scores, drop_intermediate=False)
    return fpr, tpr, np.append(1.0, _probabilities(thresholds[1:]))


def _binned_roc(scores: Array, labels: Array) -> tuple[Array, Array, Array]:
    tp, fp = _at_thresholds(scores, labels)
    return fp[::-1] / (labels == 0).sum(), tp[::-1] / labels.sum(), np.array(THRESHOLDS[::-1])


def _pr_curve(scores: Array, labels: Array) -> tuple[Array, Array, Array]:
    precision, recall, thresholds = sklearn.precision_recall_curve(labels, scores)
    return precision, recall, _probabilities(thresholds.copy())


def _binned_pr_curve(scores: Array, labels: Array) -> tuple[Array, Array, Array]:
    tp, fp = _at_thresholds(scores, labels)
    with np.errstate(invalid="ignore"):
        precision = tp / (tp + fp)
    return np.append(precision, 1.0), np.append(tp / labels.sum(), 0.0), np.array(THRESHOLDS)


def _curve(of: Callable[..., Any], average: str | None, preds: Tensor, target: Tensor) -> Any:
    """A curve of each class: parts that are lists, or arrays with thresholds in common."""
    if preds.ndim == 1:
        return of(*_columns(preds, target)[0])
    if average == "micro":
        return of(*_all_as_one(preds, target))
    first, second, thresholds = zip(*(of(*column) for column in _columns(preds, target)), strict=True)
    if of in (_binned_roc, _binned_pr_curve):
        return np.stack(first), np.stack(second), thresholds[0]
    return list(first), list(second), list(thresholds)


def _binned_area(labels: Array, scores: Array) -> float:
    fpr, tpr, _ = _binned_roc(scores, labels)
    return sklearn.auc(np.concatenate(([0], fpr, [1])), np.concatenate(([0], tpr, [1])))


def _binned_precision(labels: Array, scores: Array) -> float:
    precision, recall, _ = _binned_pr_curve(scores, labels)
    return float(-(np.diff(recall) * np.nan_to_num(precision[:-1])).sum())


def _calibration(norm: str, n_bins: int, preds: Tensor, target: Tensor) -> float:
    if preds.ndim == 1:
        ((confidence, right),) = _columns(preds, target)
        confidence = _probabilities(confidence)
    else:
        chances, kept = _class_probabilities(preds).numpy(), (target != IGNORED).numpy()
        confidence, right = chances.max(1)[kept], (chances.argmax(1) == target.numpy())[kept]
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    share = np.array([(bins == b).mean() for b in range(n_bins)])
    gaps = np.array(
        [
            abs(right[bins == b].mean() - confidence[bins == b].mean()) if share[b] else 0
            for b in range(n_bins)
        ]
    )
    return {"l1": (share * gaps).sum(), "l2": np.sqrt((share * gaps**2).sum()), "max": gaps.max()}[norm]


def _hinge(squared: bool, preds: Tensor, target: Tensor) -> float:
    ((scores, labels),) = _columns(preds, target)
    scores = _probabilities(scores)
    if not squared:
        return sklearn.hinge_loss(labels, scores)
    return float((np.maximum(0, 1 - np.where(labels == 1, scores, -scores)) ** 2).mean())


def _class_hinge(mode: str, preds: Tensor, target: Tensor) -> Any:
    kept = target != IGNORED
    scores, labels = _class_probabilities(preds)[kept].numpy(), target[kept].numpy()
    if mode == "crammer-singer":
        return sklearn.hinge_loss(labels, scores, labels=list(range(CLASSES)))
    return np.array([sklearn.hinge_loss(labels == label, scores[:, label]) for label in range(CLASSES)])


def _log_loss(preds: Tensor, target: Tensor) -> Any:
    if target.ndim == preds.ndim:
        columns = _columns(preds, target)
        return np.mean([sklearn.log_loss(labels, _probabilities(scores)) for scores, labels in columns])
    kept = target != IGNORED
    chances = preds[kept].double()
    outside = bool(((preds < 0) | (preds > 1)).any())
    chances = chances.softmax(1) if outside else chances / chances.sum(1, keepdim=True)
    return sklearn.log_loss(target[kept], chances, labels=list(range(CLASSES)))


# ------------------------------------------------------------------------------------------------------ cases

_TASKS: dict[str, tuple[str, Any, dict[str, int]]] = {
    "Binary": ("binary", _binary, {}),
    "Multiclass": ("multiclass", _multiclass, {"num_classes": CLASSES}),
    "Multilabel": ("multilabel", _multilabel, {"num_labels": CLASSES}),
}


def _case(
    task: str, kind: str, function: str, reference: Any, note: str = "",
    *, logits: bool = False, ignore: bool = False, **options: Any,
) -> Case:  # fmt: skip
    name, batches, size = _TASKS[task]
    if ignore:
        options["ignore_index"] = IGNORED
    words = [f"{task}{kind}", note, "logits" if logits else "", "ignore_index" if ignore else ""]
    return Case(
        name="-".join(word for word in words if word),
        metric=partial(getattr(kinds, f"{task}{kind}"), **size, **options),
        batches=partial(batches, logits=logits, ignore=ignore),
        reference=reference,
        functional=partial(getattr(functions, f"{name}_{function}"), **size, **options),
    )


def _curve_cases(kind: str, function: str, exact: Any, binned: Any) -> list[Case]:
    cases = []
    for task in _TASKS:
        averages = (None, "micro") if task == "Multiclass" else (None,)
        for average in averages:
            options = {"average": average} if average else {}
            one = partial(_case, task, kind, function, **options)
            note = average or "each"
            cases += [
                one(partial(_curve, exact, average), note),
                one(partial(_curve, exact, average), note, logits=True, ignore=True),
                one(partial(_curve, binned, average), f"{note}-thresholds", thresholds=THRESHOLDS),
            ]
    return cases


def _area_cases(kind: str, function: str, exact: Any, binned: Any) -> list[Case]:
    averages = {
        "Binary": (),
        "Multiclass": ("macro", "weighted"),
        "Multilabel": ("micro", "macro", "weighted"),
    }
    cases = []
    for task in _TASKS:
        options: dict[str, Any] = {} if task == "Binary" else {"average": None}
        cases.append(_case(task, kind, function, partial(_averaged, exact, None), **options))
        for average in (None, *averages[task]):
            one = partial(_case, task, kind, function, **(options and {"average": average}))
            note = average or "each"
            cases.append(one(partial(_averaged, exact, average), note, logits=True, ignore=True))
            cases.append(
                one(partial(_averaged, binned, average), f"{note}-thresholds", thresholds=THRESHOLDS)
            )
    return cases


CASES = [
    *_curve_cases("ROC", "roc", _roc, _binned_roc),
    *_curve_cases("PrecisionRecallCurve", "precision_recall_curve", _pr_curve, _binned_pr_curve),
    *_area_cases("AUROC", "auroc", sklearn.roc_auc_score, _binned_area),
    *_area_cases("AveragePrecision", "average_precision", sklearn.average_precision_score, _binned_precision),
    _case(
        "Binary",
        "AUROC",
        "auroc",
        partial(_averaged, partial(sklearn.roc_auc_score, max_fpr=0.3), None),
        "max_fpr",
        max_fpr=0.3,
    ),
    *(
        _case(
            task,
            "CalibrationError",
            "calibration_error",
            partial(_calibration, norm, n_bins),
            f"{norm}{n_bins}",
            norm=norm,
            n_bins=n_bins,
            logits=logits,
            ignore=logits,
        )
        for task in ("Binary", "Multiclass")
        for norm, n_bins, logits in (("l1", 15, False), ("l1", 5, True), ("l2", 10, False), ("max", 7, False))
    ),
    *(
        _case(
            "Binary",
            "HingeLoss",
            "hinge_loss",
            partial(_hinge, squared),
            f"squared{squared}",
            squared=squared,
            logits=logits,
            ignore=logits,
        )
        for squared in (False, True)
        for logits in (False, True)
    ),
    *(
        _case(
            "Multiclass",
            "HingeLoss",
            "hinge_loss",
            partial(_class_hinge, mode),
            mode,
            multiclass_mode=mode,
            logits=logits,
            ignore=logits,
        )
        for mode in ("crammer-singer", "one-vs-all")
        for logits in (False, True)
    ),
    *(
        _case(task, "LogLoss", "log_loss", _log_loss, logits=logits, ignore=logits)
        for task in _TASKS
        for logits in (False, True)
    ),
]
"""Each against scikit-learn, or, with given thresholds, against counts made threshold by threshold."""
