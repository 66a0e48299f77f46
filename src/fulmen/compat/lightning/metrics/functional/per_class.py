"""The functions of 1.0 and 1.1 that count each class, and those that became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fulmen.compat.lightning.metrics.counts import (
    Ratio,
    check_average,
    counts,
    f_beta_ratio,
    precision_ratio,
    recall_ratio,
    score,
)
from fulmen.compat.lightning.metrics.eras import (
    IS_MULTICLASS,
    SCORES_AS_LABELS,
    Threshold,
    accepting,
    by_version,
    version,
)
from fulmen.compat.lightning.metrics.inputs import Inputs, as_multiclass, read
from fulmen.compat.lightning.metrics.labels import (
    class_reduce,
    get_num_classes,
    reduce,
    to_categorical,
)
from fulmen.metrics.functional import binary_stat_scores

HALF = Threshold(0.5)


def scores_as_labels(arguments: Mapping[str, Any]) -> bool:
    """Whether scores were taken for labels by 1.0 and 1.1."""
    preds, target = arguments["preds"], arguments["target"]
    return preds.is_floating_point() and preds.shape == target.shape


def _labels(pred: Tensor, target: Tensor, argmax_dim: int = 1) -> tuple[Tensor, Tensor]:
    if pred.ndim == target.ndim + 1:
        pred = to_categorical(pred, argmax_dim)
    return pred.long(), target.long()


# ------------------------------------------------------------------------------------------------ counts


def stat_scores_of_class(
    pred: Tensor, target: Tensor, class_index: int, argmax_dim: int = 1
) -> tuple[Tensor, ...]:
    """True and false positives, true and false negatives, and how many are true, of one class."""
    pred, target = _labels(pred, target, argmax_dim)
    return binary_stat_scores((pred == class_index).long(), (target == class_index).long()).unbind()


def _stat_scores_1_2(
    preds: Tensor,
    target: Tensor,
    reduce: str = "micro",
    mdmc_reduce: str | None = None,
    num_classes: int | None = None,
    top_k: int | None = None,
    threshold: float = 0.5,
    is_multiclass: bool | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    """True and false positives, true and false negatives, and how many are true: see `StatScores`."""
    inputs = read(preds, target, threshold, top_k, num_classes, is_multiclass)
    return counts(inputs, reduce, mdmc_reduce, ignore_index)


stat_scores = by_version("stat_scores", {"1.0": stat_scores_of_class, "1.2": _stat_scores_1_2})


@accepting(preds="pred")
def stat_scores_multiple_classes(
    pred: Tensor,
    target: Tensor,
    num_classes: int | None = None,
    argmax_dim: int = 1,
    reduction: str = "none",
) -> tuple[Tensor, ...]:
    """True and false positives, true and false negatives, and how many are true, of each class: [C] each."""
    pred, target = _labels(pred, target, argmax_dim)
    classes = torch.arange(get_num_classes(pred, target, num_classes), device=pred.device)
    pred, target = ((labels.reshape(-1, 1) == classes).long() for labels in (pred, target))
    values = counts(Inputs(pred, target, are_classes=False), "macro", None)
    return tuple(reduce(part.float(), reduction) for part in values.unbind(-1))


# ------------------------------------------------------------------------------- accuracy, precision, recall


def right_of(
    preds: Tensor, target: Tensor, threshold: float, top_k: int | None, subset_accuracy: bool
) -> Tensor:
    """Whether each prediction is right; of several labels or positions, each of them, or all of a sample."""
    right = read(preds, target, threshold, top_k).right
    return right.flatten(1).all(1) if subset_accuracy and right.ndim > 1 else right


def _accuracy_1_0(
    pred: Tensor,
    target: Tensor,
    num_classes: int | None = None,
    class_reduction: str = "micro",
    return_state: bool = False,
) -> Any:
    """How many labels are right, of all or of each class."""
    tps, _, _, _, sups = stat_scores_multiple_classes(pred, target, num_classes)
    if return_state:
        return {"tps": tps, "sups": sups}
    return class_reduce(tps, sups, sups, class_reduction)


def _accuracy_1_2(
    preds: Tensor,
    target: Tensor,
    threshold: Threshold = HALF,
    top_k: int | None = None,
    subset_accuracy: bool = False,
) -> Tensor:
    """How many of all predictions are right: see `Accuracy`."""
    return right_of(preds, target, threshold, top_k, subset_accuracy).float().mean()


accuracy = by_version(
    "accuracy", {"1.0": _accuracy_1_0, "1.2": _accuracy_1_2}, SCORES_AS_LABELS, scores_as_labels
)


def _precision_recall_1_0(
    pred: Tensor,
    target: Tensor,
    num_classes: int | None = None,
    class_reduction: str = "micro",
    return_support: bool = False,
    return_state: bool = False,
) -> Any:
    """Precision and recall of labels."""
    tps, fps, _, fns, sups = stat_scores_multiple_classes(pred, target, num_classes)
    if return_state:
        return {"tps": tps, "fps": fps, "fns": fns, "sups": sups}
    both = tuple(
        class_reduce(*ratio(tps, fps, fns), sups, class_reduction)
        for ratio in (precision_ratio, recall_ratio)
    )
    return (*both, sups) if return_support else both


def _score_1_0(ratio: Ratio, pred: Tensor, target: Tensor, num_classes: int | None, reduction: str) -> Tensor:
    tps, fps, _, fns, sups = stat_scores_multiple_classes(pred, target, num_classes)
    return class_reduce(*ratio(tps, fps, fns), sups, reduction)


def _form_1_0(ratio: Ratio) -> Callable[..., Tensor]:
    """A score of labels, as 1.0 had it."""

    def form(
        pred: Tensor, target: Tensor, num_classes: int | None = None, class_reduction: str = "micro"
    ) -> Tensor:
        return _score_1_0(ratio, pred, target, num_classes, class_reduction)

    return form


def _scores(
    ratios: tuple[Ratio, ...],
    preds: Tensor,
    target: Tensor,
    average: str | None,
    mdmc_average: str | None = None,
    ignore_index: int | None = None,
    num_classes: int | None = None,
    threshold: float = 0.5,
    top_k: int | None = None,
    is_multiclass: bool | None = None,
) -> tuple[Tensor, ...]:
    """Scores of one set of counts."""
    check_average(average)
    inputs = read(preds, target, threshold, top_k, num_classes, is_multiclass)
    reduction = average if average in ("micro", "samples") else "macro"
    values = counts(inputs, str(reduction), mdmc_average, ignore_index)
    samplewise = mdmc_average == "samplewise" and inputs.preds.ndim == 3
    return tuple(score(values, ratio, average, samplewise) for ratio in ratios)


def _form_1_2(*ratios: Ratio) -> Callable[..., Any]:
    """One or several scores, as 1.2 had them: see `Precision`."""

    def form(
        preds: Tensor,
        target: Tensor,
        average: str | None = "micro",
        mdmc_average: str | None = None,
        ignore_index: int | None = None,
        num_classes: int | None = None,
        threshold: float = 0.5,
        top_k: int | None = None,
        is_multiclass: bool | None = None,
    ) -> Any:
        say_if_heeded(is_multiclass)
        options = (mdmc_average, ignore_index, num_classes, threshold, top_k, is_multiclass)
        scores = _scores(ratios, preds, target, average, *options)
        return scores if len(ratios) > 1 else scores[0]

    return form


def say_if_heeded(is_multiclass: bool | None) -> None:
    """Warn that 1.4 does not heed `is_multiclass`, if it is given."""
    if is_multiclass is not None and version() in (None, "1.4"):
        IS_MULTICLASS.say()


precision = by_version(
    "precision",
    {"1.0": _form_1_0(precision_ratio), "1.2": _form_1_2(precision_ratio)},
    SCORES_AS_LABELS,
    scores_as_labels,
)
recall = by_version(
    "recall",
    {"1.0": _form_1_0(recall_ratio), "1.2": _form_1_2(recall_ratio)},
    SCORES_AS_LABELS,
    scores_as_labels,
)
precision_recall = by_version(
    "precision_recall",
    {"1.0": _precision_recall_1_0, "1.2": _form_1_2(precision_ratio, recall_ratio)},
    SCORES_AS_LABELS,
    scores_as_labels,
)


# ----------------------------------------------------------------------------------------------- F scores


@accepting(preds="pred")
def fbeta_score(
    pred: Tensor,
    target: Tensor,
    beta: float,
    num_classes: int | None = None,
    class_reduction: str = "micro",
) -> Tensor:
    """The harmonic mean of precision and recall of labels, in which recall counts `beta` times."""
    return _score_1_0(f_beta_ratio(beta), pred, target, num_classes, class_reduction)


@accepting(preds="pred")
def f1_score(
    pred: Tensor, target: Tensor, num_classes: int | None = None, class_reduction: str = "micro"
) -> Tensor:
    """The harmonic mean of precision and recall of labels."""
    return _score_1_0(f_beta_ratio(1.0), pred, target, num_classes, class_reduction)


def fbeta(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    beta: float = 1.0,
    threshold: float = 0.5,
    average: str | None = "micro",
    multilabel: bool | None = None,
) -> Tensor:
    """The harmonic mean of precision and recall, in which recall counts `beta` times."""
    is_multiclass = as_multiclass(preds, target, None, num_classes, bool(multilabel))
    options = (None, None, num_classes, threshold, None, is_multiclass)
    return _scores((f_beta_ratio(beta),), preds, target, average, *options)[0]


def _f1_1_0(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    beta: float = 1.0,
    threshold: float = 0.5,
    average: str | None = "micro",
    multilabel: bool = False,
) -> Tensor:
    """`f1` with a `beta` that it does not heed."""
    return fbeta(preds, target, num_classes, 1.0, threshold, average, multilabel)


def _f1_1_1(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    threshold: float = 0.5,
    average: str | None = "micro",
    multilabel: bool | None = None,
) -> Tensor:
    """The harmonic mean of precision and recall."""
    return fbeta(preds, target, num_classes, 1.0, threshold, average, multilabel)


f1 = by_version("f1", {"1.0": _f1_1_0, "1.1": _f1_1_1})


def hamming_distance(preds: Tensor, target: Tensor, threshold: float = 0.5) -> Tensor:
    """How many of all labels are wrong."""
    inputs = read(preds, target, threshold)
    return 1 - (inputs.preds == inputs.target).float().mean()
