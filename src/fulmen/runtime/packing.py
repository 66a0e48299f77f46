"""Many tensors of many owners, combined over processes with one collective per operation.

What is summed travels in one all-reduce, greatest and least values in one each; whatever must be seen whole,
of any types and shapes, travels as bytes in one all-gather, after one that tells how many there are.

Whether all ranks have the same parts need not be asked first: a mark that stands for them can travel along.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fulmen.runtime.collectives import Collectives

GATHER = "gather"
"""Not reduced: the tensors of all ranks are wanted, one by one."""

REDUCTIONS = ("sum", "max", "min")

MARKED_NUMBERS = 256
"""What a message with a mark holds, always: it has to be of one size where ranks have different parts."""


class Part(NamedTuple):
    """A tensor, or for `GATHER` any number of them, and how it is combined."""

    tensors: list[Tensor]
    operation: str


def combine(parts: Sequence[Part], collectives: Collectives) -> list[list[list[Tensor]]]:
    """Each part combined: for every rank its list of tensors, or a single list of one where it was reduced.

    All ranks give the same parts in the same order; what is gathered may differ in number and shapes.
    """
    combined: list[list[list[Tensor]]] = [[] for _ in parts]
    journeys: dict[tuple[str, torch.dtype], list[int]] = {}
    for index, part in enumerate(parts):
        if part.operation != GATHER:
            journeys.setdefault(_journey(part), []).append(index)
    for (operation, dtype), indices in sorted(journeys.items(), key=str):
        reduced = _reduce([parts[i].tensors[0] for i in indices], collectives, operation, dtype)
        for index, tensor in zip(indices, reduced, strict=True):
            combined[index] = [[tensor.to(parts[index].tensors[0].dtype)]]
    gathered = [index for index, part in enumerate(parts) if part.operation == GATHER]
    for of_rank in _gather([parts[i].tensors for i in gathered], collectives):
        for index, tensors in zip(gathered, of_rank, strict=True):
            combined[index].append(tensors)
    return combined


def combine_alike(
    parts: Sequence[Part], collectives: Collectives, mark: int
) -> list[list[list[Tensor]]] | None:
    """The same where all ranks have the same mark, of 32 bits, and with it the same parts; else None.

    The mark is in one message with the first sums, and these are as a rule all there is to combine.
    """
    halves = mark & 0xFFFF, mark >> 16
    # Numbers are the same if the mean of their squares is the square of their mean; float64 adds these exactly.
    moments = torch.tensor([number for half in halves for number in (half, half * half)], dtype=torch.float64)
    room = MARKED_NUMBERS - len(moments)
    along: list[int] = []
    for index, part in enumerate(parts):
        if part.operation == "sum" and not part.tensors[0].is_complex() and part.tensors[0].numel() <= room:
            along.append(index)
            room -= part.tensors[0].numel()
    if along:
        moments = moments.to(parts[along[0]].tensors[0].device)
    message = [moments, *(parts[index].tensors[0] for index in along), moments.new_zeros(room)]
    [[[moments]], *sums, _] = combine([Part([tensor], "sum") for tensor in message], collectives)
    sum_1, squares_1, sum_2, squares_2 = map(int, moments.tolist())
    if sum_1**2 != squares_1 * collectives.size or sum_2**2 != squares_2 * collectives.size:
        return None
    others = [index for index in range(len(parts)) if index not in along]
    combined = dict(zip(along, sums, strict=True))
    combined.update(zip(others, combine([parts[index] for index in others], collectives), strict=True))
    return [combined[index] for index in range(len(parts))]


def _journey(part: Part) -> tuple[str, torch.dtype]:
    """The operation and type that a part is reduced with: as few different ones as are exact.

    float64 holds sums of counts up to 2**53, more than anything is counted to, but not every integer.
    """
    if part.tensors[0].is_complex():
        return part.operation, torch.complex128
    whole = part.operation != "sum" and not part.tensors[0].dtype.is_floating_point
    return part.operation, torch.int64 if whole else torch.float64


def _reduce(
    tensors: list[Tensor], collectives: Collectives, operation: str, dtype: torch.dtype
) -> list[Tensor]:
    device = tensors[0].device
    if device.type == "mps" and dtype is torch.float64:
        dtype = torch.float32
    flat = torch.cat([tensor.detach().reshape(-1).to(device, dtype) for tensor in tensors])
    extremum = operation != "sum" and dtype.is_floating_point
    whole = _extremum(flat, collectives, operation) if extremum else collectives.all_reduce(flat, operation)
    reduced = whole.split([tensor.numel() for tensor in tensors])
    return [part.reshape(tensor.shape) for part, tensor in zip(reduced, tensors, strict=True)]


def _extremum(flat: Tensor, collectives: Collectives, operation: str) -> Tensor:
    """The greatest or least values, NaN where any rank has it: backends may pass it over."""
    sign = 1 if operation == "max" else -1
    is_nan = flat.isnan()
    marks = is_nan.to(flat.dtype) * sign
    numbers = flat.masked_fill(is_nan, -sign * math.inf)
    numbers, marks = collectives.all_reduce(torch.cat([numbers, marks]), operation).chunk(2)
    return numbers.masked_fill(marks != 0, math.nan)


def _gather(lists: list[list[Tensor]], collectives: Collectives) -> list[list[list[Tensor]]]:
    """For each rank, its lists of tensors."""
    if not lists:
        return []
    tensors = [tensor.detach() for tensors in lists for tensor in tensors]
    device = tensors[0].device if tensors else torch.device("cpu")
    described = [[(str(tensor.dtype), tuple(tensor.shape)) for tensor in tensors] for tensors in lists]
    header = torch.frombuffer(bytearray(json.dumps(described).encode()), dtype=torch.uint8)
    data = [tensor.contiguous().reshape(-1).view(torch.uint8).to(device) for tensor in tensors]
    sent = torch.cat([header.to(device), *data])
    lengths = collectives.all_gather(torch.tensor([header.numel(), sent.numel()], device=device)).tolist()
    padded = sent.new_zeros(max(total for _, total in lengths))
    padded[: sent.numel()] = sent
    received = collectives.all_gather(padded)
    return [_read(row, length) for row, (length, _) in zip(received, lengths, strict=True)]


def _read(received: Tensor, header_length: int) -> list[list[Tensor]]:
    """The lists of tensors that one rank sent."""
    position = header_length

    def take(dtype_name: str, shape: list[int]) -> Tensor:
        nonlocal position
        dtype = getattr(torch, dtype_name.removeprefix("torch."))
        end = position + math.prod(shape) * dtype.itemsize
        taken = received[position:end].clone()  # the type may need another alignment than the place has
        position = end
        return taken.view(dtype).reshape(shape)

    described = json.loads(bytes(received[:header_length].tolist()))
    return [[take(dtype, shape) for dtype, shape in tensors] for tensors in described]
