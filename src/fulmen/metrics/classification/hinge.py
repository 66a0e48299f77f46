"""Hinge loss: how far scores are from being right by a margin of one."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from fulmen.metrics.arguments import check_among, check_at_least
from fulmen.metrics.classification.dispatch import by_task
from fulmen.metrics.classification.inputs import as_probabilities, binary_shapes, multiclass_shapes
from fulmen.metrics.classification.losses import Losses, MeanLoss, checked, mean_of, without

Mode = Literal["crammer-singer", "one-vs-all"]


def _binary_losses(
    preds: Tensor, target: Tensor, squared: bool, ignore_index: int | None, validate_args: bool | None
) -> Losses:
    inputs = binary_shapes(preds, target, ignore_index)
    preds, target, ignored = checked(inputs, 2, validate_args)
    preds = as_probabilities(preds, None, validate_args)
    losses = _hinge(torch.where(target == 1, preds, -preds), squared).flatten()
    return without(None if ignored is None else ignored.flatten(), losses)


def _multiclass_losses(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    squared: bool,
    multiclass_mode: Mode,
    ignore_index: int | None,
    validate_args: bool | None,
) -> Losses:
    inputs = multiclass_shapes(preds, target, num_classes, ignore_index)
    preds, target, ignored = checked(inputs, num_classes, validate_args)
    preds = as_probabilities(preds, 1, validate_args)
    if preds.ndim > 2:
        preds, target = preds.movedim(1, -1).reshape(-1, num_classes), target.flatten()
        ignored = None if ignored is None else ignored.flatten()
    true = target.unsqueeze(1)
    if multiclass_mode == "one-vs-all":
        margins = (-preds).scatter(1, true, preds.gather(1, true))
        return without(None if ignored is None else ignored.unsqueeze(1), _hinge(margins, squared))
    others = preds.scatter(1, true, -torch.inf).amax(1)
    return without(ignored, _hinge(preds.gather(1, true).squeeze(1) - others, squared))


def _hinge(margins: Tensor, squared: bool) -> Tensor:
    losses = (1 - margins).clamp(min=0)
    return losses.square() if squared else losses


def _check(num_classes: int, mode: str) -> None:
    check_at_least("num_classes", num_classes, 2)
    check_among("multiclass_mode", mode, ("crammer-singer", "one-vs-all"))


def binary_hinge_loss(
    preds: Tensor,
    target: Tensor,
    squared: bool = False,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The mean hinge loss of two classes; see `BinaryHingeLoss`."""
    return mean_of(*_binary_losses(preds, target, squared, ignore_index, validate_args))


def multiclass_hinge_loss(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    squared: bool = False,
    multiclass_mode: Mode = "crammer-singer",
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The mean hinge loss of several classes; see `MulticlassHingeLoss`."""
    _check(num_classes, multiclass_mode)
    options = (num_classes, squared, multiclass_mode, ignore_index, validate_args)
    return mean_of(*_multiclass_losses(preds, target, *options))


@by_task(binary_hinge_loss, multiclass_hinge_loss)
def hinge_loss(
    preds: Tensor,
    target: Tensor,
    task: Literal["binary", "multiclass"],
    num_classes: int | None = None,
    squared: bool = False,
    multiclass_mode: Mode = "crammer-singer",
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Tensor:
    """The mean hinge loss of a task; see `HingeLoss`."""
    ...


class BinaryHingeLoss(MeanLoss):
    """The mean of max(0, 1 - y p), where y is 1 or -1 for the labels 1 and 0.

    `preds` are scores p of the label 1, `target` is 0 and 1, of the same shape. As in torchmetrics, if any
    score of a batch is outside [0, 1], p is the sigmoid of all.

    Args:
        squared: the mean of the squares.
        ignore_index: a value in `target` that stands for no label.
    """

    _losses = staticmethod(_binary_losses)

    def __init__(
        self,
        squared: bool = False,
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        options = {"squared": squared, "ignore_index": ignore_index, "validate_args": validate_args}
        super().__init__(options, **kwargs)


class MulticlassHingeLoss(MeanLoss):
    """The mean of max(0, 1 - margin): the score of the true class less that of the best other.

    `preds` (N, C, ...) are scores, `target` (N, ...) is 0 ... C - 1. As in torchmetrics, if any score of a
    batch is outside [0, 1], the softmax of all is taken.

    Args:
        squared: the mean of the squares.
        multiclass_mode: "crammer-singer", one value, as above; or "one-vs-all", that of `BinaryHingeLoss` for
            each class against the rest, (C,).
        ignore_index: a value in `target` that stands for no label.
    """

    _losses = staticmethod(_multiclass_losses)

    def __init__(
        self,
        num_classes: int,
        squared: bool = False,
        multiclass_mode: Mode = "crammer-singer",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> None:
        _check(num_classes, multiclass_mode)
        options = {
            "num_classes": num_classes,
            "squared": squared,
            "multiclass_mode": multiclass_mode,
            "ignore_index": ignore_index,
            "validate_args": validate_args,
        }
        super().__init__(options, (num_classes,) if multiclass_mode == "one-vs-all" else (), **kwargs)


class HingeLoss:
    """Makes a `BinaryHingeLoss` or `MulticlassHingeLoss`, by `task`."""

    @by_task(BinaryHingeLoss, MulticlassHingeLoss)
    def __new__(
        cls,
        task: Literal["binary", "multiclass"],
        num_classes: int | None = None,
        squared: bool = False,
        multiclass_mode: Mode = "crammer-singer",
        ignore_index: int | None = None,
        validate_args: bool | None = None,
        **kwargs: Any,
    ) -> Any: ...
