"""What the tester of metrics needs to know of one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Batch = tuple[Any, ...]
"""The arguments of one `update`: tensors and lists, whose first dimensions are the samples."""


@dataclass(frozen=True)
class Case:
    """One way to construct a metric, the batches it gets, and who else can compute what it must come to."""

    name: str
    """Starts with the name of the metric's class."""
    metric: Callable[[], Any]
    """Makes a new one."""
    batches: Callable[[torch.Generator], list[Batch]]
    """At least three, of unequal sizes, drawn with the generator."""
    reference: Callable[..., Any]
    """The value for these arguments by an independent library, or by a formula written out in float64."""
    functional: Callable[..., Any] | None = None
    """The functional form with the same options: takes what `update` takes, gives the value."""
    tolerance: float = 1e-6
    """Relative, and absolute."""
    half: bool = True
    """Whether float16 and bfloat16 inputs mean something."""
    half_tolerance: float = 2e-2
    reads_values: bool = False
    """Whether `update` must look at values to work at all, as with texts."""


def joined(batches: list[Batch]) -> Batch:
    """All batches as one."""
    return tuple(
        torch.cat(arguments) if isinstance(arguments[0], Tensor) else [x for part in arguments for x in part]
        for arguments in zip(*batches, strict=True)
    )
