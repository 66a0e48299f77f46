"""What happens to one metric must not show in another, nor in a value that was given away."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fulmen.errors import ConfigError, UsageError
from fulmen.metrics import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryAveragePrecision,
    BinaryCohenKappa,
    BinaryConfusionMatrix,
    BinaryMatthewsCorrCoef,
    CosineSimilarity,
    MeanMetric,
    MeanSquaredError,
    Metric,
    MetricCollection,
    MinMaxMetric,
    MultilabelAccuracy,
    R2Score,
    SumMetric,
)

from .kinds import InPlace

PREDS, TARGET = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])
OTHERS = torch.tensor([0.9, 0.2]), torch.tensor([0, 1])


def curves() -> MetricCollection:
    return MetricCollection({"area": BinaryAUROC(), "precision": BinaryAveragePrecision()})


def errors() -> MetricCollection:
    return MetricCollection({"area": MeanSquaredError(), "precision": MeanSquaredError(squared=False)})


def merged(metric: Metric) -> None:
    other = metric.clone()
    other.reset()
    other.update(*OTHERS)
    metric.merge_state(other)


def refused(metric: Metric) -> None:
    with pytest.raises(UsageError):
        metric.update(PREDS, TARGET[:3])
    metric.update(*OTHERS)


@pytest.mark.parametrize("collection", [curves, errors])
@pytest.mark.parametrize("first", ["update", "call", "reset", "copy"])
@pytest.mark.parametrize(
    "added", [lambda metric: metric.update(*OTHERS), lambda metric: metric(*OTHERS), merged, refused],
    ids=["update", "call", "merge", "after_an_error"],
)  # fmt: skip
def test_what_is_added_to_one_is_not_in_the_other(
    collection: Callable[[], Any], first: str, added: Callable[[Metric], None]
) -> None:
    metrics = collection()
    if first == "reset":
        metrics.reset()
    (metrics if first == "call" else metrics.update)(PREDS, TARGET)
    if first == "copy":
        metrics = copy.deepcopy(metrics)
    for name, other in (("area", "precision"), ("precision", "area")):
        before = collection()[other]
        before.update(PREDS, TARGET)
        alone = copy.deepcopy(metrics)
        added(alone[name])
        assert alone[other].compute() == before.compute()
        assert alone[name].update_count == 2


def test_metrics_with_other_states_cannot_be_made_to_share() -> None:
    kinds = [BinaryAccuracy(), SumMetric()]
    with pytest.raises(ConfigError, match=r"BinaryAccuracy: counts; SumMetric: recent, nan_count, value"):
        MetricCollection(kinds, compute_groups=[["BinaryAccuracy", "SumMetric"]])
    with pytest.raises(ConfigError, match="'Sums'"):
        MetricCollection(kinds, compute_groups=[["Sums"]])


def test_a_composition_follows_its_metrics() -> None:
    first, second = SumMetric(), SumMetric()
    total = first + second
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first.update(1.0)
        second.update(2.0)
        assert total.compute() == 3
    first.update(4.0)
    assert total.compute() == 7
    first.reset()
    with pytest.warns(match="SumMetric.compute"):
        assert total.compute() == 2


def test_a_wrapper_follows_its_metric() -> None:
    metric = SumMetric()
    extremes = MinMaxMetric(metric)
    extremes.update(1.0)
    extremes.compute()
    metric.update(3.0)
    assert extremes.compute() == {"raw": 4, "max": 4, "min": 1}


def test_a_call_while_synchronised_is_an_error() -> None:
    metric = SumMetric(dist_sync_fn=lambda tensor, group: [tensor, tensor])
    metric.update(1.0)
    with (
        metric.sync_context(distributed_available=lambda: True),
        pytest.raises(UsageError, match="forward"),
    ):
        metric(1.0)
    assert metric.compute() == 1


@pytest.mark.parametrize("kind", [MeanSquaredError, R2Score, SumMetric])
def test_what_waits_is_added_before_it_is_sent(kind: Any) -> None:
    sent: list[Tensor] = []

    def gather(tensor: Tensor, group: Any) -> list[Tensor]:
        sent.append(tensor)
        return [tensor, tensor]

    batch = (torch.tensor([0.5, 2.0, 3.0]), torch.tensor([1.0, 2.0, 4.0]))[: 1 if kind is SumMetric else 2]
    metric, twice = kind(dist_sync_fn=gather), kind()
    for _ in range(3):
        metric.update(*batch)
        twice.update(*batch)
        twice.update(*batch)
    waiting = list(metric.recent)
    with metric.sync_context(distributed_available=lambda: True):
        synchronised = type(metric).compute.raw(metric)
    torch.testing.assert_close(synchronised, twice.compute())
    assert waiting
    assert all(tensor.shape != kept.shape for tensor in sent for kept in waiting)
    assert all(own is kept for own, kept in zip(metric.recent, waiting, strict=True))


@pytest.mark.parametrize("kind", [MeanSquaredError, R2Score, MeanMetric])
def test_a_run_that_goes_on_comes_to_the_same_bits(kind: Any) -> None:
    torch.manual_seed(0)
    batches = [torch.rand(1 if kind is MeanMetric else 2, 5).unbind() for _ in range(300)]
    through, before = kind().set_dtype(torch.float64), kind().set_dtype(torch.float64)
    for batch in batches:
        through.update(*batch)
    for batch in batches[:150]:
        before.update(*batch)
    before.compute()
    after = kind().set_dtype(torch.float64)
    after.persistent(True)
    before.persistent(True)
    after.load_state_dict(before.state_dict())
    for batch in batches[150:]:
        after.update(*batch)
    assert after.compute() == through.compute()


@pytest.mark.parametrize("states", [3, {}, {"total": torch.tensor(1.0)}])
def test_what_is_no_state_cannot_be_merged(states: Any) -> None:
    with pytest.raises(UsageError, match="SumMetric"):
        SumMetric().merge_state(states)


def test_the_mean_of_integers() -> None:
    class Mean(Metric):
        value: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.add_state("value", torch.tensor(0), "mean")

        def update(self, value: int) -> None:
            self.value = torch.tensor(value)

        def compute(self) -> Tensor:
            return self.value

    metric = Mean()
    metric(2)
    metric(5)
    assert metric.compute() == 3.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("metric", "batch"), [(BinaryConfusionMatrix(), (PREDS, TARGET)), (SumMetric(), (PREDS,))]
)
def test_a_value_may_be_written_over(metric: Metric, batch: Any, dtype: torch.dtype) -> None:
    metric.set_dtype(dtype)
    metric.reset()
    metric.update(*batch)
    metric.compute().zero_()
    metric.update(*batch)
    expected = 2 * (len(PREDS) if len(batch) == 2 else PREDS.sum().item())
    assert metric.compute().sum().item() == pytest.approx(expected, rel=1e-6)


def test_states_are_where_the_default_device_is() -> None:
    with torch.device("meta"):
        metric = MeanMetric()
    assert metric.device == metric.total.device == torch.device("meta")
    # And what is made there once must not be taken elsewhere later.
    batches = torch.tensor([[0.2, 0.7, 0.9, 0.1, 0.3]]), torch.tensor([[0, 1, 1, 1, 0]])
    counts = BinaryAccuracy(threshold=0.43), MultilabelAccuracy(num_labels=5, threshold=0.43)
    with torch.device("meta"):
        for metric in counts:
            metric.update(*batches)
    for metric in counts:
        metric.update(*batches)
        assert metric.compute() == 0.8


@pytest.mark.parametrize(
    ("kind", "expected"), [(BinaryMatthewsCorrCoef, 0.45 / 0.45**0.5), (BinaryCohenKappa, 2 / 3)]
)
def test_more_positions_than_products_fit_in_integers(kind: Callable[[], Any], expected: float) -> None:
    metric = kind()
    metric.merge_state({"counts": torch.tensor([40, 10, 5, 35]) * 10**8})  # tn, fp, fn, tp
    assert metric.compute() == pytest.approx(expected)


def test_similarities_stay_in_order() -> None:
    torch.manual_seed(0)
    metric = CosineSimilarity("none")
    batches = [(torch.randn(n, 2), torch.randn(n, 2)) for n in (3, 20_000, 5, 70, 40_000)]
    for number, batch in enumerate(batches):
        (metric if number % 2 else metric.update)(*batch)
    preds, target = (torch.cat(parts) for parts in zip(*batches, strict=True))
    torch.testing.assert_close(metric.compute(), torch.cosine_similarity(preds, target))


@pytest.mark.parametrize("first", ["update", "call", "merge"])
@pytest.mark.parametrize("then", ["update", "call"])
def test_states_are_changed_in_place_after_inference_too(first: str, then: str) -> None:
    metric, other = InPlace(), InPlace()
    with torch.inference_mode():
        (metric if first == "call" else metric.update)(PREDS)
        other(PREDS)
        if first == "merge":
            metric.merge_state(other)
    (metric if then == "call" else metric.update)(PREDS)
    metric(PREDS)
    times = 4 if first == "merge" else 3
    assert metric.compute().item() == pytest.approx(times * PREDS.sum().item())


class InPlaceToo(InPlace):
    """Shares the states of the other."""


@pytest.mark.parametrize("alone", ["first", "second"])
def test_states_that_are_changed_in_place_are_those_of_one(alone: str) -> None:
    metrics = MetricCollection(
        {"first": InPlace(), "second": InPlaceToo()}, compute_groups=[["first", "second"]]
    )
    metrics.update(torch.ones(2))
    metrics[alone].update(torch.ones(5))
    metrics.update(torch.ones(3))
    assert {name: value.item() for name, value in metrics.compute().items()} == {
        name: 10 if name == alone else 5 for name in ("first", "second")
    }


def test_a_copy_that_is_changed_in_place_is_another() -> None:
    metric = InPlace()
    metric.update(torch.ones(2))
    copied = copy.copy(metric)
    copied.update(torch.ones(3))
    assert (metric.compute(), copied.compute()) == (2, 5)
    assert (metric.update_count, copied.update_count) == (1, 2)


def test_a_metric_in_two_collections() -> None:
    """What one collection gets is not that of the others in the second."""
    both = MeanSquaredError()
    one = MetricCollection({"both": both, "root": MeanSquaredError(squared=False)})
    two = MetricCollection({"both": both, "other": MeanSquaredError(squared=False)})
    for _ in range(3):
        one.update(torch.zeros(2), torch.ones(2))
    assert [one[name].update_count for name in one] == [3, 3]
    assert [two[name].update_count for name in two] == [3, 0]
    two.update(torch.zeros(2), 3 * torch.ones(2))
    one.update(torch.zeros(2), torch.ones(2))
    assert one.compute() == {"both": pytest.approx((4 * 1 + 9) / 5), "root": pytest.approx(1)}
    assert two.compute() == {"both": pytest.approx((4 * 1 + 9) / 5), "other": pytest.approx(3)}


class Listed(Metric):
    """Keeps what it is given, also where it fails afterwards."""

    values: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("values", [], "cat")

    def update(self, value: Tensor, fails: bool = False) -> None:
        self.values.append(value)
        if fails:
            raise ValueError("after it was kept")

    def compute(self) -> Tensor:
        return torch.cat(self.values).sum()


class ListedToo(Listed):
    """Shares the states of the other."""


@pytest.mark.parametrize("name", ["first", "second"])
def test_values_of_lists_are_those_of_all_batches(name: str) -> None:
    metrics = MetricCollection(
        {"first": Listed(), "second": ListedToo()}, compute_groups=[["first", "second"]]
    )
    for number in range(1, 4):
        metrics.update(torch.ones(2))
        assert metrics[name].compute() == 2 * number
        assert metrics.compute() == {"first": 2 * number, "second": 2 * number}
    with pytest.raises(ValueError, match="after it was kept"):
        metrics.update(torch.ones(1), fails=True)
    assert metrics.compute() == {"first": 7, "second": 7}


def test_a_failed_update_leaves_no_value_behind() -> None:
    metric = Listed()
    metric.update(torch.ones(2))
    assert metric.compute() == 2
    with pytest.raises(ValueError, match="after it was kept"):
        metric.update(torch.ones(1), fails=True)
    assert metric.compute() == 3


class Opened(Listed):
    """Has what cannot be copied, and makes it anew."""

    def __init__(self) -> None:
        super().__init__()
        self.source = open(__file__)  # noqa: SIM115

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "source": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "source": open(__file__)})  # noqa: SIM115


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, Metric.clone])
def test_a_copy_makes_what_cannot_be_copied(copied: Callable[[Any], Any]) -> None:
    metric = Opened()
    other = copied(metric)
    with metric.source, other.source:
        assert other.source is not metric.source
