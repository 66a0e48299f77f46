"""What happened in a training, in order and to the last bit."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fulmen.core.logger import Logger


def bits(value: Any) -> Any:
    """The same, of plain values that are equal only if every bit is."""
    if isinstance(value, Tensor):
        content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return f"{value.dtype} {list(value.shape)} {hashlib.sha1(content).hexdigest()[:12]}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)} {hashlib.sha1(value.tobytes()).hexdigest()[:12]}"
    if isinstance(value, float):
        return f"{value:.6g} = {value.hex()}"
    if isinstance(value, Mapping):
        return {str(key): bits(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(item) for item in value]
    return value if isinstance(value, (int, str, type(None))) else repr(value)


@dataclass
class Journal:
    """The events of one process that trains."""

    events: list[Any] = field(default_factory=list)

    def add(self, kind: str, *content: Any) -> None:
        self.events.append([kind, *bits(content)])


class RowKeeper(Logger):
    """Enters each row that loggers are given into the journal."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.journal.add("row", step, metrics)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass


def global_generators() -> dict[str, Any]:
    """Where the generators of the process stand."""
    return {
        "python": bits(random.getstate()),
        "numpy": bits(np.random.get_state(legacy=False)),
        "torch": bits(torch.get_rng_state()),
    }


def differences(found: Any, expected: Any, where: str = "") -> Iterator[str]:
    """A line for each place at which two nested collections differ."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in {**expected, **found}:
            there, wanted = found.get(key, "nothing"), expected.get(key, "nothing")
            yield from differences(there, wanted, f"{where}[{key!r}]")
    elif (
        isinstance(expected, (list, tuple))
        and isinstance(found, (list, tuple))
        and len(found) == len(expected)
    ):
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            yield from differences(one, other, f"{where}[{index}]")
    elif found != expected:
        yield f"{where}: {found} instead of {expected}"
