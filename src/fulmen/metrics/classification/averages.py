"""What scores that are averaged over classes have in common: constructors and functional forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fulmen.metrics.classification.counting import CountingMetric, check_averaging
from fulmen.metrics.classification.dispatch import TaskName, by_task
from fulmen.metrics.classification.inputs import Average, MultidimAverage
from fulmen.metrics.classification.tasks import Binary, Multiclass, Multilabel, Task
from fulmen.metrics.dtypes import result_dtype
from fulmen.metrics.metric import Metric

Score = Callable[[Task, Tensor, torch.dtype, Average, float], Tensor]
"""A value of the counts of a task: `score(task, counts, dtype, average, zero_division)`."""


class AveragedScore(CountingMetric):
    """Base of scores of counts that are averaged over classes.

    Args:
        average: "micro" counts all classes together; "macro" is the mean over classes, without those that are
            neither true nor predicted; "weighted" the mean weighted by how often each is true; "none" or None
            gives the value of each class, [C] or [L]. With `top_k`, the means of accuracy,
            precision and recall leave out every class that is not true, as torchmetrics does.
        multidim_average: "global" over all positions; "samplewise" gives a value for each sample, in a first
            dimension.
        ignore_index: labels of `target` that mark positions to leave out.
        validate_args: whether to look at values: always, never, or (None) where no device is waited for.
        zero_division: the value where it is undefined, from 0 to 1.
    """

    def __init__(self, task: Task, average: Average, zero_division: float, **kwargs: Any) -> None:
        super().__init__(task, **kwargs)
        check_averaging(task, average, zero_division)
        self.average: Average = average
        self.zero_division = zero_division

    _score: Score

    def compute(self) -> Tensor:
        """The score of all batches."""
        value = self._score(self._task, self._all_counts(), self._precision, self.average, self.zero_division)
        return value.to(self.dtype) if value.is_floating_point() else value


class BinaryScore(AveragedScore):
    """Base of scores of two classes: `preds` and `target` (N, ...).

    `preds` are probabilities, logits (taken to be such if any is outside [0, 1]) or labels.
    """

    def __init__(
        self,
        threshold: float = 0.5,
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        zero_division: float = 0.0,
        **kwargs: Any,
    ) -> None:
        task = Binary(threshold, ignore_index, validate_args, multidim_average)
        super().__init__(task, None, zero_division, **kwargs)


class MulticlassScore(AveragedScore):
    """Base of scores of several classes: `preds` (N, C, ...) scores or (N, ...) labels, `target` (N, ...).

    With `top_k`, a true label is predicted if its score is among the k highest. `num_classes` can be left out
    where the average is micro.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        top_k: int = 1,
        average: Average = "macro",
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        zero_division: float = 0.0,
        **kwargs: Any,
    ) -> None:
        task = Multiclass(num_classes, top_k, ignore_index, validate_args, multidim_average)
        super().__init__(task, average, zero_division, **kwargs)


class MultilabelScore(AveragedScore):
    """Base of scores of several labels: `preds` and `target` (N, L, ...).

    `preds` are probabilities, logits (taken to be such if any is outside [0, 1]) or 0 and 1.
    """

    def __init__(
        self,
        num_labels: int,
        threshold: float = 0.5,
        average: Average = "macro",
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        zero_division: float = 0.0,
        **kwargs: Any,
    ) -> None:
        task = Multilabel(num_labels, threshold, ignore_index, validate_args, multidim_average)
        super().__init__(task, average, zero_division, **kwargs)


class ScoreOfTask:
    """Base of names that stand for one of three classes, by `task`: those that it gets as `kinds`."""

    def __init_subclass__(cls, kinds: tuple[type[AveragedScore], ...], **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__new__ = by_task(*kinds)(cls.__new__)

    def __new__(
        cls,
        task: TaskName,
        threshold: float = 0.5,
        num_classes: int | None = None,
        num_labels: int | None = None,
        average: Average = "micro",
        multidim_average: MultidimAverage = "global",
        top_k: int = 1,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> Metric: ...


# ------------------------------------------------------------------------------------------ functional forms


def score_forms(module: str, name: str, score: Score):
    """The functional forms of a score: of the binary, the multiclass and the multilabel task, and of any."""
    binary, multiclass, multilabel = _binary_form(score), _multiclass_form(score), _multilabel_form(score)
    of_task = _form_of_task()
    forms = {"binary_": binary, "multiclass_": multiclass, "multilabel_": multilabel, "": of_task}
    for full_name, form in ((task + name, form) for task, form in forms.items()):
        form.__module__, form.__name__, form.__qualname__ = module, full_name, full_name
        form.__doc__ = f"The functional form of the {full_name.replace('_', ' ')}."
    return binary, multiclass, multilabel, by_task(binary, multiclass, multilabel)(of_task)


def score_of(
    score: Score, task: Task, preds: Tensor, target: Tensor, average: Average, zero_division: float
) -> Tensor:
    """The score of predictions and labels."""
    check_averaging(task, average, zero_division)
    return score(task, task.count(preds, target), result_dtype(preds), average, zero_division)


def _binary_form(score: Score):
    def binary(
        preds: Tensor,
        target: Tensor,
        threshold: float = 0.5,
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        zero_division: float = 0.0,
    ) -> Tensor:
        task = Binary(threshold, ignore_index, validate_args, multidim_average)
        return score_of(score, task, preds, target, None, zero_division)

    return binary


def _multiclass_form(score: Score):
    def multiclass(
        preds: Tensor,
        target: Tensor,
        num_classes: int | None = None,
        average: Average = "macro",
        top_k: int = 1,
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        zero_division: float = 0.0,
    ) -> Tensor:
        task = Multiclass(num_classes, top_k, ignore_index, validate_args, multidim_average)
        return score_of(score, task, preds, target, average, zero_division)

    return multiclass


def _multilabel_form(score: Score):
    def multilabel(
        preds: Tensor,
        target: Tensor,
        num_labels: int,
        threshold: float = 0.5,
        average: Average = "macro",
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        zero_division: float = 0.0,
    ) -> Tensor:
        task = Multilabel(num_labels, threshold, ignore_index, validate_args, multidim_average)
        return score_of(score, task, preds, target, average, zero_division)

    return multilabel


def _form_of_task():
    def of_task(
        preds: Tensor,
        target: Tensor,
        task: TaskName,
        threshold: float = 0.5,
        num_classes: int | None = None,
        num_labels: int | None = None,
        average: Average = "micro",
        multidim_average: MultidimAverage = "global",
        top_k: int = 1,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        zero_division: float = 0.0,
    ) -> Tensor: ...

    return of_task
