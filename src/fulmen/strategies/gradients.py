"""Gradients and weights that travel between processes in few, large pieces."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fulmen.runtime.collectives import Collectives

BUCKET_BYTES = 25 * 2**20
"""As DistributedDataParallel has it: large enough for the network, small enough to be copied."""


def average_gradients(parameters: list[Tensor], collectives: Collectives) -> None:
    """Replace gradients by their mean over the ranks; where a rank has none, it counts as zero."""
    if not parameters:
        return
    present = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.uint8)
    for parameter, anywhere in zip(parameters, collectives.all_reduce(present, "max").tolist(), strict=True):
        if anywhere and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    _in_buckets(gradients, lambda flat: collectives.all_reduce(flat, "mean"))


class PeriodicAverage:
    """Lets weights be their mean over the ranks after every `period`-th update that follows the first ones.

    A hook that follows the steps of one optimizer.
    """

    def __init__(self, period: int, first_updates: int, collectives: Collectives) -> None:
        self._period = period
        self._updates = -first_updates
        self._collectives = collectives

    def __call__(self, optimizer: Optimizer, *_: Any) -> None:
        if self._updates >= 0 and self._updates % self._period == 0:
            weights = [weight.detach() for group in optimizer.param_groups for weight in group["params"]]
            _in_buckets(weights, lambda flat: self._collectives.all_reduce(flat, "mean"))
        self._updates += 1


def copy_from_rank_0(module: nn.Module, collectives: Collectives) -> None:
    """Have the weights and buffers that rank 0 has."""
    tensors = [tensor.detach() for tensor in (*module.parameters(), *module.buffers())]
    _in_buckets(tensors, collectives.broadcast_tensor)


def _in_buckets(tensors: Iterable[Tensor], change: Callable[[Tensor], Tensor]) -> None:
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        changed = change(flat).split([tensor.numel() for tensor in bucket])
        for tensor, part in zip(bucket, changed, strict=True):
            tensor.copy_(part.view_as(tensor))


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type and device, so many that they fill a bucket."""
    open_buckets: defaultdict[tuple[torch.dtype, torch.device], list[Tensor]] = defaultdict(list)
    bytes_held: Counter[tuple[torch.dtype, torch.device]] = Counter()
    for tensor in tensors:
        kind = tensor.dtype, tensor.device
        open_buckets[kind].append(tensor)
        bytes_held[kind] += tensor.nbytes
        if bytes_held[kind] >= BUCKET_BYTES:
            del bytes_held[kind]
            yield open_buckets.pop(kind)
    yield from open_buckets.values()
