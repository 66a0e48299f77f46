"""What the metrics of classification are given: checked, and brought to one form.

`validate_args`, everywhere: None looks at values where that costs no wait (tensors on the CPU), True always, False
never. Shapes and types are looked at always. Nothing here copies values to the host but those checks.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from fulmen.errors import ConfigError, UsageError

Average = Literal["micro", "macro", "weighted", "none"] | None
MultidimAverage = Literal["global", "samplewise"]

Inputs = tuple[Tensor, Tensor, Tensor | None]
"""Predictions, labels in int64, and where they are to be ignored (None: nowhere)."""


# ------------------------------------------------------------------------------------------------ three tasks


def binary_inputs(
    preds: Tensor, target: Tensor, ignore_index: int | None = None, validate_args: bool | None = None
) -> Inputs:
    """Checked inputs of two classes: `preds` scores or labels, `target` labels, both of one shape."""
    if preds.shape != target.shape:
        raise _shapes_differ(preds, target, "preds and target of the same shape")
    target = _as_labels(target, "target")
    ignored = None if ignore_index is None else target == ignore_index
    if _looks_at_values(target, validate_args):
        check_labels(target, 2, "target", ignored)
        if not preds.is_floating_point():
            check_labels(preds, 2, "preds", ignored)
    return preds, target, ignored


def multiclass_inputs(
    preds: Tensor,
    target: Tensor,
    num_classes: int | None,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Inputs:
    """Checked inputs of several classes: `target` (N, ...), `preds` scores (N, C, ...) or labels (N, ...)."""
    if preds.ndim == target.ndim + 1:
        if preds.shape[2:] != target.shape[1:] or preds.shape[0] != target.shape[0]:
            raise _shapes_differ(preds, target, "preds (N, C, ...) with target (N, ...)")
        if num_classes is not None and preds.shape[1] != num_classes:
            raise _shapes_differ(preds, target, f"preds (N, {num_classes}, ...), as there are {num_classes} classes")
        if not preds.is_floating_point():
            raise UsageError(
                "`preds` has a score for every class, of a type that scores do not have.",
                received=preds.dtype,
                expected="scores of floating point, or labels of the shape of `target`",
            )
    elif preds.shape != target.shape:
        raise _shapes_differ(preds, target, "preds (N, C, ...) or (N, ...) with target (N, ...)")
    elif preds.is_floating_point():
        raise UsageError(
            "`preds` has the shape of `target`, and is no integer label.",
            received=f"{preds.dtype} {tuple(preds.shape)}",
            expected="integer labels (N, ...), or scores (N, C, ...) for every class",
        )
    target = _as_labels(target, "target")
    ignored = None if ignore_index is None else target == ignore_index
    if num_classes is not None and _looks_at_values(target, validate_args):
        check_labels(target, num_classes, "target", ignored)
        if not preds.is_floating_point():
            check_labels(preds, num_classes, "preds", ignored)
    return preds, target, ignored


def multilabel_inputs(
    preds: Tensor,
    target: Tensor,
    num_labels: int,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Inputs:
    """Checked inputs of several labels: `preds` scores or 0 and 1, `target` 0 and 1, both (N, L, ...)."""
    if preds.ndim < 2 or preds.shape[1] != num_labels:
        raise _shapes_differ(preds, target, f"both (N, {num_labels}, ...), as there are {num_labels} labels")
    return binary_inputs(preds, target, ignore_index, validate_args)


# ------------------------------------------------------------------------------------------ scores and labels


def as_probabilities(preds: Tensor, dim: int | None = None) -> Tensor:
    """Probabilities of scores: themselves, or, where any is outside [0, 1], their sigmoid or softmax over `dim`."""
    if not preds.is_floating_point():
        return preds
    if preds.device.type == "cpu":
        return preds if _within_unit(preds) else _normalized(preds, dim)
    outside = ((preds < 0) | (preds > 1)).any()
    return torch.where(outside, _normalized(preds, dim), preds)


def thresholded(preds: Tensor, threshold: float) -> Tensor:
    """Whether each score is above a probability; labels stay what they are."""
    if not preds.is_floating_point():
        return preds
    if preds.device.type == "cpu":
        return preds > (threshold if _within_unit(preds) else _logit(threshold))
    outside = ((preds < 0) | (preds > 1)).any()
    return torch.where(outside, preds > _logit(threshold), preds > threshold)


def most_likely(preds: Tensor, target: Tensor, top_k: int = 1) -> Tensor:
    """The label of the highest score; with `top_k`, the true one if its score is among the highest."""
    if preds.ndim == target.ndim:
        return preds
    best = preds.max(1)[1]  # twice as fast as `argmax` where there are few classes
    if top_k == 1:
        return best
    among = (preds.topk(top_k, 1).indices == target.unsqueeze(1)).any(1)
    return torch.where(among, target, best)


def _within_unit(preds: Tensor) -> bool:
    if not preds.numel():
        return True
    low, high = torch.aminmax(preds)
    return low.item() >= 0 and high.item() <= 1


def _normalized(preds: Tensor, dim: int | None) -> Tensor:
    return preds.sigmoid() if dim is None else preds.softmax(dim)


def _logit(threshold: float) -> float:
    if 0 < threshold < 1:
        return math.log(threshold / (1 - threshold))
    return -math.inf if threshold <= 0 else math.inf


# --------------------------------------------------------------------------------------------------- counting


def count(indices: Tensor, bins: int) -> Tensor:
    """How often each of 0 ... bins - 1 is in a flat tensor of int64."""
    if indices.device.type == "cpu":
        return torch.bincount(indices, minlength=bins)
    # `bincount` would wait for the accelerator, to learn the highest index.
    zeros = torch.zeros(bins, dtype=torch.int64, device=indices.device)
    return zeros.scatter_add_(0, indices, torch.ones_like(indices))


# ----------------------------------------------------------------------------------------------------- checks


def check_labels(labels: Tensor, classes: int, name: str, ignored: Tensor | None = None) -> None:
    """Raise if a label that is not ignored is none of 0 ... classes - 1. Waits for the device."""
    if ignored is not None:
        labels = labels.masked_fill(ignored, 0)
    if labels.dtype is torch.bool or not labels.numel():
        return
    low, high = torch.aminmax(labels)
    lowest, highest = low.item(), high.item()
    if lowest < 0 or highest >= classes:
        raise UsageError(
            f"`{name}` has labels that are none of the {classes} classes.",
            received=f"labels from {lowest} to {highest}",
            expected=f"labels from 0 to {classes - 1}",
            fix="give the number of classes there are, and as `ignore_index` what marks positions without a label",
        )


def check_at_least(name: str, value: object, least: int) -> None:
    """Raise unless an argument is an integer that is high enough."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"`{name}` cannot be used.", received=repr(value), expected=f"an integer of at least {least}")


def check_among(name: str, value: object, known: tuple[object, ...]) -> None:
    """Raise unless an argument is one of those that are understood."""
    if value not in known:
        raise ConfigError(f"`{name}` is unknown.", received=repr(value), expected=", ".join(map(repr, known)))


def check_unit(name: str, value: float) -> None:
    """Raise unless an argument is from 0 to 1."""
    if not 0 <= value <= 1:
        raise ConfigError(f"`{name}` cannot be used.", received=repr(value), expected="a number from 0 to 1")


def _looks_at_values(tensor: Tensor, validate_args: bool | None) -> bool:
    return tensor.device.type == "cpu" if validate_args is None else validate_args


def _as_labels(labels: Tensor, name: str) -> Tensor:
    if labels.dtype is torch.int64:
        return labels
    if labels.is_floating_point() or labels.is_complex():
        raise UsageError(
            f"`{name}` must be labels.", received=labels.dtype, expected="integers", fix=f"{name}.long()"
        )
    return labels.long()


def _shapes_differ(preds: Tensor, target: Tensor, expected: str) -> UsageError:
    return UsageError(
        "The shapes of predictions and labels do not fit.",
        received=f"preds {tuple(preds.shape)}, target {tuple(target.shape)}",
        expected=expected,
    )
