"""The metrics of classes that count: accuracy, precision, recall, F scores, confusion matrix, IoU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fulmen.compat.lightning.metrics.counts import (
    Ratio,
    check_average,
    counts,
    f_beta_ratio,
    precision_ratio,
    recall_ratio,
    score,
)
from fulmen.compat.lightning.metrics.functional.overlap import confusion_matrix, iou_of, normalized
from fulmen.compat.lightning.metrics.functional.per_class import right_of, say_if_heeded
from fulmen.compat.lightning.metrics.inputs import Inputs, as_multiclass, read
from fulmen.compat.lightning.metrics.metric import Metric
from fulmen.errors import ConfigError


class Accuracy(Metric):
    """How many of all predictions, or of all labels, are right.

    Args:
        threshold: the least score of a label that is predicted.
        top_k: of how many classes with the highest scores the true one must be one.
        subset_accuracy: whether all labels, or all positions, of a sample must be right.
    """

    correct: Tensor
    total: Tensor

    def __init__(
        self,
        threshold: float = 0.5,
        top_k: int | None = None,
        subset_accuracy: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if isinstance(top_k, bool):  # 1.0 and 1.1 had `compute_on_step` and the like there
            args, top_k, subset_accuracy = (top_k, subset_accuracy, *args), None, False
        super().__init__(*args, **kwargs)
        self.threshold = threshold
        self.top_k = top_k
        self.subset_accuracy = subset_accuracy
        self.add_state("correct", torch.tensor(0), "sum")
        self.add_state("total", torch.tensor(0), "sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        right = right_of(preds, target, self.threshold, self.top_k, self.subset_accuracy)
        self.correct = self.correct + right.sum()
        self.total = self.total + right.numel()

    def compute(self) -> Tensor:
        """The accuracy of all batches."""
        return self.correct.float() / self.total


class StatScores(Metric):
    """True and false positives, true and false negatives, and how many are true: [5], [C, 5], [N, C, 5].

    Args:
        reduce: "micro" counts all classes together, "macro" each, "samples" each sample.
        mdmc_reduce: with several positions in a sample, "global" takes them as samples, "samplewise" counts
            each sample.
    """

    values: Tensor | list[Tensor]

    def __init__(
        self,
        threshold: float = 0.5,
        top_k: int | None = None,
        reduce: str = "micro",
        num_classes: int | None = None,
        ignore_index: int | None = None,
        mdmc_reduce: str | None = None,
        is_multiclass: bool | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.threshold = threshold
        self.top_k = top_k
        self.reduce = reduce
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.mdmc_reduce = mdmc_reduce
        self.is_multiclass = is_multiclass
        if reduce == "macro" and num_classes is None:
            raise ConfigError("Classes that are told apart are to be counted.", fix="give `num_classes`")
        if reduce == "samples" or mdmc_reduce == "samplewise":
            self.add_state("values", [], "cat")
        else:
            shape = (num_classes or 0, 5) if reduce == "macro" else (5,)
            self.add_state("values", torch.zeros(shape, dtype=torch.int64), "sum")

    def _read(self, preds: Tensor, target: Tensor) -> Inputs:
        return read(preds, target, self.threshold, self.top_k, self.num_classes, self.is_multiclass)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        inputs = self._read(preds, target)
        values = counts(inputs, self.reduce, self.mdmc_reduce, self.ignore_index)
        if isinstance(self.values, list):
            self.values.append(values)
        elif values.shape != self.values.shape:
            raise ConfigError(
                "The batch has another number of classes.",
                received=len(values),
                expected=f"num_classes={len(self.values)}",
            )
        else:
            self.values = self.values + values

    def _all(self) -> Tensor:
        values = torch.cat(self.values) if isinstance(self.values, list) else self.values
        return values.clamp(min=-1)  # what is ignored was -1 in each batch

    def compute(self) -> Tensor:
        """The counts of all batches."""
        return self._all()


class _Averaged(StatScores):
    """Base of scores that are averaged over classes; takes what 1.0 to 1.4 took, in their order."""

    ratio: Ratio

    def __init__(
        self,
        num_classes: int | None = None,
        threshold: float = 0.5,
        average: str | None = "micro",
        multilabel: bool = False,
        mdmc_average: str | None = None,
        ignore_index: int | None = None,
        top_k: int | None = None,
        is_multiclass: bool | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        check_average(average)
        if isinstance(mdmc_average, bool):  # 1.0 and 1.1 had `compute_on_step` and the like there
            args = (
                mdmc_average,
                *(arg for arg in (ignore_index, top_k, is_multiclass) if arg is not None),
                *args,
            )
            mdmc_average = ignore_index = top_k = is_multiclass = None
        say_if_heeded(is_multiclass)
        by_class = average not in ("micro", "samples")
        super().__init__(
            threshold,
            top_k,
            "macro" if by_class else str(average),
            1 if by_class and num_classes is None else num_classes,
            ignore_index,
            mdmc_average,
            is_multiclass,
            *args,
            **kwargs,
        )
        self.average = average
        self.multilabel = multilabel
        self.mdmc_average = mdmc_average

    def _read(self, preds: Tensor, target: Tensor) -> Inputs:
        is_multiclass = as_multiclass(preds, target, self.is_multiclass, self.num_classes, self.multilabel)
        inputs = read(preds, target, self.threshold, self.top_k, self.num_classes, is_multiclass)
        if self.num_classes == 1 and not inputs.are_classes and self.average not in ("micro", "samples"):
            inputs = Inputs(inputs.preds.reshape(-1, 1), inputs.target.reshape(-1, 1), False)
        return inputs

    def compute(self) -> Tensor:
        """The score of all batches."""
        values = self._all()
        samplewise = self.mdmc_reduce == "samplewise"
        return score(values, self.ratio, self.average, samplewise and values.ndim > 1)


class Precision(_Averaged):
    """How many of those predicted are true."""

    ratio = staticmethod(precision_ratio)


class Recall(_Averaged):
    """How many of those true are predicted."""

    ratio = staticmethod(recall_ratio)


class FBeta(_Averaged):
    """The harmonic mean of precision and recall, in which recall counts `beta` times."""

    def __init__(
        self,
        num_classes: int = 1,
        beta: float = 1.0,
        threshold: float = 0.5,
        average: str | None = "micro",
        multilabel: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        none = (None,) * 4 if args else ()
        super().__init__(num_classes, threshold, average, multilabel, *none, *args, **kwargs)
        self.beta = beta
        self.ratio = f_beta_ratio(beta)


class Fbeta(FBeta):
    """`FBeta`, as 1.0 called it first."""


class F1(FBeta):
    """The harmonic mean of precision and recall."""

    def __init__(
        self,
        num_classes: int = 1,
        threshold: float = 0.5,
        average: str | None = "micro",
        multilabel: bool = False,
        *args: Any,
        beta: float = 1.0,
        **kwargs: Any,
    ) -> None:
        # 1.0 took a `beta` and went on with 1.
        super().__init__(num_classes, 1.0, threshold, average, multilabel, *args, **kwargs)


class HammingDistance(Metric):
    """How many of all labels are wrong."""

    correct: Tensor
    total: Tensor

    def __init__(self, threshold: float = 0.5, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.threshold = threshold
        self.add_state("correct", torch.tensor(0), "sum")
        self.add_state("total", torch.tensor(0), "sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        inputs = read(preds, target, self.threshold)
        self.correct = self.correct + (inputs.preds == inputs.target).sum()
        self.total = self.total + inputs.target.numel()

    def compute(self) -> Tensor:
        """The share of wrong labels in all batches."""
        return 1 - self.correct.float() / self.total


class ConfusionMatrix(Metric):
    """How often each class is predicted (columns) where each is true (rows): [C, C].

    Args:
        normalize: what counts are divided by: those of the "true" class, those of the one that is predicted
            ("pred"), or "all".
    """

    matrix: Tensor

    def __init__(
        self,
        num_classes: int,
        normalize: str | None = None,
        threshold: float = 0.5,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.num_classes = num_classes
        self.normalize = normalize
        self.threshold = threshold
        self.add_state("matrix", torch.zeros(num_classes, num_classes), "sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        self.matrix = self.matrix + confusion_matrix(
            preds, target, num_classes=self.num_classes, threshold=float(self.threshold)
        )

    def compute(self) -> Tensor:
        """The matrix of all batches."""
        return normalized(self.matrix, self.normalize)


class IoU(ConfusionMatrix):
    """Intersection over union: where each class is predicted and true, by where it is either of both."""

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = None,
        absent_score: float = 0.0,
        threshold: float = 0.5,
        reduction: str = "elementwise_mean",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, None, threshold, *args, **kwargs)
        self.ignore_index = ignore_index
        self.absent_score = absent_score
        self.reduction = reduction

    def compute(self) -> Tensor:
        """The score of all batches."""
        return iou_of(self.matrix, self.ignore_index, self.absent_score, self.reduction)
