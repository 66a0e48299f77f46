"""Functions over nested collections, as users of Lightning know them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Number
from typing import Any

import torch
from torch import Tensor

from fulmen.base import tree
from fulmen.base.extras import available, require
from fulmen.errors import UsageError

Types = type[Any] | tuple[type[Any], ...]
TransferableDataType = tree.Movable


def apply_to_collection(
    data: Any,
    dtype: Types,
    function: Callable[..., Any],
    *args: Any,
    wrong_dtype: Types | None = None,
    include_none: bool = True,
    **kwargs: Any,
) -> Any:
    """`function` of every leaf that is a `dtype` and no `wrong_dtype`."""

    def apply(leaf: Any) -> Any:
        return leaf if isinstance(leaf, wrong_dtype or ()) else function(leaf, *args, **kwargs)

    applied = tree.map_leaves(data, dtype, apply)
    return applied if include_none else _without_none(applied)


def _without_none(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _without_none(value) for key, value in data.items() if value is not None}
    if type(data) in (list, tuple):
        return type(data)(_without_none(value) for value in data if value is not None)
    return data


def apply_to_collections(
    data1: Any, data2: Any, dtype: Types, function: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """`function` of the leaves of two collections, pair by pair; either of them may be None."""
    if data1 is None:
        data1, data2 = data2, None
    if data2 is None:
        return apply_to_collection(data1, dtype, function, *args, **kwargs)
    if isinstance(data1, dtype):
        return function(data1, data2, *args, **kwargs)
    if isinstance(data1, Mapping):
        return {
            key: apply_to_collections(value, data2[key], dtype, function, *args, **kwargs)
            for key, value in data1.items()
        }
    if isinstance(data1, (list, tuple)):
        pairs = zip(data1, data2, strict=True)
        mapped = [apply_to_collections(a, b, dtype, function, *args, **kwargs) for a, b in pairs]
        return mapped if isinstance(data1, list) else tuple(mapped)
    return data1


def move_data_to_device(batch: Any, device: torch.device | str | int) -> Any:
    """Every tensor in `batch`, and whatever else has a method `to`, on `device`."""
    return tree.move(batch, torch.device(device), non_blocking=True)


def to_dtype_tensor(value: Any, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """A number as a tensor."""
    return torch.tensor(value, dtype=dtype, device=device)


def from_numpy(value: Any, device: torch.device | str) -> Tensor:
    """An array as a tensor, which on the host is the same memory."""
    return torch.from_numpy(value).to(device)


def convert_to_tensors(data: Any, device: torch.device | str) -> Any:
    """Numbers and arrays as tensors, and all tensors on `device`."""

    def convert(leaf: Any) -> Any:
        return torch.tensor(leaf) if isinstance(leaf, Number) else torch.from_numpy(leaf)

    arrays = (require("numpy", extra="numpy").ndarray,) if available("numpy") else ()
    return move_data_to_device(tree.map_leaves(data, (bool, int, float, *arrays), convert), device)


def metrics_to_scalars(metrics: Any) -> Any:
    """Tensors of one element as numbers; a `ValueError` where one has another number of them."""

    def to_number(value: Tensor) -> Any:
        if value.numel() != 1:
            raise ValueError(f"A tensor of shape {tuple(value.shape)} is not one number.")
        return value.item()

    return tree.map_leaves(metrics, Tensor, to_number)


def recursive_detach(in_dict: Any, to_cpu: bool = False) -> Any:
    """The same collection, its tensors cut from their graph and, with `to_cpu`, on the host."""
    detached = tree.detach(in_dict)
    return tree.move(detached, torch.device("cpu")) if to_cpu else detached


def extract_batch_size(batch: Any) -> int:
    """How many samples a batch has, by its first tensor; a `UsageError` where that cannot be told."""
    size = tree.batch_size(batch)
    if size is None:
        raise UsageError(
            "The batch does not show how many samples it has.", fix="self.log(..., batch_size=...)"
        )
    return size
