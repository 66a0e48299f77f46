"""F scores, (1 + beta²) tp / ((1 + beta²) tp + beta² fn + fp): harmonic means of precision and recall."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from fulmen.errors import ConfigError
from fulmen.metrics.classification.averages import (
    AveragedScore,
    BinaryScore,
    MulticlassScore,
    MultilabelScore,
    ScoreOfTask,
    score_forms,
    score_of,
)
from fulmen.metrics.classification.counting import averaged
from fulmen.metrics.classification.dispatch import TaskName, by_task
from fulmen.metrics.classification.inputs import Average, MultidimAverage
from fulmen.metrics.classification.tasks import Binary, Multiclass, Multilabel, Outcomes, Task
from fulmen.metrics.metric import Metric


def _f_score(
    task: Task,
    counts: Tensor,
    dtype: torch.dtype,
    average: Average,
    zero_division: float = 0.0,
    beta: float = 1.0,
) -> Tensor:
    def ratio(outcomes: Outcomes) -> tuple[Tensor, Tensor]:
        hits = (1 + beta**2) * outcomes.tp
        return hits, hits + beta**2 * outcomes.fn + outcomes.fp

    return averaged(ratio, task, task.outcomes(counts), dtype, average, zero_division)


def _checked(beta: float) -> float:
    if not beta > 0:
        raise ConfigError("`beta` cannot be used.", received=repr(beta), expected="a number above 0")
    return beta


class _FBetaScore(AveragedScore):
    """Base of F scores of any weight."""

    higher_is_better = True
    beta: float

    def _score(self, *arguments: Any) -> Tensor:
        return _f_score(*arguments, beta=self.beta)


class BinaryFBetaScore(_FBetaScore, BinaryScore):
    """The F score of two classes: recall weighs `beta` times as much as precision."""

    def __init__(
        self,
        beta: float,
        threshold: float = 0.5,
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        zero_division: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(threshold, multidim_average, ignore_index, validate_args, zero_division, **kwargs)
        self.beta = _checked(beta)


class MulticlassFBetaScore(_FBetaScore, MulticlassScore):
    """The F score of each class, or their average: recall weighs `beta` times as much as precision."""

    def __init__(
        self,
        beta: float,
        num_classes: int,
        top_k: int = 1,
        average: Average = "macro",
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        zero_division: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes,
            top_k,
            average,
            multidim_average,
            ignore_index,
            validate_args,
            zero_division,
            **kwargs,
        )
        self.beta = _checked(beta)


class MultilabelFBetaScore(_FBetaScore, MultilabelScore):
    """The F score of each label, or their average: recall weighs `beta` times as much as precision."""

    def __init__(
        self,
        beta: float,
        num_labels: int,
        threshold: float = 0.5,
        average: Average = "macro",
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        zero_division: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_labels,
            threshold,
            average,
            multidim_average,
            ignore_index,
            validate_args,
            zero_division,
            **kwargs,
        )
        self.beta = _checked(beta)


class FBetaScore:
    """`FBetaScore(task=..., beta=...)` makes a `Binary...`, `Multiclass...` or `MultilabelFBetaScore`."""

    @by_task(BinaryFBetaScore, MulticlassFBetaScore, MultilabelFBetaScore)
    def __new__(
        cls,
        task: TaskName,
        beta: float = 1.0,
        threshold: float = 0.5,
        num_classes: int | None = None,
        num_labels: int | None = None,
        average: Average = "micro",
        multidim_average: MultidimAverage = "global",
        top_k: int = 1,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        zero_division: float = 0.0,
        **kwargs: Any,
    ) -> Metric: ...


class BinaryF1Score(BinaryScore):
    """The harmonic mean of precision and recall."""

    higher_is_better = True
    _score = staticmethod(_f_score)


class MulticlassF1Score(MulticlassScore):
    """The harmonic mean of precision and recall of each class, or its average."""

    higher_is_better = True
    _score = staticmethod(_f_score)


class MultilabelF1Score(MultilabelScore):
    """The harmonic mean of precision and recall of each label, or its average."""

    higher_is_better = True
    _score = staticmethod(_f_score)


class F1Score(ScoreOfTask, kinds=(BinaryF1Score, MulticlassF1Score, MultilabelF1Score)):
    """`F1Score(task=...)` makes a `Binary...`, `Multiclass...` or `MultilabelF1Score`."""


binary_f1_score, multiclass_f1_score, multilabel_f1_score, f1_score = score_forms(
    __name__, "f1_score", _f_score
)


def binary_fbeta_score(
    preds: Tensor,
    target: Tensor,
    beta: float,
    threshold: float = 0.5,
    multidim_average: MultidimAverage = "global",
    ignore_index: int | None = None,
    validate_args: bool | None = None,
    zero_division: float = 0.0,
) -> Tensor:
    """The functional form of `BinaryFBetaScore`."""
    task = Binary(threshold, ignore_index, validate_args, multidim_average)
    return score_of(partial(_f_score, beta=_checked(beta)), task, preds, target, None, zero_division)


def multiclass_fbeta_score(
    preds: Tensor,
    target: Tensor,
    beta: float,
    num_classes: int,
    average: Average = "macro",
    top_k: int = 1,
    multidim_average: MultidimAverage = "global",
    ignore_index: int | None = None,
    validate_args: bool | None = None,
    zero_division: float = 0.0,
) -> Tensor:
    """The functional form of `MulticlassFBetaScore`."""
    task = Multiclass(num_classes, top_k, ignore_index, validate_args, multidim_average)
    return score_of(partial(_f_score, beta=_checked(beta)), task, preds, target, average, zero_division)


def multilabel_fbeta_score(
    preds: Tensor,
    target: Tensor,
    beta: float,
    num_labels: int,
    threshold: float = 0.5,
    average: Average = "macro",
    multidim_average: MultidimAverage = "global",
    ignore_index: int | None = None,
    validate_args: bool | None = None,
    zero_division: float = 0.0,
) -> Tensor:
    """The functional form of `MultilabelFBetaScore`."""
    task = Multilabel(num_labels, threshold, ignore_index, validate_args, multidim_average)
    return score_of(partial(_f_score, beta=_checked(beta)), task, preds, target, average, zero_division)


@by_task(binary_fbeta_score, multiclass_fbeta_score, multilabel_fbeta_score)
def fbeta_score(
    preds: Tensor,
    target: Tensor,
    task: TaskName,
    beta: float = 1.0,
    threshold: float = 0.5,
    num_classes: int | None = None,
    num_labels: int | None = None,
    average: Average = "micro",
    multidim_average: MultidimAverage = "global",
    top_k: int = 1,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
    zero_division: float = 0.0,
) -> Tensor:
    """The functional form of `FBetaScore`."""
    ...
