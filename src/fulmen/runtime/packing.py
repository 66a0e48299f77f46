"""Many tensors of many owners, combined over processes with one collective per operation.

What is summed travels in one all-reduce, greatest and least values in one each; whatever must be seen whole,
of any types and shapes, travels as bytes in one all-gather, after one that tells how many there are.

Whether all ranks have the same parts need not be asked first: a mark that stands for them can travel along.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fulmen.runtime.collectives import Collectives, read

GATHER = "gather"
"""Not reduced: the tensors of all ranks are wanted, one by one."""

REDUCTIONS = ("sum", "max", "min")

SUMS = ("sum", "mean")
"""What can be had by adding."""

MARKED_NUMBERS = 64
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
        reduced = _reduce([parts[i] for i in indices], collectives, operation, dtype)
        for index, tensor in zip(indices, reduced, strict=True):
            combined[index] = [[tensor]]
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
    moments = [float(number) for half in halves for number in (half, half * half)]
    along: list[int] = []
    room = MARKED_NUMBERS - len(moments)
    for index, part in enumerate(parts):
        if part.operation in SUMS and _journey(part) == _SUM and part.tensors[0].numel() <= room:
            along.append(index)
            room -= part.tensors[0].numel()
    runs = _runs([parts[index] for index in along])
    device = parts[along[0]].tensors[0].device if along else torch.device("cpu")
    numbers = moments + [0.0] * (MARKED_NUMBERS - len(moments))
    message = torch.tensor(numbers, dtype=torch.float64, device="cpu" if device.type == "mps" else device)
    _put(runs, message, len(moments))
    message = collectives.all_reduce(message, "sum")
    sum_1, squares_1, sum_2, squares_2 = map(int, read(message)[: len(moments)])
    # Numbers are the same where the mean of their squares is the square of their mean. These sums are exact.
    if sum_1**2 != squares_1 * collectives.size or sum_2**2 != squares_2 * collectives.size:
        return None
    sums = _take(runs, message, len(moments), collectives.size)
    combined = {index: [[tensor]] for index, tensor in zip(along, sums, strict=True)}
    others = [index for index in range(len(parts)) if index not in combined]
    combined.update(zip(others, combine([parts[index] for index in others], collectives), strict=True))
    return [combined[index] for index in range(len(parts))]


def _journey(part: Part) -> tuple[str, torch.dtype]:
    """The operation and type that a part is reduced with: as few different ones as are exact.

    float64 holds sums of counts up to 2**53, more than anything is counted to, but not every integer.
    """
    operation = "sum" if part.operation in SUMS else part.operation
    dtype = part.tensors[0].dtype
    if dtype.is_complex:
        return operation, torch.complex128
    return operation, torch.float64 if operation == "sum" or dtype.is_floating_point else torch.int64


_SUM = ("sum", torch.float64)


def _reduce(parts: list[Part], collectives: Collectives, operation: str, dtype: torch.dtype) -> list[Tensor]:
    device = parts[0].tensors[0].device
    if device.type == "mps" and dtype is torch.float64:
        dtype = torch.float32
    runs = _runs(parts)
    flat = torch.empty(sum(part.tensors[0].numel() for part in parts), dtype=dtype, device=device)
    _put(runs, flat, 0)
    extremum = operation != "sum" and dtype.is_floating_point
    whole = _extremum(flat, collectives, operation) if extremum else collectives.all_reduce(flat, operation)
    return _take(runs, whole, 0, collectives.size)


def _runs(parts: list[Part]) -> list[list[Part]]:
    """Neighbours that are handled as one tensor: single numbers of a kind, of which there may be hundreds."""

    def kind(part: Part) -> Any:
        tensor = part.tensors[0]
        return id(part) if tensor.dim() else (part.operation, tensor.dtype, tensor.device)

    return [list(run) for _, run in groupby(parts, kind)]


def _put(runs: list[list[Part]], flat: Tensor, position: int) -> None:
    """Write the tensors, one after the other, from a position on."""
    for run in runs:
        tensors = [part.tensors[0].detach() for part in run]
        numbers = torch.stack(tensors) if len(run) > 1 else tensors[0].reshape(-1)
        flat[position : position + numbers.numel()].copy_(numbers)
        position += numbers.numel()


def _take(runs: list[list[Part]], flat: Tensor, position: int, size: int) -> list[Tensor]:
    """What has become of the tensors, with the types and shapes that they had."""
    taken: list[Tensor] = []
    for run in runs:
        first = run[0].tensors[0]
        count = len(run) * first.numel()
        numbers = flat[position : position + count]
        if run[0].operation == "mean":
            numbers = numbers / size
        numbers = numbers.to(first.dtype)
        taken += numbers.unbind() if len(run) > 1 else [numbers.reshape(first.shape)]
        position += count
    return taken


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
    lengths = read(collectives.all_gather(torch.tensor([header.numel(), sent.numel()], device=device)))
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
