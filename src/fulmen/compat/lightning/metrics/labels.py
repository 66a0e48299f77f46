"""Small functions on labels and scores that old metrics were made of, and scripts import."""

from __future__ import annotations

import torch
from torch import Tensor

from fulmen.compat.lightning.metrics.eras import CATEGORICAL_DIM, accepting, version
from fulmen.errors import ConfigError
from fulmen.metrics.reductions import dim_zero_cat, dim_zero_mean, dim_zero_sum

__all__ = [
    "class_reduce",
    "dim_zero_cat",
    "dim_zero_mean",
    "dim_zero_sum",
    "get_num_classes",
    "reduce",
    "select_topk",
    "to_categorical",
    "to_onehot",
]


@accepting(label_tensor="tensor")
def to_onehot(tensor: Tensor, num_classes: int | None = None) -> Tensor:
    """0 and 1 for each class, [N, C, ...], of labels [N, ...]."""
    if num_classes is None:
        num_classes = int(tensor.max()) + 1
    hot = torch.zeros(len(tensor), num_classes, *tensor.shape[1:], dtype=tensor.dtype, device=tensor.device)
    return hot.scatter_(1, tensor.long().unsqueeze(1), 1)


def to_categorical(tensor: Tensor, argmax_dim: int = 1) -> Tensor:
    """The labels of highest score, [N, ...], of scores [N, C, ...]."""
    if argmax_dim != 1 and version() in (None, "1.1", "1.2"):
        CATEGORICAL_DIM.say()
    return tensor.argmax(argmax_dim)


def select_topk(prob_tensor: Tensor, topk: int = 1, dim: int = 1) -> Tensor:
    """1 where a score is among the highest, else 0."""
    highest = prob_tensor.argmax(dim, keepdim=True) if topk == 1 else prob_tensor.topk(topk, dim).indices
    return torch.zeros_like(prob_tensor, dtype=torch.int32).scatter_(dim, highest, 1)


@accepting(pred="preds")
def get_num_classes(preds: Tensor, target: Tensor, num_classes: int | None = None) -> int:
    """The number of classes: the highest label and 1, unless it is given."""
    return int(torch.max(target.max(), preds.max())) + 1 if num_classes is None else num_classes


def reduce(to_reduce: Tensor, reduction: str) -> Tensor:
    """The mean ("elementwise_mean"), the "sum", or, for "none", all of it."""
    if reduction == "elementwise_mean":
        return to_reduce.mean()
    if reduction == "sum":
        return to_reduce.sum()
    if reduction == "none":
        return to_reduce
    raise ConfigError(
        "There is no such reduction.",
        received=repr(reduction),
        expected="'elementwise_mean', 'sum' or 'none'",
    )


def class_reduce(num: Tensor, denom: Tensor, weights: Tensor, class_reduction: str = "none") -> Tensor:
    """Fractions of classes, all together ("micro"), or their "macro" or "weighted" mean; 0 / 0 is 0."""
    if class_reduction not in ("micro", "macro", "weighted", "none", None):
        raise ConfigError(
            "There is no such reduction over classes.",
            received=repr(class_reduction),
            expected="'micro', 'macro', 'weighted', 'none' or None",
        )
    if class_reduction == "micro":
        num, denom = num.sum(), denom.sum()
    fraction = num / denom
    fraction = torch.where(fraction.isnan(), 0.0, fraction)
    if class_reduction == "macro":
        return fraction.mean()
    return (fraction * (weights / weights.sum())).sum() if class_reduction == "weighted" else fraction
