"""How the three tasks of classification count labels that were predicted and true.

Counts are all that most metrics keep, and they are formulas of the same counts. A task makes of every
position of a batch the index of a cell; the counts are how often each cell is met.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fulmen.errors import ConfigError
from fulmen.metrics.arguments import check_among, check_at_least, check_unit
from fulmen.metrics.classification.inputs import (
    Inputs,
    binary_shapes,
    check_labels,
    check_values,
    count,
    is_concrete,
    most_likely,
    multiclass_shapes,
    multilabel_shapes,
    thresholded,
)
from fulmen.metrics.classification.tally import Tally

MOST_CLASSES_IN_MATRIX = 64
"""With more classes, a matrix of all pairs of labels costs more than having it for several metrics saves."""

FEW_POSITIONS = 1000
"""Up to here, adding ones to the counts of before is faster than counting and adding both counts."""


class Outcomes(NamedTuple):
    """True and false positives and negatives, of each class or label in the last dimension (binary: none)."""

    tp: Tensor
    fp: Tensor
    tn: Tensor
    fn: Tensor


class Task(ABC):
    """What is counted: [cells], or [N, cells] where samplewise. What is ignored goes to a last cell."""

    ignore_index: int | None
    validate_args: bool | None
    multidim_average: str

    classes: int | None
    """How many labels there are to tell from one another; None: unknown."""

    @property
    @abstractmethod
    def cells(self) -> int:
        """How many there are."""

    @abstractmethod
    def locate(self, preds: Tensor, target: Tensor) -> Tensor:
        """The cell of each position, [N, ...]. May be one that there is not, where labels are wrong."""

    @abstractmethod
    def outcomes(self, counts: Tensor) -> Outcomes:
        """True and false positives and negatives."""

    @abstractmethod
    def matrix(self, counts: Tensor) -> Tensor:
        """The counts as [true, predicted], for each label if there are several."""

    @abstractmethod
    def margins(self, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How often the label was right; how often each label was predicted, and was true."""

    def present(self, outcomes: Outcomes, top_k_predicts: bool = True) -> Tensor:
        """Which classes count in the mean over all."""
        return torch.ones_like(outcomes.tp)

    def add(self, counts: Tensor, preds: Tensor, target: Tensor) -> Tensor:
        """The counts with those of a batch."""
        where = self.locate(preds, target)
        if where.ndim > 1:
            where = where.flatten()
        try:
            if not where.is_cpu or not is_concrete(where):
                return counts.index_add(0, where, torch.ones_like(where))
            positions = where.numel()
            if positions > FEW_POSITIONS:
                return count(where, self.cells).add_(counts)
            return counts.index_add(0, where, _few_ones(positions))
        except (IndexError, RuntimeError):  # there is no such cell
            if self.classes is not None:
                check_labels(target, self.classes, "target")
            raise

    def tally(self) -> Tally | None:
        """What is faster with small batches, if there is: its matrix is the counts."""
        return None

    def count(self, preds: Tensor, target: Tensor) -> Tensor:
        """The counts of a batch."""
        if self.multidim_average == "global":
            return self.add(torch.zeros(self.cells, dtype=torch.int64, device=target.device), preds, target)
        where, samples = self.locate(preds, target), len(target)
        where = where + _steps(samples, self.cells, 0, where)
        return count(where.flatten(), samples * self.cells).view(samples, self.cells)

    def _checked(self, inputs: Inputs, in_rows: bool = False) -> Inputs:
        """The inputs with their values checked, unless `add` shows for nothing which labels have no cell."""
        preds, _, ignored = inputs
        shown = not in_rows and ignored is None and preds.is_floating_point()
        if self.classes is None or (shown and self.multidim_average == "global" and not self.validate_args):
            return inputs
        return check_values(inputs, self.classes, self.validate_args)


