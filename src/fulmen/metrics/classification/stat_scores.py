"""The numbers of true and false positives and negatives."""

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
from fulmen.metrics.classification.counting import complete_outcomes, divide
from fulmen.metrics.classification.inputs import Average
from fulmen.metrics.classification.tasks import Task


def _stat_scores(
    task: Task, counts: Tensor, dtype: torch.dtype, average: Average, zero_division: float = 0.0
) -> Tensor:
    tp, fp, tn, fn = complete_outcomes(task, counts)
    values = torch.stack((tp, fp, tn, fn, tp + fn), dim=-1)
    if average == "micro":
        return values.sum(-2)
    if average == "macro":
        return values.to(dtype).mean(-2)
    if average == "weighted":
        weights = (tp + fn).to(dtype).unsqueeze(-1)
        return divide((values * weights).sum(-2), weights.sum(-2), zero_division)
    return values


class BinaryStatScores(BinaryScore):
    """Counts [tp, fp, tn, fn, tp + fn] of two classes: [5], or [N, 5] samplewise."""

    higher_is_better = None
    _score = staticmethod(_stat_scores)


class MulticlassStatScores(MulticlassScore):
    """Counts [tp, fp, tn, fn, tp + fn] of each class, [C, 5], or their average, [5]."""

    higher_is_better = None
    _score = staticmethod(_stat_scores)


class MultilabelStatScores(MultilabelScore):
    """Counts [tp, fp, tn, fn, tp + fn] of each label, [L, 5], or their average, [5]."""

    higher_is_better = None
    _score = staticmethod(_stat_scores)


class StatScores(ScoreOfTask, kinds=(BinaryStatScores, MulticlassStatScores, MultilabelStatScores)):
    """`StatScores(task=...)` makes a `Binary...`, `Multiclass...` or `MultilabelStatScores`."""


binary_stat_scores, multiclass_stat_scores, multilabel_stat_scores, stat_scores = score_forms(
    __name__, "stat_scores", _stat_scores
)
