"""Intersection over union of predicted and true labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fulmen.metrics.classification.averages import AveragedScore, score_of
from fulmen.metrics.classification.counting import averaged
from fulmen.metrics.classification.dispatch import TaskName, by_task
from fulmen.metrics.classification.inputs import Average
from fulmen.metrics.classification.tasks import Binary, Multiclass, Multilabel, Outcomes, Task
from fulmen.metrics.metric import Metric


def _overlap(outcomes: Outcomes) -> tuple[Tensor, Tensor]:
    return outcomes.tp, outcomes.tp + outcomes.fp + outcomes.fn


def _jaccard(
    task: Task, counts: Tensor, dtype: torch.dtype, average: Average, zero_division: float = 0.0
) -> Tensor:
    outcomes = task.outcomes(counts)
    ignored = task.ignore_index
    if isinstance(task, Multiclass) and ignored is not None and 0 <= ignored < (task.num_classes or 0):
        others = torch.arange(outcomes.fp.shape[-1], device=counts.device) != ignored
        outcomes = outcomes._replace(fp=outcomes.fp * others)  # else it would be an empty class of its own
    return averaged(_overlap, task, outcomes, dtype, average, zero_division)


class _JaccardIndex(AveragedScore):
    """Base of the Jaccard index: tp / (tp + fp + fn). Averages leave out the class `ignore_index`."""

    higher_is_better = True
    _score = staticmethod(_jaccard)


class BinaryJaccardIndex(_JaccardIndex):
    """The positives that are predicted and true, as a part of those that are either."""

    def __init__(
        self,
        threshold: float = 0.5,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        zero_division: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(Binary(threshold, ignore_index, validate_args), None, zero_division, **kwargs)


class MulticlassJaccardIndex(_JaccardIndex):
    """The positions where a class is predicted and true, as a part of those where it is either."""

    def __init__(
        self,
        num_classes: int,
        average: Average = "macro",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        zero_division: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            Multiclass(num_classes, 1, ignore_index, validate_args), average, zero_division, **kwargs
        )


class MultilabelJaccardIndex(_JaccardIndex):
    """The positions where a label is predicted and true, as a part of those where it is either."""

    def __init__(
        self,
        num_labels: int,
        threshold: float = 0.5,
        average: Average = "macro",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        zero_division: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            Multilabel(num_labels, threshold, ignore_index, validate_args), average, zero_division, **kwargs
        )


class JaccardIndex:
    """`JaccardIndex(task=...)` makes a `Binary...`, `Multiclass...` or `MultilabelJaccardIndex`."""

    @by_task(BinaryJaccardIndex, MulticlassJaccardIndex, MultilabelJaccardIndex)
    def __new__(
        cls,
        task: TaskName,
        threshold: float = 0.5,
        num_classes: int | None = None,
        num_labels: int | None = None,
        average: Average = "macro",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        zero_division: float = 0.0,
        **kwargs: Any,
    ) -> Metric: ...


def binary_jaccard_index(
    preds: Tensor,
    target: Tensor,
    threshold: float = 0.5,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
    zero_division: float = 0.0,
) -> Tensor:
    """The functional form of `BinaryJaccardIndex`."""
    task = Binary(threshold, ignore_index, validate_args)
    return score_of(_jaccard, task, preds, target, None, zero_division)


def multiclass_jaccard_index(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    average: Average = "macro",
    ignore_index: int | None = None,
    validate_args: bool | None = None,
    zero_division: float = 0.0,
) -> Tensor:
    """The functional form of `MulticlassJaccardIndex`."""
    task = Multiclass(num_classes, 1, ignore_index, validate_args)
    return score_of(_jaccard, task, preds, target, average, zero_division)


def multilabel_jaccard_index(
    preds: Tensor,
    target: Tensor,
    num_labels: int,
    threshold: float = 0.5,
    average: Average = "macro",
    ignore_index: int | None = None,
    validate_args: bool | None = None,
    zero_division: float = 0.0,
) -> Tensor:
    """The functional form of `MultilabelJaccardIndex`."""
    task = Multilabel(num_labels, threshold, ignore_index, validate_args)
    return score_of(_jaccard, task, preds, target, average, zero_division)


@by_task(binary_jaccard_index, multiclass_jaccard_index, multilabel_jaccard_index)
def jaccard_index(
    preds: Tensor,
    target: Tensor,
    task: TaskName,
    threshold: float = 0.5,
    num_classes: int | None = None,
    num_labels: int | None = None,
    average: Average = "macro",
    ignore_index: int | None = None,
    validate_args: bool | None = None,
    zero_division: float = 0.0,
) -> Tensor:
    """The functional form of `JaccardIndex`."""
    ...