@dataclass(frozen=True)
class Binary(Task):
    """Two classes. Cells: true negatives, false positives, false negatives, true positives."""

    threshold: float = 0.5
    ignore_index: int | None = None
    validate_args: bool | None = None
    multidim_average: str = "global"
    classes = 2

    def __post_init__(self) -> None:
        check_unit("threshold", self.threshold)
        _check_multidim_average(self.multidim_average)

    @property
    def cells(self) -> int:
        return 4 + (self.ignore_index is not None)

    def locate(self, preds: Tensor, target: Tensor) -> Tensor:
        preds, target, ignored = self._checked(binary_shapes(preds, target, self.ignore_index))
        where = torch.add(thresholded(preds, self.threshold), target, alpha=2)
        return where if ignored is None else where.masked_fill_(ignored, 4)

    def outcomes(self, counts: Tensor) -> Outcomes:
        tn, fp, fn, tp = counts[..., :4].unbind(-1)
        return Outcomes(tp, fp, tn, fn)

    def matrix(self, counts: Tensor) -> Tensor:
        return counts[:4].view(2, 2)

    def margins(self, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        matrix = self.matrix(counts)
        return matrix.trace(), matrix.sum(0), matrix.sum(1)


@dataclass(frozen=True)
class Multilabel(Task):
    """Several labels, each there or not. Cells: those of `Binary`, each for all labels."""

    num_labels: int
    threshold: float = 0.5
    ignore_index: int | None = None
    validate_args: bool | None = None
    multidim_average: str = "global"
    classes = 2

    def __post_init__(self) -> None:
        check_at_least("num_labels", self.num_labels, 2)
        check_unit("threshold", self.threshold)
        _check_multidim_average(self.multidim_average)

    @property
    def cells(self) -> int:
        return 4 * self.num_labels + (self.ignore_index is not None)

    def locate(self, preds: Tensor, target: Tensor) -> Tensor:
        size = self.num_labels
        preds, target, ignored = self._checked(multilabel_shapes(preds, target, size, self.ignore_index))
        where = torch.add(thresholded(preds, self.threshold), target, alpha=2)
        kept = where.is_cpu and is_concrete(where)
        label = _label_steps(size, target.ndim) if kept else _steps(size, 1, 1, target)
        where = torch.add(label, where, alpha=size)
        return where if ignored is None else where.masked_fill_(ignored, 4 * size)

    def outcomes(self, counts: Tensor) -> Outcomes:
        tn, fp, fn, tp = counts[..., : 4 * self.num_labels].unflatten(-1, (4, self.num_labels)).unbind(-2)
        return Outcomes(tp, fp, tn, fn)

    def matrix(self, counts: Tensor) -> Tensor:
        return counts[: 4 * self.num_labels].view(4, self.num_labels).t().reshape(-1, 2, 2)

    def margins(self, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        matrix = self.matrix(counts).sum(0)
        return matrix.trace(), matrix.sum(0), matrix.sum(1)


@dataclass(frozen=True)
class Multiclass(Task):
    """Several classes, of which one is true.

    Cells: the matrix [true, predicted]; or, for many classes and for each sample, if `as_matrix` is no must,
    three rows [C + 1], of how often each class was hit, predicted, and true, with what is left out.
    """

    num_classes: int | None
    top_k: int = 1
    ignore_index: int | None = None
    validate_args: bool | None = None
    multidim_average: str = "global"
    as_matrix: bool = False

    def __post_init__(self) -> None:
        if self.num_classes is not None or self.as_matrix:
            check_at_least("num_classes", self.num_classes, 2)
        check_at_least("top_k", self.top_k, 1)
        _check_multidim_average(self.multidim_average)
        if self.num_classes is not None and self.top_k > self.num_classes:
            raise ConfigError(
                "`top_k` is more than all classes.",
                received=self.top_k,
                expected=f"at most {self.num_classes}",
            )
        few = self.num_classes is not None and self.num_classes <= MOST_CLASSES_IN_MATRIX
        object.__setattr__(self, "classes", self.num_classes)
        object.__setattr__(self, "as_matrix", self.as_matrix or (few and self.multidim_average == "global"))

    @property
    def cells(self) -> int:
        size = self.num_classes or 1
        return size * size + (self.ignore_index is not None) if self.as_matrix else 3 * (size + 1)

    def locate(self, preds: Tensor, target: Tensor) -> Tensor:
        inputs = multiclass_shapes(preds, target, self.num_classes, self.ignore_index)
        preds, target, ignored = self._checked(inputs, in_rows=not self.as_matrix)
        labels = most_likely(preds, target, self.top_k)
        size = self.num_classes or 1
        if not self.as_matrix:
            return self._locate_in_rows(labels, target, ignored, size)
        add = torch.add if labels is preds else Tensor.add_  # over what is ours
        where = add(labels, target, alpha=size)
        return where if ignored is None else where.masked_fill_(ignored, size * size)

    def tally(self) -> Tally | None:
        plain = self.as_matrix and self.top_k == 1 and self.ignore_index is None
        size = self.num_classes or 0
        return Tally(size) if plain and size <= MOST_CLASSES_IN_MATRIX else None

    def _locate_in_rows(self, labels: Tensor, target: Tensor, ignored: Tensor | None, size: int) -> Tensor:
        missed = labels != target
        if self.num_classes is None:  # all are one class, of which some are missed
            labels = target = torch.zeros_like(target)
        rows = torch.stack((target.masked_fill(missed, size), labels, target), dim=1)
        if ignored is not None:
            rows = rows.masked_fill_(ignored.unsqueeze(1), size)
        return rows + _steps(3, size + 1, 1, rows)

    def outcomes(self, counts: Tensor) -> Outcomes:
        if self.as_matrix:
            matrix = self.matrix(counts)
            hits, predicted, true = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
        else:
            hits, predicted, true = counts.unflatten(-1, (3, -1))[..., :-1].unbind(-2)
        others = true.sum(-1, keepdim=True) - true
        return Outcomes(hits, predicted - hits, others - predicted + hits, true - hits)

    def matrix(self, counts: Tensor) -> Tensor:
        size = self.num_classes or 1
        return counts[: size * size].view(size, size)

    def margins(self, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tp, fp, _, fn = self.outcomes(counts)
        return tp.sum(), tp + fp, tp + fn

    def present(self, outcomes: Outcomes, top_k_predicts: bool = True) -> Tensor:
        """Which classes count in the mean over all: those that are true or were predicted.

        Without `top_k_predicts`, those that are true, where more than one class is predicted.
        """
        there = outcomes.tp + outcomes.fn
        return (there + outcomes.fp if top_k_predicts or self.top_k == 1 else there) > 0


def _steps(number: int, step: int, dim: int, like: Tensor) -> Tensor:
    """0, step, 2 * step, ... along a dimension of another tensor."""
    steps = torch.arange(0, number * step, step, device=like.device)
    return steps.view([-1 if i == dim else 1 for i in range(like.ndim)])


# Kept, as making them costs a fifth of an update; on the host only, where there are no streams to think of.


@functools.lru_cache(maxsize=64)
def _label_steps(num_labels: int, ndim: int) -> Tensor:
    """The index of each label, along dimension 1."""
    return torch.arange(num_labels, device="cpu").view([-1 if i == 1 else 1 for i in range(ndim)])


@functools.lru_cache(maxsize=64)
def _few_ones(number: int) -> Tensor:
    return torch.ones(number, dtype=torch.int64, device="cpu")


def _check_multidim_average(value: str) -> None:
    check_among("multidim_average", value, ("global", "samplewise"))
