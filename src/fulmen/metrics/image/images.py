"""Images as metrics get them, and what is done with their scores."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fulmen.errors import ConfigError, UsageError
from fulmen.metrics.dtypes import result_dtype

Reduction = Literal["elementwise_mean", "sum", "none"] | None
REDUCTIONS = ("elementwise_mean", "sum", "none", None)
Range = float | tuple[float, float]


def reduce_scores(scores: Tensor, reduction: Reduction) -> Tensor:
    """Their mean, their sum, or all of them."""
    if reduction == "elementwise_mean":
        return scores.mean()
    return scores.sum() if reduction == "sum" else scores


def limits_and_width(data_range: Range) -> tuple[tuple[float, float] | None, float]:
    """Between what values are to be clamped, if at all, and how far apart the extremes are."""
    limits = (float(data_range[0]), float(data_range[1])) if isinstance(data_range, (tuple, list)) else None
    width = limits[1] - limits[0] if limits else float(data_range)  # pyright: ignore[reportArgumentType]
    if not width > 0:
        raise ConfigError(
            "A range of values has no width.",
            received=f"data_range={data_range!r}",
            expected="a positive number, or (least, greatest)",
        )
    return limits, width


def prepare(preds: Tensor, target: Tensor, limits: tuple[float, float] | None) -> tuple[Tensor, Tensor]:
    """Both in one floating type, of single precision at least, and clamped to the limits."""
    if preds.shape != target.shape:
        raise UsageError(
            "Images that are compared have the same shape.",
            received=f"preds {list(preds.shape)}, target {list(target.shape)}",
            expected="two tensors of one shape",
        )
    if preds.dtype is not target.dtype or preds.dtype not in (torch.float32, torch.float64):
        dtype = result_dtype(preds, target)
        preds, target = preds.to(dtype), target.to(dtype)
    if limits:
        preds, target = preds.clamp(*limits), target.clamp(*limits)
    return preds, target
