"""What a training leaves behind, and where two of them differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

MOST_SHOWN = 6  # differences in the message of an error


@dataclass
class Outcome:
    """Compared to the last bit, but for the type of a container."""

    losses: list[Tensor] = field(default_factory=list)
    validation_losses: list[Tensor] = field(default_factory=list)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    optimizers: list[dict[str, Any]] = field(default_factory=list)
    schedulers: list[dict[str, Any]] = field(default_factory=list)
    scaler: dict[str, Any] = field(default_factory=dict)
    generators: list[Any] = field(default_factory=list)


def assert_same_outcome(found: Outcome, expected: Outcome) -> None:
    """Every bit is the same; names what is not."""
    assert expected.losses, "nothing was trained"
    differing = [
        where
        for part in fields(Outcome)
        for where in differences(getattr(found, part.name), getattr(expected, part.name), part.name)
    ]
    assert not differing, "\n".join([f"{len(differing)} differences", *differing[:MOST_SHOWN]])


def differences(found: Any, expected: Any, where: str = "") -> Iterator[str]:
    """A line for each place at which two nested collections differ."""
    if isinstance(expected, Tensor):
        if not (isinstance(found, Tensor) and _bits(found) == _bits(expected)):
            yield f"{where}: {found} instead of {expected}"
    elif isinstance(expected, Mapping):
        if list(found) != list(expected):
            yield f"{where}: the keys {list(found)} instead of {list(expected)}"
        else:
            for key in expected:
                yield from differences(found[key], expected[key], f"{where}[{key!r}]")
    elif isinstance(expected, (list, tuple)):
        if len(found) != len(expected):
            yield f"{where}: {len(found)} instead of {len(expected)} items"
        else:
            for index, (one, other) in enumerate(zip(found, expected, strict=True)):
                yield from differences(one, other, f"{where}[{index}]")
    elif found != expected:
        yield f"{where}: {found} instead of {expected}"


def _bits(tensor: Tensor) -> tuple[Any, ...]:
    """Type, shape, device and content; unlike with `==`, a NaN is itself, and 0 is not -0."""
    content = tensor.detach().contiguous().reshape(-1).view(torch.uint8).cpu()
    return tensor.dtype, tensor.shape, tensor.device, content.numpy().tobytes()
