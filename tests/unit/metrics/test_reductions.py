"""Reductions as functions, for metrics of one's own."""

from __future__ import annotations

import pytest
import torch
import torchmetrics.utilities as theirs
from torch import Tensor

from fulmen.errors import UsageError
from fulmen.metrics import Metric, reductions

STACKED = torch.tensor([[1.0, -2.0], [5.0, 4.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    "name", ["dim_zero_sum", "dim_zero_mean", "dim_zero_max", "dim_zero_min", "dim_zero_cat"]
)
def test_same_as_those_of_torchmetrics(name: str) -> None:
    assert getattr(reductions, name)(STACKED).tolist() == getattr(theirs, name)(STACKED).tolist()


def test_lists_and_numbers_are_put_together() -> None:
    tensors = [torch.tensor(1.0), torch.tensor([2.0, 3.0])]
    assert reductions.dim_zero_cat(tensors).tolist() == theirs.dim_zero_cat(tensors).tolist() == [1, 2, 3]
    with pytest.raises(UsageError, match="nothing to put together"):
        reductions.dim_zero_cat([])


class Everything(Metric):
    total: Tensor
    mean: Tensor
    most: Tensor
    least: Tensor
    all: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), reductions.dim_zero_sum)
        self.add_state("mean", torch.tensor(0.0), reductions.dim_zero_mean)
        self.add_state("most", torch.tensor(-torch.inf), reductions.dim_zero_max)
        self.add_state("least", torch.tensor(torch.inf), reductions.dim_zero_min)
        self.add_state("all", [], reductions.dim_zero_cat)

    def update(self, value: Tensor) -> None:
        self.total = self.total + value.sum()
        self.mean = self.mean + (value.mean() - self.mean) / (self.update_count + 1)
        self.most = torch.maximum(self.most, value.amax())
        self.least = torch.minimum(self.least, value.amin())
        self.all.append(value)

    def compute(self) -> list[float]:
        numbers = [self.total, self.mean, self.most, self.least]
        return [float(number) for number in numbers] + reductions.dim_zero_cat(self.all).tolist()


def test_states_are_combined_by_them() -> None:
    one, other = Everything(), Everything()
    assert one(STACKED[0]) == [-1, -0.5, 1, -2, 1, -2]
    one(STACKED[1])
    other.update(STACKED[2])
    one.merge_state(other)
    assert one.compute() == pytest.approx([9, 1.5, 5, -2, 1, -2, 5, 4, 0, 1])


def test_states_of_processes_are_combined_by_them() -> None:
    metric = Everything()
    metric.update(STACKED[0])
    metric.sync(lambda tensor, group: [tensor, tensor], distributed_available=lambda: True)
    assert metric.compute() == [-2, -0.5, 1, -2, 1, -2, 1, -2]
