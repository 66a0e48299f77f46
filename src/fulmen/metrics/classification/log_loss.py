"""Log loss: the mean negative logarithm of the probability of what is true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from fulmen.metrics.arguments import check_among, check_at_least
from fulmen.metrics.classification.dispatch import TaskName, by_task
from fulmen.metrics.classification.inputs import (
    are_logits,
    binary_shapes,
    multiclass_shapes,
    multilabel_shapes,
)
from fulmen.metrics.classification.losses import Losses, MeanLoss, checked, mean_of, without

Average = Literal["macro", "none"] | None


def _binary_losses(
    preds: Tensor, target: Tensor, ignore_index: int | None, validate_args: bool | None
) -> Losses:
    preds, target, ignored = checked(binary_shapes(preds, target, ignore_index), 2, validate_args)
    losses = _either(_of_logits, _of_probabilities, preds, target, validate_args)
    return without(None if ignored is None else ignored.flatten(), losses.flatten())


def _multilabel_losses(
    preds: Tensor, target: Tensor, num_labels: int, ignore_index: int | None, validate_args: bool | None
) -> Losses:
    inputs = multilabel_shapes(preds, target, num_labels, ignore_index)
    preds, target, ignored = checked(inputs, 2, validate_args)
    losses = _either(_of_logits, _of_probabilities, preds, target, validate_args)
    if losses.ndim > 2:
        losses = losses.movedim(1, -1).reshape(-1, num_labels)
        ignored = None if ignored is None else ignored.movedim(1, -1).reshape(-1, num_labels)
    return without(ignored, losses)


def _multiclass_losses(
    preds: Tensor, target: Tensor, num_classes: int, ignore_index: int | None, validate_args: bool | None
) -> Losses:
    inputs = multiclass_shapes(preds, target, num_classes, ignore_index)
    preds, target, ignored = checked(inputs, num_classes, validate_args)
    losses = _either(_of_class_logits, _of_class_probabilities, preds, target, validate_args)
    return without(None if ignored is None else ignored.flatten(), losses.flatten())


def _either(
    of_logits: Callable[[Tensor, Tensor], Tensor],
    of_probabilities: Callable[[Tensor, Tensor], Tensor],
    preds: Tensor,
    target: Tensor,
    validate_args: bool | None,
) -> Tensor:
    """Losses by one formula or the other, as scores are logits or not."""
    logits = are_logits(preds, validate_args)
    if isinstance(logits, bool):
        return of_logits(preds, target) if logits else of_probabilities(preds, target)
    return torch.where(logits, of_logits(preds, target), of_probabilities(preds, target))


def _of_logits(preds: Tensor, target: Tensor) -> Tensor:
    return softplus(torch.where(target == 1, -preds, preds))


def _of_probabilities(preds: Tensor, target: Tensor) -> Tensor:
    return _negative_log(torch.where(target == 1, preds, 1 - preds))


def _of_class_logits(preds: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(preds, target, reduction="none")


def _of_class_probabilities(preds: Tensor, target: Tensor) -> Tensor:
    return _negative_log(preds.gather(1, target.unsqueeze(1)).squeeze(1))


def _negative_log(chances: Tensor) -> Tensor:
    return -chances.clamp(min=torch.finfo(chances.dtype).eps).log()


def _check_labels(num_labels: int, average: Average) -> None:
    check_at_least("num_labels", num_labels, 2)
    check_among("average", average, ("macro", "none", None))


def binary_log_loss(
    preds: Tensor, target: Tensor, ignore_index: int | None = None, validate_args: bool | None = None
) -> Tensor:
    """The mean log loss of two classes; see `BinaryLogLoss`."""
    return mean_of(*_binary_losses(preds, target, ignore_index, validate_args))


def multiclass_log_loss(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The mean log loss of several classes; see `MulticlassLogLoss`."""
    check_at_least("num_classes", num_classes, 2)
    return mean_of(*_multiclass_losses(preds, target, num_classes, ignore_index, validate_args))


def multilabel_log_loss(
    preds: Tensor,
    target: Tensor,
    num_labels: int,
    average: Average = "macro",
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The mean log loss of labels; see `MultilabelLogLoss`."""
    _check_labels(num_labels, average)
    values = mean_of(*_multilabel_losses(preds, target, num_labels, ignore_index, validate_args))
    return values.mean() if average == "macro" else values


@by_task(binary_log_loss, multiclass_log_loss, multilabel_log_loss)
def log_loss(
    preds: Tensor,
    target: Tensor,
    task: TaskName,
    num_classes: int | None = None,
    num_labels: int | None = None,
    average: Average = "macro",
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The mean log loss of a task; see `LogLoss`."""
    ...


class BinaryLogLoss(MeanLoss):
    """The mean negative logarithm of the probability that the true one of two classes was given; 0 is best.

    `preds` are probabilities of the label 1, or, if any of a batch is outside [0, 1], logits; `target` is 0
    and 1, of the same shape. Probabilities are at least the machine epsilon, as in scikit-learn's `log_loss`;
    of logits, the loss is exact. NaN of no samples.

    Args:
        ignore_index: a value in `target` that stands for no label.
    """

    _losses = staticmethod(_binary_losses)

    def __init__(
        self, ignore_index: int | None = None, validate_args: bool | None = None, **kwargs: Any
    ) -> None:
        super().__init__({"ignore_index": ignore_index, "validate_args": validate_args}, **kwargs)


class MulticlassLogLoss(MeanLoss):
    """The mean negative logarithm of the probability that was given to the true class: the cross entropy.

    `preds` (N, C, ...) are probabilities, or, if any of a batch is outside [0, 1], logits; `target` (N, ...)
    is 0 ... C - 1. See `BinaryLogLoss`.
    """

    _losses = staticmethod(_multiclass_losses)

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        check_at_least("num_classes", num_classes, 2)
        options = {"num_classes": num_classes, "ignore_index": ignore_index, "validate_args": validate_args}
        super().__init__(options, **kwargs)


class MultilabelLogLoss(MeanLoss):
    """What `BinaryLogLoss` gives, for each label.

    `preds` (N, L, ...) are probabilities, or, if any of a batch is outside [0, 1], logits; `target` (N, L,
    ...) is 0 and 1.

    Args:
        average: the mean of all labels ("macro"), or one value for each, (L,).
        ignore_index: a value in `target` that stands for no label.
    """

    _losses = staticmethod(_multilabel_losses)

    def __init__(
        self,
        num_labels: int,
        average: Average = "macro",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        _check_labels(num_labels, average)
        options = {"num_labels": num_labels, "ignore_index": ignore_index, "validate_args": validate_args}
        super().__init__(options, (num_labels,), **kwargs)
        self.average = average

    def compute(self) -> Tensor:
        """The mean loss, or that of each label."""
        values = super().compute()
        return values.mean() if self.average == "macro" else values


class LogLoss:
    """Makes a `BinaryLogLoss`, `MulticlassLogLoss` or `MultilabelLogLoss`, by `task`."""

    @by_task(BinaryLogLoss, MulticlassLogLoss, MultilabelLogLoss)
    def __new__(
        cls,
        task: TaskName,
        num_classes: int | None = None,
        num_labels: int | None = None,
        average: Average = "macro",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> Any: ...
