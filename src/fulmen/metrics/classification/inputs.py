"""What the metrics of classification are given: checked, and brought to one form.

`validate_args`, everywhere: None looks at values where that costs no wait (tensors on the CPU), True always,
False never. Shapes and types are looked at always. Nothing here copies values to the host but those checks.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import torch
from torch import Tensor
from torch.compiler import is_compiling

from fulmen.errors import UsageError

Average = Literal["micro", "macro", "weighted", "none"] | None
MultidimAverage = Literal["global", "samplewise"]

Inputs = tuple[Tensor, Tensor, Tensor | None]
"""Predictions, labels in int64, and where they are to be ignored (None: nowhere)."""


# ------------------------------------------------------------------------------------------------ three tasks


def binary_inputs(
    preds: Tensor, target: Tensor, ignore_index: int | None = None, validate_args: bool | None = None
) -> Inputs:
    """Checked inputs of two classes: `preds` scores or labels, `target` labels, both of one shape."""
    return check_values(binary_shapes(preds, target, ignore_index), 2, validate_args)


def multiclass_inputs(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Inputs:
    """Checked inputs of several classes: `target` (N, ...), `preds` scores (N, C, ...) or labels (N, ...)."""
    inputs = multiclass_shapes(preds, target, num_classes, ignore_index)
    return check_values(inputs, num_classes, validate_args)


def multilabel_inputs(
    preds: Tensor,
    target: Tensor,
    num_labels: int,
    ignore_index: int | None = None,
    validate_args: bool | None = None,
) -> Inputs:
    """Checked inputs of several labels: `preds` scores or 0 and 1, `target` 0 and 1, both (N, L, ...)."""
    return check_values(multilabel_shapes(preds, target, num_labels, ignore_index), 2, validate_args)


def binary_shapes(preds: Tensor, target: Tensor, ignore_index: int | None = None) -> Inputs:
    """What `binary_inputs` gives, without a look at values."""
    if preds.shape != target.shape:
        raise _shapes_differ(preds, target, "preds and target of the same shape")
    target = _as_labels(target)
    return preds, target, None if ignore_index is None else target == ignore_index


def multiclass_shapes(
    preds: Tensor, target: Tensor, num_classes: int | None, ignore_index: int | None = None
) -> Inputs:
    """What `multiclass_inputs` gives, without a look at values."""
    if preds.shape != target.shape:
        _check_scores(preds, target, num_classes)
    elif preds.is_floating_point():
        raise UsageError(
            "`preds` has the shape of `target`, and is no integer label.",
            received=f"{preds.dtype} {tuple(preds.shape)}",
            expected="integer labels (N, ...), or scores (N, C, ...) for every class",
        )
    target = _as_labels(target)
    return preds, target, None if ignore_index is None else target == ignore_index


def multilabel_shapes(
    preds: Tensor, target: Tensor, num_labels: int, ignore_index: int | None = None
) -> Inputs:
    """What `multilabel_inputs` gives, without a look at values."""
    if preds.ndim < 2 or preds.shape[1] != num_labels:
        raise _shapes_differ(preds, target, f"both (N, {num_labels}, ...), as there are {num_labels} labels")
    return binary_shapes(preds, target, ignore_index)


def check_values(inputs: Inputs, classes: int, validate_args: bool | None) -> Inputs:
    """The same, with labels that are known to be among 0 ... classes - 1, where values may be looked at."""
    preds, target, ignored = inputs
    if target.is_cpu if validate_args is None else validate_args:
        check_labels(target, classes, "target", ignored)
        if not preds.is_floating_point():
            check_labels(preds, classes, "preds", ignored)
    return inputs


# ------------------------------------------------------------------------------------------ scores and labels


def as_scores(preds: Tensor) -> Tensor:
    """Scores in float32 at least."""
    if not preds.is_floating_point():
        raise UsageError(
            "`preds` must be scores.",
            received=preds.dtype,
            expected="probabilities or logits, of floating point",
            fix="give what the model says before labels are made of it",
        )
    return preds.float() if preds.dtype.itemsize < 4 else preds


def as_probabilities(preds: Tensor, dim: int | None = None, validate_args: bool | None = False) -> Tensor:
    """Probabilities of scores: themselves, or, if any is outside [0, 1], sigmoid or softmax over `dim`."""
    if not preds.is_floating_point():
        return preds
    outside = are_logits(preds, validate_args)
    if isinstance(outside, bool):
        return _normalized(preds, dim) if outside else preds
    return torch.where(outside, _normalized(preds, dim), preds)


def are_logits(preds: Tensor, validate_args: bool | None = False) -> bool | Tensor:
    """Whether any score is outside [0, 1]; a tensor where it would have to be waited for."""
    if preds.is_cpu:
        return not _within_unit(preds, validate_args is not False)
    if validate_args:
        check_scores(preds)
    return ((preds < 0) | (preds > 1)).any()


def thresholded(preds: Tensor, threshold: float) -> Tensor:
    """Whether each score is above a probability, as in `as_probabilities`; labels stay what they are."""
    if not preds.is_floating_point():
        return preds
    cut, cut_of_logits = _cut, _cut_of_logits
    if not is_concrete(preds):
        cut, cut_of_logits = cut.__wrapped__, cut_of_logits.__wrapped__
    elif preds.is_cpu:
        return preds > (cut if _within_unit(preds) else cut_of_logits)(threshold, preds.dtype)
    outside = ((preds < 0) | (preds > 1)).any()
    of_logits = preds > cut_of_logits(threshold, preds.dtype)
    return torch.where(outside, of_logits, preds > cut(threshold, preds.dtype))


@functools.lru_cache(maxsize=32)
def _cut(threshold: float, dtype: torch.dtype) -> Tensor:
    """A scalar on the host, which goes to any device: one that is no tensor takes twice as long."""
    return torch.tensor(threshold, dtype=dtype, device="cpu")


@functools.lru_cache(maxsize=32)
def _cut_of_logits(threshold: float, dtype: torch.dtype) -> Tensor:
    logit = math.log(threshold / (1 - threshold)) if 0 < threshold < 1 else math.inf * (threshold - 0.5)
    return torch.tensor(logit, dtype=dtype, device="cpu")


def is_concrete(tensor: Tensor) -> bool:
    """Whether it is no stand-in, as where something is traced: then nothing is kept that was made for it."""
    return type(tensor) is Tensor and not is_compiling()


def most_likely(preds: Tensor, target: Tensor, top_k: int = 1) -> Tensor:
    """The label of the highest score; with `top_k`, the true one if its score is among the highest."""
    if preds.ndim == target.ndim:
        if top_k > 1:
            raise UsageError(
                f"`preds` must be scores for top_k={top_k}.",
                received=f"labels {tuple(preds.shape)}",
                expected="scores (N, C, ...) for every class",
            )
        return preds
    best = (
        preds.argmax(1) if preds.numel() < 1000 else preds.max(1)[1]
    )  # the latter costs more, and is faster
    if top_k == 1:
        return best
    among = (preds.topk(top_k, 1).indices == target.unsqueeze(1)).any(1)
    return torch.where(among, target, best)


def _within_unit(preds: Tensor, refuse_nan: bool = False) -> bool:
    if not preds.numel():
        return True
    low, high = (end.item() for end in torch.aminmax(preds))
    if refuse_nan and math.isnan(low):
        check_scores(preds)
    return low >= 0 and high <= 1


def _normalized(preds: Tensor, dim: int | None) -> Tensor:
    return preds.sigmoid() if dim is None else preds.softmax(dim)


# --------------------------------------------------------------------------------------------------- counting


def count(indices: Tensor, bins: int) -> Tensor:
    """How often each of 0 ... bins - 1 is in a flat tensor of int64."""
    if indices.is_cpu:
        return torch.bincount(indices, None, bins)
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
            fix="give the number of classes, and as `ignore_index` what marks positions without a label",
        )


def check_scores(preds: Tensor) -> None:
    """Raise if a score is NaN. Waits for the device."""
    if preds.numel() and bool(torch.aminmax(preds).min.isnan()):
        raise UsageError(
            "`preds` has scores that are NaN.",
            received=f"{int(preds.isnan().sum())} NaN in {tuple(preds.shape)}",
            expected="a number for each sample",
            fix="find where the model makes NaN; `validate_args=False` does not look, and ranks NaN anywhere",
        )


def _check_scores(preds: Tensor, target: Tensor, num_classes: int | None) -> None:
    shape = preds.shape
    samples, classes, *positions = shape if len(shape) > 1 else (None, None)
    if (samples, *positions) != target.shape:
        shown = "C" if num_classes is None else num_classes
        raise _shapes_differ(preds, target, f"preds (N, {shown}, ...) or (N, ...) with target (N, ...)")
    if num_classes is not None and classes != num_classes:
        expected = f"preds (N, {num_classes}, ...), as there are {num_classes} classes"
        raise _shapes_differ(preds, target, expected)
    if not preds.is_floating_point():
        raise UsageError(
            "`preds` has a score for every class, of a type that scores do not have.",
            received=preds.dtype,
            expected="scores of floating point, or labels of the shape of `target`",
        )


def _as_labels(target: Tensor) -> Tensor:
    if target.dtype is torch.int64:
        return target
    if target.is_floating_point() or target.is_complex():
        raise UsageError(
            "`target` must be labels.", received=target.dtype, expected="integers", fix="target.long()"
        )
    return target.long()


def _shapes_differ(preds: Tensor, target: Tensor, expected: str) -> UsageError:
    return UsageError(
        "The shapes of predictions and labels do not fit.",
        received=f"preds {tuple(preds.shape)}, target {tuple(target.shape)}",
        expected=expected,
    )
