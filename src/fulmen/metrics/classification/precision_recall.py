"""Precision, recall and specificity."""

from __future__ import annotations

import torch
from torch import Tensor

from fulmen.metrics.classification.averages import (
    BinaryScore,
    MulticlassScore,
    MultilabelScore,
    ScoreOfTask,
    score_forms,
)
from fulmen.metrics.classification.counting import averaged, complete_outcomes
from fulmen.metrics.classification.inputs import Average
from fulmen.metrics.classification.tasks import Outcomes, Task


def _precision_ratio(outcomes: Outcomes) -> tuple[Tensor, Tensor]:
    return outcomes.tp, outcomes.tp + outcomes.fp


def _recall_ratio(outcomes: Outcomes) -> tuple[Tensor, Tensor]:
    return outcomes.tp, outcomes.tp + outcomes.fn


def _specificity_ratio(outcomes: Outcomes) -> tuple[Tensor, Tensor]:
    return outcomes.tn, outcomes.tn + outcomes.fp


def _precision(
    task: Task, counts: Tensor, dtype: torch.dtype, average: Average, zero_division: float = 0.0
) -> Tensor:
    return averaged(_precision_ratio, task, task.outcomes(counts), dtype, average, zero_division, False)


def _recall(
    task: Task, counts: Tensor, dtype: torch.dtype, average: Average, zero_division: float = 0.0
) -> Tensor:
    return averaged(_recall_ratio, task, task.outcomes(counts), dtype, average, zero_division, False)


def _specificity(
    task: Task, counts: Tensor, dtype: torch.dtype, average: Average, zero_division: float = 0.0
) -> Tensor:
    return averaged(_specificity_ratio, task, complete_outcomes(task, counts), dtype, average, zero_division)


class BinaryPrecision(BinaryScore):
    """The part of positive predictions that are right: tp / (tp + fp)."""

    higher_is_better = True
    _score = staticmethod(_precision)


class MulticlassPrecision(MulticlassScore):
    """The part of predictions of a class that are right: tp / (tp + fp)."""

    higher_is_better = True
    _score = staticmethod(_precision)


class MultilabelPrecision(MultilabelScore):
    """The part of predictions of a label that are right: tp / (tp + fp)."""

    higher_is_better = True
    _score = staticmethod(_precision)


class Precision(ScoreOfTask, kinds=(BinaryPrecision, MulticlassPrecision, MultilabelPrecision)):
    """`Precision(task=...)` makes a `Binary...`, `Multiclass...` or `MultilabelPrecision`."""


class BinaryRecall(BinaryScore):
    """The part of positives that are predicted: tp / (tp + fn)."""

    higher_is_better = True
    _score = staticmethod(_recall)


class MulticlassRecall(MulticlassScore):
    """The part of a class's members that are predicted: tp / (tp + fn)."""

    higher_is_better = True
    _score = staticmethod(_recall)


class MultilabelRecall(MultilabelScore):
    """The part of a label's occurrences that are predicted: tp / (tp + fn)."""

    higher_is_better = True
    _score = staticmethod(_recall)


class Recall(ScoreOfTask, kinds=(BinaryRecall, MulticlassRecall, MultilabelRecall)):
    """`Recall(task=...)` makes a `Binary...`, `Multiclass...` or `MultilabelRecall`."""


class BinarySpecificity(BinaryScore):
    """The part of negatives that are predicted: tn / (tn + fp)."""

    higher_is_better = True
    _score = staticmethod(_specificity)


class MulticlassSpecificity(MulticlassScore):
    """The part of the other classes' members that are not predicted as a class: tn / (tn + fp)."""

    higher_is_better = True
    _score = staticmethod(_specificity)


class MultilabelSpecificity(MultilabelScore):
    """The part of a label's absences that are predicted: tn / (tn + fp)."""

    higher_is_better = True
    _score = staticmethod(_specificity)


class Specificity(ScoreOfTask, kinds=(BinarySpecificity, MulticlassSpecificity, MultilabelSpecificity)):
    """`Specificity(task=...)` makes a `Binary...`, `Multiclass...` or `MultilabelSpecificity`."""


binary_precision, multiclass_precision, multilabel_precision, precision = score_forms(
    __name__, "precision", _precision
)
binary_recall, multiclass_recall, multilabel_recall, recall = score_forms(__name__, "recall", _recall)
binary_specificity, multiclass_specificity, multilabel_specificity, specificity = score_forms(
    __name__, "specificity", _specificity
)
