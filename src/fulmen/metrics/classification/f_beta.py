"""F scores, (1 + beta²) tp / ((1 + beta²) tp + beta² fn + fp): harmonic means of precision and recall."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

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
)
from fulmen.metrics.classification.counting import averaged, check_averaging, chosen, result_dtype
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


class BinaryFBetaScore(BinaryScore):
    """The F score of two classes: recall weighs `beta` times as much as precision."""

    higher_is_better = True

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
        self._score = functools.partial(_f_score, beta=_checked(beta))


class MulticlassFBetaScore(MulticlassScore):
    """The F score of each class, or their average: recall weighs `beta` times as much as precision."""

    higher_is_better = True

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
        self._score = functools.partial(_f_score, beta=_checked(beta))


class MultilabelFBetaScore(MultilabelScore):
    """The F score of each label, or their average: recall weighs `beta` times as much as precision."""

    higher_is_better = True

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
        self._score = functools.partial(_f_score, beta=_checked(beta))


class FBetaScore:
    """`FBetaScore(task=..., beta=...)` makes a `Binary...`, `Multiclass...` or `MultilabelFBetaScore`."""

    def __new__(
        cls,
        task: str,
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
    ) -> Metric:
        kinds: dict[str, type[AveragedScore]] = {
            "binary": BinaryFBetaScore,
            "multiclass": MulticlassFBetaScore,
            "multilabel": MultilabelFBetaScore,
        }
        kind, arguments = chosen(
            task,
            kinds,
            beta=beta,
            threshold=threshold,
            num_classes=num_classes,
            num_labels=num_labels,
            average=average,
            multidim_average=multidim_average,
            top_k=top_k,
            ignore_index=ignore_index,
            validate_args=validate_args,
            zero_division=zero_division,
        )
        return kind(**arguments, **kwargs)


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


class F1Score(ScoreOfTask):
    """`F1Score(task=...)` makes a `Binary...`, `Multiclass...` or `MultilabelF1Score`."""

    kinds: ClassVar = {
        "binary": BinaryF1Score,
        "multiclass": MulticlassF1Score,
        "multilabel": MultilabelF1Score,
    }


binary_f1_score, multiclass_f1_score, multilabel_f1_score, f1_score = score_forms(
    __name__, "f1_score", _f_score
)


def _f_score_of(
    task: Task, preds: Tensor, target: Tensor, average: Average, zero_division: float, beta: float
) -> Tensor:
    check_averaging(task, average, zero_division)
    counts = task.count(preds, target)
    return _f_score(task, counts, result_dtype(preds), average, zero_division, _checked(beta))


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
    return _f_score_of(task, preds, target, None, zero_division, beta)


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
    return _f_score_of(task, preds, target, average, zero_division, beta)


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
    return _f_score_of(task, preds, target, average, zero_division, beta)


def fbeta_score(
    preds: Tensor,
    target: Tensor,
    task: str,
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
    forms: dict[str, Callable[..., Tensor]] = {
        "binary": binary_fbeta_score,
        "multiclass": multiclass_fbeta_score,
        "multilabel": multilabel_fbeta_score,
    }
    form, arguments = chosen(
        task,
        forms,
        beta=beta,
        threshold=threshold,
        num_classes=num_classes,
        num_labels=num_labels,
        average=average,
        multidim_average=multidim_average,
        top_k=top_k,
        ignore_index=ignore_index,
        validate_args=validate_args,
        zero_division=zero_division,
    )
    return form(preds, target, **arguments)
