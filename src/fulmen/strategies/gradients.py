"""Gradients and weights that travel between processes in few, large pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

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
    open_buckets: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        bucket = open_buckets.setdefault((tensor.dtype, tensor.device), [])
        bucket.append(tensor)
        if sum(t.nbytes for t in bucket) >= BUCKET_BYTES:
            yield open_buckets.pop((tensor.dtype, tensor.device))
    yield from open_buckets.values()
