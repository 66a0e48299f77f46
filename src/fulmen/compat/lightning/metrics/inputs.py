"""How 1.0 to 1.4 read predictions and labels: as 0 and 1 for each class."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from fulmen.compat.lightning.metrics.eras import BINARY_LABELS, NO_COUNTS
from fulmen.compat.lightning.metrics.labels import select_topk, to_onehot
from fulmen.errors import ConfigError


class Inputs(NamedTuple):
    """Predicted and true: 0 and 1 for each class, [N, C], or [N, C, positions]."""

    preds: Tensor
    target: Tensor
    are_classes: bool
    """Whether one class is true of several; else each of them may be, or there is one."""

    @property
    def right(self) -> Tensor:
        """Whether each prediction is: [N], or [N, positions]; of several labels, [N, labels]."""
        if self.are_classes:
            return (self.preds * self.target).sum(1) > 0
        return self.preds == self.target

    @property
    def labels(self) -> tuple[Tensor, Tensor]:
        """The labels that are predicted and true, flat."""
        if self.are_classes:
            return self.preds.argmax(1).flatten(), self.target.argmax(1).flatten()
        return self.preds.flatten(), self.target.flatten()


def read(
    preds: Tensor,
    target: Tensor,
    threshold: float = 0.5,
    top_k: int | None = None,
    num_classes: int | None = None,
    is_multiclass: bool | None = None,
) -> Inputs:
    """Scores or labels as 0 and 1 for each class.

    Of one shape, scores are those of class 1, or of several labels, and predict them from a threshold on, and
    integers are classes. Scores [N, C, ...] are of classes `target` [N, ...].

    Args:
        is_multiclass: True takes 0 and 1 for two classes; False takes two classes for 0 and 1.
    """
    if target.is_floating_point() and bool((target != target.round()).any()):
        raise ConfigError("`target` must be labels.", received="fractions", expected="integers")
    preds, target = _squeezed(preds), _squeezed(target).long()
    if preds.shape == target.shape and preds.is_floating_point():
        return _of_scores(preds, target, threshold, top_k, is_multiclass)
    if preds.shape == target.shape:
        preds = preds.long()
        if is_multiclass is False:
            return _flat(preds, target)
        highest = int(torch.max(preds.max(), target.max()))
        classes = max(num_classes or 0, highest + 1, 2)
        return _classes(to_onehot(preds, classes), to_onehot(target, classes))
    if preds.ndim == target.ndim + 1 and preds.is_floating_point() and preds.shape[:1] == target.shape[:1]:
        chosen = select_topk(preds, top_k or 1).long()
        if is_multiclass is False and preds.shape[1] == 2:
            return _flat(chosen[:, 1], target)
        return _classes(chosen, to_onehot(target, preds.shape[1]))
    raise ConfigError(
        "The shapes of predictions and labels do not fit.",
        received=f"preds {preds.dtype} {tuple(preds.shape)}, target {tuple(target.shape)}",
        expected="labels or scores of the shape of target; or scores (N, C, ...) of classes (N, ...)",
    )


def as_multiclass(
    preds: Tensor, target: Tensor, is_multiclass: bool | None, num_classes: int | None, multilabel: bool
) -> bool | None:
    """`is_multiclass` of `read`, where `num_classes` and `multilabel` say it: one class is the class 1."""
    if is_multiclass is not None:
        return is_multiclass
    if multilabel:
        return False
    has_scores = preds.is_floating_point() and preds.ndim == target.ndim
    are_two = not has_scores and int(target.max()) < 2 and _most(preds, target) < 2
    if num_classes is None and BINARY_LABELS.is_undone(are_two):
        num_classes = 1
    if num_classes != 1 or has_scores:
        return None
    if are_two:
        return False
    if not NO_COUNTS.is_undone(matters=False):
        raise ConfigError(
            "There are several classes.",
            received=f"num_classes=1, labels up to {max(int(target.max()), _most(preds, target))}",
            expected="labels 0 and 1, or scores of the shape of `target`",
            fix="give the number of classes",
        )
    NO_COUNTS.say()
    return None


def _most(preds: Tensor, target: Tensor) -> int:
    return preds.shape[1] - 1 if preds.ndim > target.ndim else int(preds.max())


def _of_scores(
    preds: Tensor, target: Tensor, threshold: float, top_k: int | None, is_multiclass: bool | None
) -> Inputs:
    if int(target.max()) > 1:
        raise ConfigError(
            "Scores of the shape of `target` are those of class 1, or of several labels.",
            received=f"labels up to {int(target.max())}",
            expected="labels 0 and 1; or scores (N, C, ...) for labels (N, ...)",
        )
    chosen = select_topk(preds, top_k) if top_k and preds.ndim > 1 else preds >= threshold
    if is_multiclass:
        return _classes(to_onehot(chosen.long(), 2), to_onehot(target, 2))
    return _flat(chosen.long(), target)


def _classes(preds: Tensor, target: Tensor) -> Inputs:
    if preds.ndim > 2:
        preds, target = preds.flatten(2), target.flatten(2)
    return Inputs(preds, target, are_classes=True)


def _flat(preds: Tensor, target: Tensor) -> Inputs:
    return Inputs(preds.reshape(len(preds), -1), target.reshape(len(target), -1), are_classes=False)


def _squeezed(tensor: Tensor) -> Tensor:
    """Without dimensions of one element but the first."""
    kept: Any = [size for size in tensor.shape[1:] if size != 1]
    return tensor.reshape(*tensor.shape[:1], *kept)
