"""Scores of a task, for metrics that look at all thresholds: kept as they are, or counted between thresholds.

What one batch adds depends on the task, the thresholds and what is ignored, not on what a metric makes of it.
So the curves of one task, and the areas under them, keep the same states, and a collection keeps them once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from fulmen.errors import ConfigError
from fulmen.metrics.arguments import check_among, check_at_least
from fulmen.metrics.classification.curves import Curve, Curves, of_histogram, of_scores
from fulmen.metrics.classification.inputs import (
    Inputs,
    as_probabilities,
    as_scores,
    binary_shapes,
    check_scores,
    check_values,
    count,
    multiclass_shapes,
    multilabel_shapes,
)
from fulmen.metrics.classification.options import Option
from fulmen.metrics.metric import Metric

Thresholds = int | Sequence[float] | Tensor | None
"""None: every score that occurs; a number of them, evenly from 0 to 1; or the ones to be used."""

ClassAverage = Literal["macro", "weighted", "none"] | None
LabelAverage = Literal["micro", "macro", "weighted", "none"] | None

CurveAverage = Literal["micro", "macro"] | None

Columns = Iterator[tuple[Tensor, Tensor]]
"""The scores and the labels, 0 and 1, of each class."""


@dataclass(frozen=True)
class Scores(ABC):
    """What is done with the scores of a task.

    Values are checked when they are counted, as everywhere. Scores that are kept are checked when something
    is computed of them, on any device, so that an update only appends; with `validate_args=True`, in each
    update.
    """

    thresholds: Any = None
    ignore_index: int | None = None
    validate_args: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", _as_thresholds(self.thresholds))

    @property
    def classes(self) -> tuple[int, ...]:
        """How many classes or labels there are; none, where two classes are one question."""
        return ()

    @property
    def values(self) -> int:
        """How many values a label has."""
        return 2

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the counts: label, class, number of thresholds that a score has reached."""
        return (2, *self.classes, len(self.thresholds) + 1)

    @abstractmethod
    def shapes(self, preds: Tensor, target: Tensor, ignore_index: int | None) -> Inputs:
        """Inputs whose shapes are those of the task."""

    @abstractmethod
    def columns(self, preds: Tensor, target: Tensor) -> Columns:
        """Of all that was kept, each class by itself, without what is ignored."""

    @abstractmethod
    def cells(self, inputs: Inputs, boundaries: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of each score, its place in the counts, and where it is to be ignored."""

    # ------------------------------------------------------------------------------------------------ batches

    def kept(self, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """A batch as it is kept: scores [samples] or [samples, classes], and labels."""
        if not preds.is_floating_point():
            as_scores(preds)
        preds, target, _ = self.shapes(preds, target, None)
        if self.validate_args:
            self._check(preds, target)
        return self.rows(preds), self.rows(target)

    def rows(self, tensor: Tensor) -> Tensor:
        """Scores or labels with all samples in the first dimension."""
        return tensor if tensor.ndim == 1 else tensor.flatten()

    def _check(self, preds: Tensor, target: Tensor) -> None:
        check_scores(preds)
        ignored = None if self.ignore_index is None else target == self.ignore_index
        check_values((preds, target, ignored), self.values, True)

    def counted(self, preds: Tensor, target: Tensor, boundaries: Tensor) -> Tensor:
        """What a batch adds to the counts."""
        inputs = self.shapes(as_scores(preds), target, self.ignore_index)
        cells, ignored = self.cells(check_values(inputs, self.values, self.validate_args), boundaries)
        bins = torch.Size(self.shape).numel()
        if ignored is None:
            return count(cells.flatten(), bins).view(self.shape)
        return count(cells.masked_fill_(ignored, bins).flatten(), bins + 1)[:-1].view(self.shape)

    # ------------------------------------------------------------------------------------------------- curves

    def curves(self, preds: Tensor, target: Tensor, *, micro: bool = False) -> Curves:
        """The curves of a batch; with `micro`, one of all classes together."""
        if self.thresholds is None:
            return self.exact(*self.kept(preds, target), micro=micro)
        boundaries = torch.tensor(self.thresholds, device=preds.device)
        return self.binned(self.counted(preds, target, boundaries), boundaries, micro=micro)

    def exact(self, preds: Tensor, target: Tensor, *, micro: bool = False) -> Curves:
        """The curves of all that was kept."""
        if self.validate_args is None:
            self._check(preds, target)
        none = [(preds.flatten(), target.flatten())] * (self.classes[0] if self.classes else 1)
        columns = self.columns(as_scores(preds), target) if len(preds) else none
        if micro:
            scores, labels = zip(*columns, strict=True)
            return of_scores(torch.cat(scores), torch.cat(labels))
        curves = [of_scores(scores, labels) for scores, labels in columns]
        return curves if self.classes else curves[0]

    def binned(self, counts: Tensor, boundaries: Tensor, *, micro: bool = False) -> Curve:
        """The curves of all that was counted."""
        return of_histogram(counts.sum(1) if micro else counts, boundaries)


@dataclass(frozen=True)
class BinaryScores(Scores):
    """`preds` are scores of the label 1, of the shape of `target`."""

    normalization: str | None = "sigmoid"
    """What makes probabilities of scores that are not."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_among("normalization", self.normalization, ("sigmoid", None))

    def shapes(self, preds: Tensor, target: Tensor, ignore_index: int | None) -> Inputs:
        """Inputs whose shapes are those of the task."""
        return binary_shapes(preds, target, ignore_index)

    def columns(self, preds: Tensor, target: Tensor) -> Columns:
        """One; logits stay logits, as a sigmoid would not change their order, but make the highest equal."""
        yield _without(self.ignore_index, preds, target)

    def cells(self, inputs: Inputs, boundaries: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of each score, its place in the counts, and where it is to be ignored."""
        preds, target, ignored = inputs
        if self.normalization is not None:
            preds = as_probabilities(preds, None, self.validate_args)
        return _reached(preds, boundaries).add_(target, alpha=len(boundaries) + 1), ignored


@dataclass(frozen=True)
class MultilabelScores(Scores):
    """`preds` (N, L, ...) are scores of each label, `target` (N, L, ...) whether it is there."""

    num_labels: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("num_labels", self.num_labels, 2)

    @property
    def classes(self) -> tuple[int, ...]:
        """How many labels there are."""
        return (self.num_labels,)

    def shapes(self, preds: Tensor, target: Tensor, ignore_index: int | None) -> Inputs:
        """Inputs whose shapes are those of the task."""
        return multilabel_shapes(preds, target, self.num_labels, ignore_index)

    def rows(self, tensor: Tensor) -> Tensor:
        """Scores or labels with all samples in the first dimension."""
        return tensor if tensor.ndim == 2 else tensor.movedim(1, -1).reshape(-1, self.num_labels)

    def columns(self, preds: Tensor, target: Tensor) -> Columns:
        """Of all that was kept, each label by itself, without what is ignored."""
        for scores, labels in zip(preds.T.contiguous(), target.T.contiguous(), strict=True):
            yield _without(self.ignore_index, scores, labels)

    def cells(self, inputs: Inputs, boundaries: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of each score, its place in the counts, and where it is to be ignored."""
        preds, target, ignored = inputs
        cells = _reached_of_class(as_probabilities(preds, None, self.validate_args), boundaries)
        return cells.add_(target, alpha=self.num_labels * (len(boundaries) + 1)), ignored


@dataclass(frozen=True)
class MulticlassScores(Scores):
    """`preds` (N, C, ...) are scores of classes, `target` (N, ...) the true one; each against the rest."""

    num_classes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("num_classes", self.num_classes, 2)

    @property
    def classes(self) -> tuple[int, ...]:
        """How many classes there are."""
        return (self.num_classes,)

    @property
    def values(self) -> int:
        """How many values a label has."""
        return self.num_classes

    def shapes(self, preds: Tensor, target: Tensor, ignore_index: int | None) -> Inputs:
        """Inputs whose shapes are those of the task."""
        return multiclass_shapes(preds, target, self.num_classes, ignore_index)

    def rows(self, tensor: Tensor) -> Tensor:
        """Scores or labels with all samples in the first dimension."""
        if tensor.is_floating_point():
            return tensor if tensor.ndim == 2 else tensor.movedim(1, -1).reshape(-1, self.num_classes)
        return tensor if tensor.ndim == 1 else tensor.flatten()

    def columns(self, preds: Tensor, target: Tensor) -> Columns:
        """Of all that was kept, each class against the rest, without what is ignored."""
        preds, target = _without(self.ignore_index, preds, target)
        for label, scores in enumerate(as_probabilities(preds, 1).T.contiguous()):
            yield scores, target == label

    def cells(self, inputs: Inputs, boundaries: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of each score, its place in the counts, and where it is to be ignored."""
        preds, target, ignored = inputs
        cells = _reached_of_class(as_probabilities(preds, 1, self.validate_args), boundaries)
        if ignored is not None:
            target, ignored = target.masked_fill(ignored, 0), ignored.unsqueeze(1)
        true = target.unsqueeze(1)
        first_of_positives = self.num_classes * (len(boundaries) + 1)
        return cells.scatter_add_(1, true, torch.full_like(true, first_of_positives)), ignored


def _as_thresholds(thresholds: Thresholds) -> tuple[float, ...] | None:
    if isinstance(thresholds, int) and thresholds >= 2:
        thresholds = torch.linspace(0, 1, thresholds)
    values = thresholds.flatten().tolist() if isinstance(thresholds, Tensor) else thresholds
    if values is None:
        return None
    if isinstance(values, (list, tuple)) and values and all(0 <= value <= 1 for value in values):
        return tuple(sorted(values))
    raise ConfigError(
        "`thresholds` cannot be used.",
        received=repr(thresholds),
        expected="None, an integer of at least 2, or a list or tensor of numbers from 0 to 1",
    )


def _without(ignore_index: int | None, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if ignore_index is None:
        return preds, target
    kept = target != ignore_index
    return preds[kept], target[kept]


def _reached(scores: Tensor, boundaries: Tensor) -> Tensor:
    """How many thresholds each score has reached."""
    return torch.bucketize(scores.contiguous(), boundaries.to(scores.dtype), right=True)


def _reached_of_class(scores: Tensor, boundaries: Tensor) -> Tensor:
    """The same, with a range of numbers for each class, along dimension 1."""
    cells = _reached(scores, boundaries)
    bins = len(boundaries) + 1
    first = torch.arange(0, cells.shape[1] * bins, bins, device=cells.device)
    return cells.add_(first.view([-1 if dim == 1 else 1 for dim in range(cells.ndim)]))


class ScoresMetric(Metric):
    """Base of what is computed of curves: keeps all scores, or, with thresholds, counts of constant size."""

    is_differentiable = False
    preds: list[Tensor]
    target: list[Tensor]
    counts: Tensor
    num_classes = Option("_scores")
    num_labels = Option("_scores")
    normalization = Option("_scores")
    ignore_index = Option("_scores")
    validate_args = Option("_scores")

    def __init__(self, scores: Scores, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._scores = scores
        self._keeps_no_graph = True  # scores are detached, counts are integers
        self.thresholds: Tensor | None = None
        if scores.thresholds is None:
            self.add_state("preds", [], "cat")
            self.add_state("target", [], "cat")
        else:
            self.thresholds = torch.tensor(scores.thresholds)
            self.add_state("counts", torch.zeros(scores.shape, dtype=torch.int64), "sum")

    @property
    def update_options(self) -> Hashable:
        """What is done with scores."""
        return self._scores

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        super()._apply(fn, *args, **kwargs)
        if self.thresholds is not None:  # no buffer, as `half` would round them
            self.thresholds = self.thresholds.to(self.device)
        return self

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Keep, or count, a batch of scores and labels."""
        if self.thresholds is None:
            preds, target = self._scores.kept(preds, target)
            self.preds.append(preds.detach().clone())  # the batch may be written over, or a part of a whole
            self.target.append(target.clone())
        else:
            counts = self._scores.counted(preds, target, self.thresholds)
            self._put_states({"counts": self.counts + counts})

    def _curves(self, *, micro: bool = False) -> Curves:
        """The curves of all batches."""
        if self.thresholds is not None:
            return self._scores.binned(self.counts, self.thresholds, micro=micro)
        nothing = torch.empty(0, device=self.device)  # of no batch; `cat` leaves it out else
        preds = torch.cat([nothing, *self.preds])
        return self._scores.exact(preds, torch.cat([nothing.long(), *self.target]), micro=micro)
