"""What predictions and targets must look like, and as what they are computed with."""

from __future__ import annotations

import torch
from torch import Tensor

from fulmen.errors import UsageError
from fulmen.metrics.dtypes import widest


def check_shapes(
    preds: Tensor, target: Tensor, num_outputs: int | None = None, *, most_dims: int = 2
) -> None:
    """Raise unless both are `(N,)` or `(N, outputs)`; with `num_outputs`, for exactly so many outputs."""
    if preds.shape != target.shape:
        raise UsageError(
            "Predictions and targets do not fit together.",
            received=f"preds of shape {tuple(preds.shape)}, target of shape {tuple(target.shape)}",
            expected="the same shape",
        )
    if not 1 <= preds.ndim <= most_dims:
        raise UsageError(
            "Predictions and targets have too many or too few dimensions.",
            received=f"shape {tuple(preds.shape)}",
            expected="shape (N,) or (N, outputs)",
        )
    if num_outputs is not None:
        check_outputs(preds, num_outputs)


def check_outputs(preds: Tensor, num_outputs: int) -> None:
    """Raise unless the shape is that of so many outputs: `(N, outputs)`, or `(N,)` for a single one."""
    if (preds.shape[1] if preds.ndim == 2 else 1) != num_outputs or preds.ndim > 2:
        raise UsageError(
            "The number of outputs is another one than the metric was made for.",
            received=f"shape {tuple(preds.shape)}, num_outputs={num_outputs}",
            expected=f"shape (N, {num_outputs})" if num_outputs > 1 else "shape (N,) or (N, 1)",
            fix="give the metric `num_outputs`",
        )


def widened(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both with a precision that differences and products can be taken in: at least float32."""
    if preds.dtype is torch.float32 and target.dtype is torch.float32:
        return preds, target
    return _widened(preds), _widened(target)


def _widened(tensor: Tensor) -> Tensor:
    if tensor.dtype is torch.float32 or tensor.dtype is torch.float64:
        return tensor
    return tensor.float() if tensor.is_floating_point() else tensor.to(widest(tensor))


def paired(preds: Tensor, target: Tensor, num_outputs: int | None = None) -> Tensor:
    """Predictions and targets in one tensor of shape `(2, N)` or `(2, N, outputs)`."""
    if preds.shape != target.shape or not 1 <= preds.ndim <= 2 or num_outputs is not None:
        check_shapes(preds, target, num_outputs)
    if preds.dtype is not torch.float32 or target.dtype is not torch.float32:
        preds, target = widened(preds, target)
        wide = torch.promote_types(preds.dtype, target.dtype)
        preds, target = preds.to(wide), target.to(wide)
    return torch.stack((preds, target))
