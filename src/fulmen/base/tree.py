"""Nested collections of tensors: what batches, outputs and states are made of."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Movable(Protocol):
    """Anything that can be sent to a device: tensors, packed sequences, batches of other libraries."""

    def to(self, device: Any, /) -> Any:
        """The same on `device`, or None where it moves itself."""


def map_leaves(tree: Any, wanted: type | tuple[type, ...], fn: Callable[[Any], Any]) -> Any:
    """Apply `fn` to every leaf of type `wanted`; other leaves stay as they are.

    Goes into dicts, lists, tuples, named tuples and dataclasses, and keeps their types.
    """
    if isinstance(tree, wanted):
        return fn(tree)
    kind = type(tree)
    if kind is dict:
        return {k: map_leaves(v, wanted, fn) for k, v in tree.items()}
    if kind is list or kind is tuple:
        return kind(map_leaves(v, wanted, fn) for v in tree)
    if isinstance(tree, MutableMapping):
        mapped = copy.copy(tree)
        for key, value in tree.items():
            mapped[key] = map_leaves(value, wanted, fn)
        return mapped
    if isinstance(tree, tuple) and hasattr(
        tree, "_fields"
    ):  # a named tuple has no type of its own to test for
        return kind(*(map_leaves(v, wanted, fn) for v in tree))
    if isinstance(tree, (list, tuple)):
        return kind(map_leaves(v, wanted, fn) for v in tree)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        mapped = copy.copy(tree)
        for field in dataclasses.fields(tree):
            object.__setattr__(mapped, field.name, map_leaves(getattr(tree, field.name), wanted, fn))
        return mapped
    return tree


def leaves(tree: Any) -> Iterator[Any]:
    """Every leaf of a nested collection, in order."""
    if isinstance(tree, Mapping):
        for value in tree.values():
            yield from leaves(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from leaves(value)
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        for field in dataclasses.fields(tree):
            yield from leaves(getattr(tree, field.name))
    else:
        yield tree


def move(tree: Any, device: torch.device, *, non_blocking: bool = False) -> Any:
    """Send every tensor, and everything else that has a `to` method, to `device`.

    `non_blocking` is used for tensors only, and to accelerators only: a copy to the host that does not block
    could be read before it is there.
    """
    non_blocking = non_blocking and device.type != "cpu"

    def send(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf.to(device, non_blocking=non_blocking)
        moved = leaf.to(device)
        return leaf if moved is None else moved  # some libraries move in place

    return map_leaves(tree, (Tensor, Movable), send)


def detach(tree: Any) -> Any:
    """The same collection with every tensor cut from its graph."""
    return map_leaves(tree, Tensor, Tensor.detach)


def batch_size(batch: Any) -> int | None:
    """Length of the first dimension of the first tensor in `batch`; None where there is no such tensor.

    A tensor without dimensions counts as one sample; a string leaf is one sample of its list.
    """
    if type(batch) in (list, tuple) and batch:
        first = batch[0]
        if isinstance(first, Tensor):
            return first.size(0) if first.dim() else 1
        if isinstance(first, str):
            return len(batch)
    for leaf in leaves(batch):
        if isinstance(leaf, Tensor):
            return leaf.size(0) if leaf.dim() else 1
    return None
