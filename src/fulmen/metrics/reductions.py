"""How several values of a state become one, as functions: what `dist_reduce_fx` takes besides their names.

They bear the names that torchmetrics gives them, so that metrics of one's own change an import and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fulmen.errors import UsageError


def dim_zero_sum(x: Tensor) -> Tensor:
    """The sum along the first dimension."""
    return x.sum(0)


def dim_zero_mean(x: Tensor) -> Tensor:
    """The mean along the first dimension; of a state, weighted by how many batches each value is of."""
    return x.mean(0)


def dim_zero_max(x: Tensor) -> Tensor:
    """The greatest along the first dimension."""
    return x.amax(0)


def dim_zero_min(x: Tensor) -> Tensor:
    """The least along the first dimension."""
    return x.amin(0)


def dim_zero_cat(x: Tensor | Sequence[Tensor]) -> Tensor:
    """Tensors one after another along the first dimension; a single tensor as it is."""
    if isinstance(x, Tensor):
        return x
    if not x:
        raise UsageError("There is nothing to put together.", fix="add a batch before")
    return torch.cat([torch.atleast_1d(tensor) for tensor in x])


BY_NAME: dict[str, Callable[..., Tensor]] = {
    "sum": dim_zero_sum,
    "mean": dim_zero_mean,
    "max": dim_zero_max,
    "min": dim_zero_min,
    "cat": dim_zero_cat,
}
"""These by the names that `dist_reduce_fx` has for them; states that are reduced by name travel together."""
