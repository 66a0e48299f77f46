"""Accuracy, and the Hamming distance, which is what it lacks to 1."""

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
from fulmen.metrics.classification.counting import averaged
from fulmen.metrics.classification.inputs import Average
from fulmen.metrics.classification.tasks import Multiclass, Outcomes, Task


def _hits(outcomes: Outcomes) -> tuple[Tensor, Tensor]:
    return outcomes.tp, outcomes.tp + outcomes.fn


def _agreements(outcomes: Outcomes) -> tuple[Tensor, Tensor]:
    right = outcomes.tp + outcomes.tn
    return right, right + outcomes.fp + outcomes.fn


def _accuracy(
    task: Task,
    counts: Tensor,
    dtype: torch.dtype,
    average: Average,
    zero_division: float = 0.0,
    top_k_predicts: bool = False,
) -> Tensor:
    ratio = _hits if isinstance(task, Multiclass) else _agreements
    return averaged(ratio, task, task.outcomes(counts), dtype, average, zero_division, top_k_predicts)


def _hamming_distance(
    task: Task, counts: Tensor, dtype: torch.dtype, average: Average, zero_division: float = 0.0
) -> Tensor:
    return 1 - _accuracy(task, counts, dtype, average, zero_division, top_k_predicts=True)


class BinaryAccuracy(BinaryScore):
    """The part of labels that were predicted rightly."""

    higher_is_better = True
    _score = staticmethod(_accuracy)


class MulticlassAccuracy(MulticlassScore):
    """The part of labels that were predicted rightly (micro), or of those of each class: its recall."""

    higher_is_better = True
    _score = staticmethod(_accuracy)


class MultilabelAccuracy(MultilabelScore):
    """The part of labels that were predicted rightly, of all (micro) or of each."""

    higher_is_better = True
    _score = staticmethod(_accuracy)


class Accuracy(ScoreOfTask, kinds=(BinaryAccuracy, MulticlassAccuracy, MultilabelAccuracy)):
    """`Accuracy(task=...)` makes a `Binary...`, `Multiclass...` or `MultilabelAccuracy`."""


class BinaryHammingDistance(BinaryScore):
    """The part of labels that were predicted wrongly."""

    higher_is_better = False
    _score = staticmethod(_hamming_distance)


class MulticlassHammingDistance(MulticlassScore):
    """The part of labels that were predicted wrongly (micro), or of those of each class.

    `zero_division` is that of the accuracy: where it is 0, the distance of a class without labels is 1.
    """

    higher_is_better = False
    _score = staticmethod(_hamming_distance)


class MultilabelHammingDistance(MultilabelScore):
    """The part of labels that were predicted wrongly, of all (micro) or of each."""

    higher_is_better = False
    _score = staticmethod(_hamming_distance)


class HammingDistance(
    ScoreOfTask, kinds=(BinaryHammingDistance, MulticlassHammingDistance, MultilabelHammingDistance)
):
    """`HammingDistance(task=...)` makes a `Binary...`, `Multiclass...` or `MultilabelHammingDistance`."""


binary_accuracy, multiclass_accuracy, multilabel_accuracy, accuracy = score_forms(
    __name__, "accuracy", _accuracy
)
binary_hamming_distance, multiclass_hamming_distance, multilabel_hamming_distance, hamming_distance = (
    score_forms(__name__, "hamming_distance", _hamming_distance)
)
