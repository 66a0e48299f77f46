"""Cohen's kappa: agreement beyond what chance would give."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from fulmen.metrics.arguments import check_among
from fulmen.metrics.classification.counting import CountingMetric, margins
from fulmen.metrics.classification.dispatch import by_task
from fulmen.metrics.classification.tasks import Binary, Multiclass, Task
from fulmen.metrics.dtypes import result_dtype
from fulmen.metrics.metric import Metric

Weights = Literal["linear", "quadratic", "none"] | None
"""What a disagreement weighs: 1, or the distance of the two labels, or its square."""


def _kappa(task: Task, counts: Tensor, weights: Weights, dtype: torch.dtype) -> Tensor:
    if weights in (None, "none"):
        hits, predicted, true = margins(task, counts)
        number, by_chance = true.sum(), (true * predicted).sum()
        return (number * hits - by_chance).to(dtype) / (number**2 - by_chance).to(dtype)
    matrix = task.matrix(counts).to(dtype)
    true, predicted = matrix.sum(1), matrix.sum(0)
    labels = torch.arange(len(matrix), device=matrix.device)
    distances = (labels.unsqueeze(0) - labels.unsqueeze(1)).abs().to(dtype)
    if weights == "quadratic":
        distances = distances**2
    by_chance = distances * (true / true.sum()).unsqueeze(1) * predicted
    return 1 - (distances * matrix).sum() / by_chance.sum()


def _check_weights(weights: Weights) -> None:
    check_among("weights", weights, ("linear", "quadratic", "none", None))


class _CohenKappa(CountingMetric):
    """Base of Cohen's kappa (Cohen 1960): 1 for full agreement, 0 for that of chance.

    NaN where chance alone agrees fully. `weights` (Cohen 1968) counts disagreements by the "linear" or
    "quadratic" distance of labels.
    """

    higher_is_better = True

    def __init__(self, task: Task, weights: Weights, **kwargs: Any) -> None:
        super().__init__(task, **kwargs)
        _check_weights(weights)
        self.weights: Weights = weights

    def compute(self) -> Tensor:
        """The agreement over all batches."""
        return _kappa(self._task, self._all_counts(), self.weights, self._precision).to(self.dtype)


class BinaryCohenKappa(_CohenKappa):
    """Cohen's kappa of two classes."""

    def __init__(
        self,
        threshold: float = 0.5,
        ignore_index: int | None = None,
        weights: Weights = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(Binary(threshold, ignore_index, validate_args), weights, **kwargs)


class MulticlassCohenKappa(_CohenKappa):
    """Cohen's kappa of several classes."""

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = None,
        weights: Weights = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            Multiclass(num_classes, 1, ignore_index, validate_args, as_matrix=weights not in (None, "none")),
            weights,
            **kwargs,
        )


class CohenKappa:
    """`CohenKappa(task=...)` makes a `Binary...` or `MulticlassCohenKappa`."""

    @by_task(BinaryCohenKappa, MulticlassCohenKappa)
    def __new__(
        cls,
        task: Literal["binary", "multiclass"],
        threshold: float = 0.5,
        num_classes: int | None = None,
        weights: Weights = None,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> Metric: ...


def _kappa_of(task: Task, preds: Tensor, target: Tensor, weights: Weights) -> Tensor:
    _check_weights(weights)
    return _kappa(task, task.count(preds, target), weights, result_dtype(preds))


def binary_cohen_kappa(
    preds: Tensor,
    target: Tensor,
    threshold: float = 0.5,
    weights: Weights = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The functional form of `BinaryCohenKappa`."""
    task = Binary(threshold, ignore_index, validate_args)
    return _kappa_of(task, preds, target, weights)


def multiclass_cohen_kappa(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    weights: Weights = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The functional form of `MulticlassCohenKappa`."""
    task = Multiclass(num_classes, 1, ignore_index, validate_args, as_matrix=weights not in (None, "none"))
    return _kappa_of(task, preds, target, weights)


@by_task(binary_cohen_kappa, multiclass_cohen_kappa)
def cohen_kappa(
    preds: Tensor,
    target: Tensor,
    task: Literal["binary", "multiclass"],
    threshold: float = 0.5,
    num_classes: int | None = None,
    weights: Weights = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The functional form of `CohenKappa`."""
    ...
