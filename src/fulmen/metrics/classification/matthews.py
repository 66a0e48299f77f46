"""The correlation of predicted and true labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fulmen.metrics.classification.counting import CountingMetric, divide, margins
from fulmen.metrics.classification.dispatch import TaskName, by_task
from fulmen.metrics.classification.tasks import Binary, Multiclass, Multilabel, Task
from fulmen.metrics.dtypes import result_dtype
from fulmen.metrics.metric import Metric


def _correlation(task: Task, counts: Tensor, dtype: torch.dtype) -> Tensor:
    hits, predicted, true = margins(task, counts)
    number = true.sum()
    covariance = (number * hits - (predicted * true).sum()).to(dtype)
    deviations = [(number**2 - (labels**2).sum()).to(dtype).sqrt() for labels in (predicted, true)]
    scale = deviations[0] * deviations[1]
    if isinstance(task, Multiclass):
        return divide(covariance, scale)
    undefined = (hits == number).to(dtype) - (hits == 0).to(dtype)
    return torch.where(scale == 0, undefined, divide(covariance, scale))


class _MatthewsCorrCoef(CountingMetric):
    """Base of the correlation of predicted and true labels (Gorodkin 2004), from -1 to 1.

    Where only one label is predicted or true it is undefined: then 0; but with two classes 1 where all labels
    were predicted rightly, and -1 where all were wrongly (Chicco and Jurman 2020).
    """

    higher_is_better = True

    def compute(self) -> Tensor:
        """The correlation over all batches."""
        return _correlation(self._task, self._all_counts(), self._precision).to(self.dtype)


class BinaryMatthewsCorrCoef(_MatthewsCorrCoef):
    """The correlation of predicted and true labels of two classes."""

    def __init__(
        self,
        threshold: float = 0.5,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(Binary(threshold, ignore_index, validate_args), **kwargs)


class MulticlassMatthewsCorrCoef(_MatthewsCorrCoef):
    """The correlation of predicted and true labels of several classes."""

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(Multiclass(num_classes, 1, ignore_index, validate_args), **kwargs)


class MultilabelMatthewsCorrCoef(_MatthewsCorrCoef):
    """The correlation of predicted and true labels, all labels taken together."""

    def __init__(
        self,
        num_labels: int,
        threshold: float = 0.5,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(Multilabel(num_labels, threshold, ignore_index, validate_args), **kwargs)


class MatthewsCorrCoef:
    """`MatthewsCorrCoef(task=...)` makes a `Binary...`, `Multiclass...` or `MultilabelMatthewsCorrCoef`."""

    @by_task(BinaryMatthewsCorrCoef, MulticlassMatthewsCorrCoef, MultilabelMatthewsCorrCoef)
    def __new__(
        cls,
        task: TaskName,
        threshold: float = 0.5,
        num_classes: int | None = None,
        num_labels: int | None = None,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> Metric: ...


def binary_matthews_corrcoef(
    preds: Tensor,
    target: Tensor,
    threshold: float = 0.5,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The functional form of `BinaryMatthewsCorrCoef`."""
    task = Binary(threshold, ignore_index, validate_args)
    return _correlation(task, task.count(preds, target), result_dtype(preds))


def multiclass_matthews_corrcoef(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The functional form of `MulticlassMatthewsCorrCoef`."""
    task = Multiclass(num_classes, 1, ignore_index, validate_args)
    return _correlation(task, task.count(preds, target), result_dtype(preds))


def multilabel_matthews_corrcoef(
    preds: Tensor,
    target: Tensor,
    num_labels: int,
    threshold: float = 0.5,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The functional form of `MultilabelMatthewsCorrCoef`."""
    task = Multilabel(num_labels, threshold, ignore_index, validate_args)
    return _correlation(task, task.count(preds, target), result_dtype(preds))


@by_task(binary_matthews_corrcoef, multiclass_matthews_corrcoef, multilabel_matthews_corrcoef)
def matthews_corrcoef(
    preds: Tensor,
    target: Tensor,
    task: TaskName,
    threshold: float = 0.5,
    num_classes: int | None = None,
    num_labels: int | None = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The functional form of `MatthewsCorrCoef`."""
    ...
