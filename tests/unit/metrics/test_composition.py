"""Arithmetic on metrics."""

from __future__ import annotations

import operator
import pickle
from typing import Any

import pytest
import torch
import torchmetrics
from torch import nn

from fulmen.metrics import CompositionalMetric, MetricCollection

from .kinds import Average, Extremes, Total

FIRST, SECOND = torch.tensor([3.0, 4.0]), torch.tensor([8.0])  # means 3.5 and 5, sums 7 and 15

BINARY = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow,
    operator.lt, operator.le, operator.gt, operator.ge,
]  # fmt: skip


@pytest.mark.parametrize("op", BINARY)
def test_what_can_be_done_with_numbers(op: Any) -> None:
    total, average = Total(), Average()
    for metric, expected in (
        (op(total, average), op(torch.tensor(7.0), torch.tensor(3.5))),
        (op(Total(), 2), op(torch.tensor(7.0), 2)),
        (op(2, Total()), op(2, torch.tensor(7.0))),
        (op(Total(), torch.tensor(2.5)), op(torch.tensor(7.0), torch.tensor(2.5))),
    ):
        metric.update(FIRST)
        assert metric.compute() == expected


@pytest.mark.parametrize("op", [operator.and_, operator.or_, operator.xor])
def test_what_can_be_done_with_conditions(op: Any) -> None:
    metric = op(Total() > 3, Average() > 5)
    metric.update(FIRST)
    assert metric.compute() == op(True, False)
    with_a_constant = op(True, Total() > 3)
    with_a_constant.update(FIRST)
    assert with_a_constant.compute() == op(True, True)


def test_of_one_metric() -> None:
    for metric, expected in ((-Total(), -7), (abs(-Total()), 7), (+Total(), 7), (~(Total() > 3), False)):
        metric.update(FIRST)
        assert metric.compute() == expected


def test_one_of_several_values() -> None:
    metric = Extremes()["most"] - 1
    metric.update(FIRST)
    assert metric.compute() == 3


def test_matrices() -> None:
    class Vector(Average):
        def compute(self) -> torch.Tensor:
            return torch.stack([self.total, self.total])

    metric = Vector() @ torch.tensor([1.0, 2.0])
    metric.update(FIRST)
    assert metric.compute() == 21
    metric = torch.tensor([1.0, 2.0]) @ Vector()
    metric.update(FIRST)
    assert metric.compute() == 21


def test_a_call_gives_the_value_of_the_batch() -> None:
    metric = 2 * Average() + Total()
    assert metric(FIRST) == 14
    assert metric(SECOND) == 24
    assert metric.compute() == 25
    metric.reset()
    assert metric(SECOND) == 24


def test_a_metric_that_appears_twice_is_updated_once() -> None:
    total = Total()
    before = Average.updates
    metric = total * total + total
    metric.update(FIRST)
    assert Average.updates == before + 1
    assert metric.compute() == 56
    assert metric(SECOND) == 72


def test_it_is_a_metric() -> None:
    metric = Total() / Average()
    metric.update(FIRST)
    again = pickle.loads(pickle.dumps(metric))
    assert again.compute() == metric.clone().compute() == 2
    assert isinstance(metric, CompositionalMetric)
    values = MetricCollection({"ratio": metric, "total": Total()})(SECOND)
    assert values == {"ratio": 1, "total": 8}
    assert repr(2 + Total()) == "add(tensor(2), Total())"
    assert nn.ModuleList([2 * Total()]).to("meta")[0].metric_b.device.type == "meta"


def test_with_a_metric_of_another_library() -> None:
    metric = Total() + torchmetrics.MeanMetric()
    assert metric(FIRST) == 10.5
    metric.update(SECOND)
    assert metric.compute() == 20


def test_each_gets_the_keywords_that_it_takes() -> None:
    metric = Average() + Extremes()["most"]
    metric.update(values=FIRST, scale=2.0)
    assert metric.compute() == 7 + 4
