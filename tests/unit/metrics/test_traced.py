"""Metrics where tensors only stand for others, as in an export, or where operations are watched."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from fulmen.metrics import (
    BinaryAccuracy,
    MeanSquaredError,
    Metric,
    MetricCollection,
    MulticlassAccuracy,
    MulticlassF1Score,
    MultilabelAccuracy,
)
from fulmen.metrics.functional import binary_accuracy, multiclass_accuracy, multilabel_accuracy

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


def exported(model: Model, *batch: Tensor) -> Any:
    return torch.export.export(model, batch, strict=False).module()


def traced(model: Model, *batch: Tensor) -> Any:
    return make_fx(lambda preds, target: model(preds, target), tracing_mode="fake")(*batch)


def recorded(model: Model, *batch: Tensor) -> Any:
    return make_fx(lambda preds, target: model(preds, target), tracing_mode="real")(*batch)


def scripted(model: Model, *batch: Tensor) -> Any:
    return torch.jit.trace(model, batch, check_trace=False)


def counted(model: Model, *batch: Tensor) -> Tensor:
    with FlopCounterMode(display=False):
        return model(*batch)


WAYS = [faked, exported, counted, traced]


@pytest.mark.parametrize("first", ["as_it_is", "otherwise"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("times", [1, 3])
def test_nothing_is_left_behind(way: Callable[..., Any], kind: str, first: str, times: int) -> None:
    make, batch_of, options = KINDS[kind]
    size = 20 + 2 * WAYS.index(way) + (first == "otherwise")  # what is kept is kept by size and threshold
    if kind != "multiclass":
        options = options | {"threshold": 1 / size}
    model, batch = Model(lambda: make(**options), times), batch_of(size)
    if first == "as_it_is":
        model(*batch)
    counts = way(model, *batch)
    if way in (exported, traced):
        counts = counts(*batch)
    expected = model(*batch)
    assert type(expected) is Tensor
    assert int(expected.sum()) == times * batch[1].numel()
    assert counts.shape == expected.shape
    if way is not faked:
        assert counts.tolist() == expected.tolist()


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.* is deprecated", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("way", [exported, traced, recorded, scripted])
def test_a_graph_counts_another_batch(way: Callable[..., Any]) -> None:
    make, batch_of, options = KINDS["multiclass"]
    model, batch = Model(lambda: make(**options), 3), batch_of(8)
    graph = way(model, *batch)
    preds, target = batch[0].flip(0), 2 - batch[1]
    assert graph(preds, target).tolist() == model(preds, target).tolist() != model(*batch).tolist()


def test_a_map_over_batches() -> None:
    make, batch_of, options = KINDS["multiclass"]
    model, (preds, target) = Model(lambda: make(**options), 3), batch_of(8)
    several = torch.stack([preds, preds.flip(0)])
    counts = torch.func.vmap(lambda scores: model(scores, target))(several)
    assert counts.tolist() == [model(scores, target).tolist() for scores in several]


COMPILED: dict[str, tuple[Callable[[], Any], Callable[[int], tuple[Tensor, Tensor]]]] = {
    **{kind: (lambda make=make, options=options: make(**options), batch_of)
       for kind, (make, batch_of, options) in KINDS.items()},
    "numbers": (MeanSquaredError, lambda size: (torch.rand(size), torch.rand(size))),
    "collection": (
        lambda: MetricCollection([MulticlassAccuracy(3), MulticlassF1Score(3)]), KINDS["multiclass"][1]
    ),
}  # fmt: skip


@pytest.mark.parametrize("add", ["update", "forward"])
@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("name", COMPILED)
def test_in_a_step_that_is_compiled(name: str, before: int, add: str) -> None:
    """The step is compiled once, or as often as it would be with any other break of its graph."""
    make, batch_of = COMPILED[name]
    metric, same, counter = make(), make(), CompileCounter()

    @torch.compile(backend=counter)
    def step(scores: Tensor, target: Tensor) -> Tensor:
        halved = scores / 2
        getattr(metric, add)(halved, target)
        return halved.sum()

    torch._dynamo.reset()
    for number in range(before + 20):
        scores, target = batch_of(8)
        if number < before:
            metric.update(scores, target)
        else:
            step(scores, target)
        same.update(scores if number < before else scores / 2, target)
    assert metric.compute() == same.compute()
    parts = metric.values() if isinstance(metric, MetricCollection) else [metric]
    assert {part.update_count for part in parts} == {before + 20}
    assert counter.frame_count == 2


FUNCTIONS: dict[str, tuple[Callable[..., Tensor], Callable[[int], tuple[Tensor, Tensor]]]] = {
    "binary": (binary_accuracy, KINDS["binary"][1]),
    "multiclass": (partial(multiclass_accuracy, num_classes=3), KINDS["multiclass"][1]),
    "multilabel": (partial(multilabel_accuracy, num_labels=3), KINDS["multilabel"][1]),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_functions_can_be_compiled(kind: str) -> None:
    function, batch_of = FUNCTIONS[kind]
    batch = batch_of(8)
    torch._dynamo.reset()
    compiled = torch.compile(lambda preds, target: function(preds, target), backend="eager")
    assert compiled(*batch) == function(*batch)
