"""Calibration error: how far the confidence of a classifier is from how often it is right."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal

import torch
from torch import Tensor

from fulmen.metrics.arguments import check_among, check_at_least
from fulmen.metrics.classification.counting import divide
from fulmen.metrics.classification.dispatch import by_task
from fulmen.metrics.classification.inputs import as_probabilities, binary_shapes, count, multiclass_shapes
from fulmen.metrics.classification.losses import checked
from fulmen.metrics.classification.options import Option
from fulmen.metrics.dtypes import result_dtype, widest
from fulmen.metrics.metric import Metric
from fulmen.metrics.plot import Drawn, plot_reliability

Norm = Literal["l1", "l2", "max"]


def binary_calibration_error(
    preds: Tensor,
    target: Tensor,
    n_bins: int = 15,
    norm: Norm = "l1",
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The calibration error of two classes; see `BinaryCalibrationError`."""
    _check(n_bins, norm)
    answers = _binary_answers(preds, target, ignore_index, validate_args)
    return _error(*_binned(*answers, n_bins, widest(preds)), norm).to(result_dtype(preds))


def multiclass_calibration_error(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    n_bins: int = 15,
    norm: Norm = "l1",
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The calibration error of several classes; see `MulticlassCalibrationError`."""
    _check(n_bins, norm, num_classes)
    answers = _multiclass_answers(preds, target, num_classes, ignore_index, validate_args)
    return _error(*_binned(*answers, n_bins, widest(preds)), norm).to(result_dtype(preds))


@by_task(binary_calibration_error, multiclass_calibration_error)
def calibration_error(
    preds: Tensor,
    target: Tensor,
    task: Literal["binary", "multiclass"],
    n_bins: int = 15,
    norm: Norm = "l1",
    num_classes: int | None = None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The calibration error of a task; see `CalibrationError`."""
    ...


class CalibrationMetric(Metric):
    """Base of the calibration errors: keeps how often answers were wrong and right, and how sure, in bins."""

    is_differentiable = False
    higher_is_better = False
    counts: Tensor
    confidence: Tensor
    num_classes = Option("_options")
    ignore_index = Option("_options")
    validate_args = Option("_options")

    def __init__(self, n_bins: int, norm: Norm, options: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_bins = n_bins
        self.norm: Norm = norm
        self._options = options
        self.add_state("counts", torch.zeros((2, n_bins), dtype=torch.int64), "sum")
        self.add_state("confidence", torch.zeros(n_bins, dtype=torch.float64), "sum")

    @property
    def update_options(self) -> Hashable:
        """The bins, and how answers are made."""
        return self.n_bins, *self._options.items()

    def _add(self, confidence: Tensor, right: Tensor, ignored: Tensor | None) -> None:
        counts, total = _binned(confidence, right, ignored, self.n_bins, self.confidence.dtype)
        self._put_states({"counts": self.counts + counts, "confidence": self.confidence + total})

    def compute(self) -> Tensor:
        """The calibration error."""
        return _error(self.counts, self.confidence, self.norm).to(self.dtype)

    def plot(self, val: Any = None, ax: Any = None) -> Drawn:
        """Draw how often answers were right over how sure they were; or, of values, these over steps."""
        if val is not None:
            return super().plot(val, ax)
        with self.synchronised_together([self]):
            number = self.counts.sum(0)
            means = self.confidence / number, self.counts[1] / number
            return plot_reliability(*means, number, ax, name=type(self).__name__)


class BinaryCalibrationError(CalibrationMetric):
    """How far the probabilities of the label 1 are from how often it is true, in bins of equal width.

    `preds` are probabilities, or, if any of a batch is outside [0, 1], logits; `target` is 0 and 1, of the
    same shape. A bin holds its lower edge, and the last one 1 too (torchmetrics gives 1 a bin of its own).
    Keeps one number of bins, not all scores. NaN of no samples.

    Args:
        norm: the mean difference over all samples ("l1", the expected calibration error), the root of the
            mean squared one ("l2"), or that of the worst bin ("max").
        ignore_index: a value in `target` that stands for no label.
    """

    def __init__(
        self,
        n_bins: int = 15,
        norm: Norm = "l1",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        _check(n_bins, norm)
        options = {"ignore_index": ignore_index, "validate_args": validate_args}
        super().__init__(n_bins, norm, options, **kwargs)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch of scores and labels."""
        self._add(*_binary_answers(preds, target, **self._options))


class MulticlassCalibrationError(CalibrationMetric):
    """How far the highest probability is from how often its class is the true one, in bins of equal width.

    `preds` (N, C, ...) are probabilities, or, if any of a batch is outside [0, 1], logits; `target` (N, ...)
    is 0 ... C - 1. See `BinaryCalibrationError`.
    """

    def __init__(
        self,
        num_classes: int,
        n_bins: int = 15,
        norm: Norm = "l1",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        _check(n_bins, norm, num_classes)
        options = {"num_classes": num_classes, "ignore_index": ignore_index, "validate_args": validate_args}
        super().__init__(n_bins, norm, options, **kwargs)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch of scores and labels."""
        self._add(*_multiclass_answers(preds, target, **self._options))


class CalibrationError:
    """Makes a `BinaryCalibrationError` or `MulticlassCalibrationError`, by `task`."""

    @by_task(BinaryCalibrationError, MulticlassCalibrationError)
    def __new__(
        cls,
        task: Literal["binary", "multiclass"],
        n_bins: int = 15,
        norm: Norm = "l1",
        num_classes: int | None = None,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> Any: ...


Answers = tuple[Tensor, Tensor, Tensor | None]
"""How sure each answer is, whether it is right, and where it is to be ignored."""


def _binary_answers(
    preds: Tensor, target: Tensor, ignore_index: int | None, validate_args: bool | None
) -> Answers:
    preds, target, ignored = checked(binary_shapes(preds, target, ignore_index), 2, validate_args)
    return as_probabilities(preds, None, validate_args), target, ignored


def _multiclass_answers(
    preds: Tensor, target: Tensor, num_classes: int, ignore_index: int | None, validate_args: bool | None
) -> Answers:
    inputs = multiclass_shapes(preds, target, num_classes, ignore_index)
    preds, target, ignored = checked(inputs, num_classes, validate_args)
    confidence, label = as_probabilities(preds, 1, validate_args).max(1)
    return confidence, label == target, ignored


def _binned(
    confidence: Tensor, right: Tensor, ignored: Tensor | None, n_bins: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """How many answers were wrong and right, [2, bins], and their confidence in all, [bins]."""
    bins = (confidence.flatten() * n_bins).long().clamp_(max=n_bins - 1)
    if ignored is not None:
        bins.masked_fill_(ignored.flatten(), n_bins)
    number = n_bins if ignored is None else n_bins + 1
    counts = count(torch.add(bins, right.flatten(), alpha=number), 2 * number).view(2, number)
    total = torch.zeros(number, dtype=dtype, device=bins.device)
    total.scatter_add_(0, bins, confidence.flatten().to(dtype))
    return (counts, total) if ignored is None else (counts[:, :n_bins], total[:n_bins])


def _error(counts: Tensor, confidence: Tensor, norm: Norm) -> Tensor:
    number = counts.sum(0)
    gaps = (counts[1] - confidence).abs()
    if norm == "max":
        return divide(gaps, number.to(gaps.dtype)).max()
    if norm == "l1":
        return gaps.sum() / number.sum()
    return (divide(gaps.square(), number.to(gaps.dtype)).sum() / number.sum()).sqrt()


def _check(n_bins: int, norm: Norm, num_classes: int = 2) -> None:
    check_at_least("num_classes", num_classes, 2)
    check_at_least("n_bins", n_bins, 1)
    check_among("norm", norm, ("l1", "l2", "max"))
