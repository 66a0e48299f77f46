"""Small metrics to try the base class with."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from fulmen.metrics import Metric


class Average(Metric):
    """The mean of all elements; counts its updates over all instances."""

    updates = 0
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0), "sum")
        self.add_state("count", torch.tensor(0), "sum")

    @property
    def update_options(self) -> Hashable:
        return ()

    def update(self, values: Tensor, scale: float = 1.0) -> None:
        Average.updates += 1
        self.total = self.total + values.sum() * scale
        self.count = self.count + values.numel()

    def compute(self) -> Tensor:
        return self.total / self.count


class Total(Average):
    """Keeps what the average keeps."""

    def compute(self) -> Tensor:
        return self.total


class InPlace(Metric):
    """As users write it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0), "sum")

    def update(self, values: Tensor) -> None:
        self.total += values.sum()

    def compute(self) -> Tensor:
        return self.total


class Extremes(Metric):
    """One state of each kind."""

    most: Tensor
    least: Tensor
    mean: Tensor
    all: list[Tensor]
    squares: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("most", torch.tensor(-torch.inf), "max")
        self.add_state("least", torch.tensor(torch.inf), "min")
        self.add_state("mean", torch.tensor(0.0), "mean")
        self.add_state("all", [], "cat")
        self.add_state("squares", torch.tensor(0.0), lambda stacked: stacked.sum(0))

    def update(self, values: Tensor) -> None:
        # A batch of a mean of batches is worth as much as any other.
        self.mean = (self.mean * self.update_count + values.mean()) / (self.update_count + 1)
        self.most = torch.maximum(self.most, values.max())
        self.least = torch.minimum(self.least, values.min())
        self.all.append(values)
        self.squares = self.squares + values.square().sum()

    def compute(self) -> dict[str, Tensor]:
        return {
            "most": self.most,
            "least": self.least,
            "mean": self.mean,
            "median": torch.cat(self.all).median() if self.all else torch.tensor(torch.nan),
            "squares": self.squares,
        }


class Differences(Metric):
    """Depends on what came before, and so cannot be added to."""

    full_state_update = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("last", torch.tensor(0.0))
        self.add_state("sum", torch.tensor(0.0), "sum")

    def update(self, value: Tensor) -> None:
        self.sum = self.sum + (value - self.last).abs()
        self.last = value.detach().clone()

    def compute(self) -> Tensor:
        return self.sum
