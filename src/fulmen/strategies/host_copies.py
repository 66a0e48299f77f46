"""Copies of a training state in the host's memory, made fast enough to be waited for."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, UntypedStorage
from torch.nn import Parameter

from fulmen.base.tree import leaves

Buffers: TypeAlias = Mapping[tuple[int, bool], list[UntypedStorage]]
"""Memory of the host, by its size in bytes and whether it is pinned."""


class HostCopies:
    """Copies nested states to the host, each into the memory that the one before took.

    To touch that memory for the first time takes longer than to fill it, so it is kept. As in a file, memory
    that tensors share is there once and is shared again.
    """

    def __init__(self) -> None:
        self._buffers: Buffers = {}

    def take(self, state: Any) -> Any:
        """A copy that nothing else can change; good until the next one is taken."""
        spare, self._buffers = self._buffers, defaultdict(list)
        tensors = [leaf for leaf in leaves(state) if isinstance(leaf, Tensor)]
        hosted: dict[tuple[torch.device, int, int], UntypedStorage] = {}
        memo: dict[int, Any] = {}
        for tensor in tensors:
            if _is_plain(tensor):
                storage = tensor.untyped_storage()
                place = (storage.device, storage.data_ptr(), storage.nbytes())
                if place not in hosted:
                    hosted[place] = self._buffer(storage, spare).copy_(storage, non_blocking=True)
                memo[id(tensor)] = _view_like(tensor, hosted[place])
            elif type(tensor) is not Tensor and not isinstance(tensor, Parameter):
                memo[id(tensor)] = _clone(tensor)
        for device in {device for device, _, _ in hosted if device.type == "cuda"}:
            torch.cuda.synchronize(device)
        return copy.deepcopy(state, memo)

    def _buffer(self, storage: UntypedStorage, spare: Buffers) -> UntypedStorage:
        """Memory for what `storage` holds, from `spare` if it is there."""
        nbytes, pinned = storage.nbytes(), storage.device.type == "cuda"
        if fitting := spare.get((nbytes, pinned)):
            buffer = fitting.pop()
        else:
            buffer = torch.empty(nbytes, dtype=torch.uint8, pin_memory=pinned).untyped_storage()
        self._buffers[nbytes, pinned].append(buffer)
        return buffer


def _is_plain(tensor: Tensor) -> bool:
    """Whether the tensor is nothing but a view of its memory."""
    return (
        type(tensor) in (Tensor, Parameter)
        and tensor.layout is torch.strided
        and not (tensor.is_meta or tensor.is_nested or tensor.is_quantized)
        and not (tensor.is_conj() or tensor.is_neg() or vars(tensor))
    )


def _view_like(tensor: Tensor, storage: UntypedStorage) -> Tensor:
    """What `tensor` is to its storage, to this one."""
    view = torch.empty(0, dtype=tensor.dtype)
    view.set_(storage, tensor.storage_offset(), tensor.size(), tensor.stride())
    if isinstance(tensor, Parameter):
        return Parameter(view, requires_grad=tensor.requires_grad)
    return view.requires_grad_(tensor.requires_grad)


def _clone(tensor: Tensor) -> Tensor:
    """A copy of a tensor of a user's class; to be deep-copied takes methods that few such classes have."""
    clone = tensor.detach().clone().requires_grad_(tensor.requires_grad)
    if not vars(clone):
        vars(clone).update(copy.deepcopy(vars(tensor)))
    return clone
