"""Metrics where tensors only stand for others, as in an export, or where operations are watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from fulmen.metrics import BinaryAccuracy, Metric, MulticlassAccuracy, MultilabelAccuracy

KINDS: dict[str, tuple[Callable[..., Metric], Callable[[int], tuple[Tensor, Tensor]], dict[str, Any]]] = {
    "binary": (BinaryAccuracy, lambda size: (torch.rand(size), torch.arange(size) % 2), {}),
    "multiclass": (
        MulticlassAccuracy, lambda size: (torch.rand(size, 3), torch.arange(size) % 3), {"num_classes": 3}
    ),
    "multilabel": (
        MultilabelAccuracy, lambda size: (torch.rand(size, 3), torch.ones(size, 3).long()), {"num_labels": 3}
    ),
}  # fmt: skip


class Model(torch.nn.Module):
    """Gives the counts of a batch that is added so many times."""

    def __init__(self, make: Callable[[], Metric], times: int) -> None:
        super().__init__()
        self.make = make
        self.times = times

    def forward(self, preds: Tensor, target: Tensor) -> Any:
        metric: Any = self.make()
        for _ in range(self.times):
            metric.update(preds, target)
        return metric.counts


def faked(model: Model, *batch: Tensor) -> Tensor:
    with FakeTensorMode() as mode:
        return model(*map(mode.from_tensor, batch))


def exported(model: Model, *batch: Tensor) -> Tensor:
    return torch.export.export(model, batch, strict=False).module()(*batch)


def traced(model: Model, *batch: Tensor) -> Tensor:
    graph = make_fx(lambda preds, target: model(preds, target), tracing_mode="fake")
    return graph(*batch)(*batch)


def counted(model: Model, *batch: Tensor) -> Tensor:
    with FlopCounterMode(display=False):
        return model(*batch)


WAYS = [faked, exported, counted, traced]


@pytest.mark.parametrize("first", ["as_it_is", "otherwise"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("times", [1, 3])
def test_nothing_is_left_behind(way: Callable[..., Tensor], kind: str, first: str, times: int) -> None:
    make, batch_of, options = KINDS[kind]
    size = 20 + 2 * WAYS.index(way) + (first == "otherwise")  # what is kept is kept by size and threshold
    if kind != "multiclass":
        options = options | {"threshold": 1 / size}
    model, batch = Model(lambda: make(**options), times), batch_of(size)
    if first == "as_it_is":
        model(*batch)
    counts = way(model, *batch)
    expected = model(*batch)
    assert type(expected) is Tensor
    assert int(expected.sum()) == times * batch[1].numel()
    assert counts.shape == expected.shape
    if way is not faked:
        assert counts.tolist() == expected.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_in_a_step_that_is_compiled(kind: str) -> None:
    make, batch_of, options = KINDS[kind]
    metric, same, batch = make(**options), make(**options), batch_of(8)

    @torch.compile(backend="eager")
    def step(scores: Tensor, target: Tensor) -> Tensor:
        halved = scores / 2
        metric.update(halved, target)
        return halved.sum()

    for _ in range(5):
        step(*batch)
        same.update(batch[0] / 2, batch[1])
    assert torch.equal(metric.compute(), same.compute())
    assert metric.update_count == 5
