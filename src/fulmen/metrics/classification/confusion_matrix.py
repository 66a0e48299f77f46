"""How often each label was predicted for each true one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from fulmen.metrics.arguments import check_among
from fulmen.metrics.classification.counting import CountingMetric, divide
from fulmen.metrics.classification.dispatch import TaskName, by_task
from fulmen.metrics.classification.tasks import Binary, Multiclass, Multilabel, Task
from fulmen.metrics.dtypes import result_dtype
from fulmen.metrics.metric import Metric
from fulmen.metrics.plot import Drawn, plot_matrix

Normalize = Literal["true", "pred", "all", "none"] | None
"""What counts are divided by: how often the label is true, is predicted, or all."""


def _normalized(task: Task, counts: Tensor, normalize: Normalize, dtype: torch.dtype) -> Tensor:
    matrix = task.matrix(counts)
    if normalize in (None, "none"):
        return matrix.clone()  # not the counts themselves, which go on
    dims = {"true": (-1,), "pred": (-2,), "all": (-2, -1)}[normalize]
    return divide(matrix.to(dtype), matrix.sum(dims, keepdim=True).to(dtype))


def _check_normalize(normalize: Normalize) -> None:
    check_among("normalize", normalize, ("true", "pred", "all", "none", None))


class _ConfusionMatrix(CountingMetric):
    """Base of confusion matrices: counts, or, if `normalize` says of what, parts (of nothing: 0)."""

    def __init__(self, task: Task, normalize: Normalize, **kwargs: Any) -> None:
        super().__init__(task, **kwargs)
        _check_normalize(normalize)
        self.normalize: Normalize = normalize

    def compute(self) -> Tensor:
        """The matrix of all batches."""
        matrix = _normalized(self._task, self._all_counts(), self.normalize, self._precision)
        return matrix.to(self.dtype) if matrix.is_floating_point() else matrix

    def plot(
        self,
        val: Tensor | None = None,
        ax: Any = None,
        add_text: bool = True,
        labels: Sequence[str] | None = None,
        cmap: Any = None,
    ) -> Drawn:
        """Draw the matrix with its numbers; `labels` name the classes, or of several labels, each matrix."""
        matrix = self.compute() if val is None else val
        return plot_matrix(matrix, ax, labels=labels, add_text=add_text, cmap=cmap)


class BinaryConfusionMatrix(_ConfusionMatrix):
    """How often 0 and 1 were predicted (columns) where 0 and 1 are true (rows): [2, 2]."""

    def __init__(
        self,
        threshold: float = 0.5,
        ignore_index: int | None = None,
        normalize: Normalize = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(Binary(threshold, ignore_index, validate_args), normalize, **kwargs)


class MulticlassConfusionMatrix(_ConfusionMatrix):
    """How often each class was predicted (columns) where each is true (rows): [C, C]."""

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = None,
        normalize: Normalize = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            Multiclass(num_classes, 1, ignore_index, validate_args, as_matrix=True), normalize, **kwargs
        )


class MultilabelConfusionMatrix(_ConfusionMatrix):
    """How often each label was predicted (columns) where it is there (rows): [L, 2, 2]."""

    def __init__(
        self,
        num_labels: int,
        threshold: float = 0.5,
        ignore_index: int | None = None,
        normalize: Normalize = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(Multilabel(num_labels, threshold, ignore_index, validate_args), normalize, **kwargs)


class ConfusionMatrix:
    """`ConfusionMatrix(task=...)` makes a `Binary...`, `Multiclass...` or `MultilabelConfusionMatrix`."""

    @by_task(BinaryConfusionMatrix, MulticlassConfusionMatrix, MultilabelConfusionMatrix)
    def __new__(
        cls,
        task: TaskName,
        threshold: float = 0.5,
        num_classes: int | None = None,
        num_labels: int | None = None,
        normalize: Normalize = None,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> Metric: ...


def _matrix(task: Task, preds: Tensor, target: Tensor, normalize: Normalize) -> Tensor:
    _check_normalize(normalize)
    return _normalized(task, task.count(preds, target), normalize, result_dtype(preds))


def binary_confusion_matrix(
    preds: Tensor,
    target: Tensor,
    threshold: float = 0.5,
    normalize: Normalize = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The functional form of `BinaryConfusionMatrix`."""
    task = Binary(threshold, ignore_index, validate_args)
    return _matrix(task, preds, target, normalize)


def multiclass_confusion_matrix(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    normalize: Normalize = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The functional form of `MulticlassConfusionMatrix`."""
    task = Multiclass(num_classes, 1, ignore_index, validate_args, as_matrix=True)
    return _matrix(task, preds, target, normalize)


def multilabel_confusion_matrix(
    preds: Tensor,
    target: Tensor,
    num_labels: int,
    threshold: float = 0.5,
    normalize: Normalize = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The functional form of `MultilabelConfusionMatrix`."""
    task = Multilabel(num_labels, threshold, ignore_index, validate_args)
    return _matrix(task, preds, target, normalize)


@by_task(binary_confusion_matrix, multiclass_confusion_matrix, multilabel_confusion_matrix)
def confusion_matrix(
    preds: Tensor,
    target: Tensor,
    task: TaskName,
    threshold: float = 0.5,
    num_classes: int | None = None,
    num_labels: int | None = None,
    normalize: Normalize = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The functional form of `ConfusionMatrix`."""
    ...
