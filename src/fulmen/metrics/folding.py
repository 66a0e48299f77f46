"""How the states of several batches, or of several processes, become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fulmen.metrics.reductions import BY_NAME, dim_zero_cat

State = Tensor | list[Tensor]
States = dict[str, State]

Reduction = str | Callable[..., Any] | None
"""A name of "sum", "mean", "max", "min", "cat"; a callable of all values; None to keep them all."""


def tensors_of(state: State) -> list[Tensor]:
    """The tensors that a state consists of."""
    return state if isinstance(state, list) else [state]


def fold(reduction: Reduction, states: Sequence[State], counts: Sequence[int]) -> State:
    """One state of several, each being that of `counts` batches. A list that comes first is extended."""
    first = states[0]
    if isinstance(first, list):
        for state in states[1:]:
            first.extend([tensor.detach() for tensor in tensors_of(state)])  # it may be `first` itself
        return first
    tensors = [tensor.detach() for state in states for tensor in tensors_of(state)]
    if reduction == "cat":
        return dim_zero_cat(tensors)
    if reduction == "sum" and len(tensors) == 2:  # by far the most frequent
        return tensors[0] + tensors[1]
    stacked = torch.stack(tensors)
    if reduction is None:
        return stacked
    if callable(reduction):
        return reduction(stacked)
    if reduction == "mean":
        stacked = stacked if stacked.is_floating_point() else stacked.to(torch.get_default_dtype())
        weights = torch.tensor(counts, dtype=stacked.dtype, device=stacked.device)
        return torch.tensordot(weights / weights.sum(), stacked, dims=1)
    return BY_NAME[reduction](stacked)
