"""Plain values: what is done with NaN, with weights, with nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics.aggregation as theirs

from fulmen.errors import ConfigError, UsageError
from fulmen.metrics import aggregation as ours
from fulmen.metrics.aggregation import (
    CatMetric,
    MaxMetric,
    MeanMetric,
    MedianMetric,
    MinMetric,
    QuantileMetric,
    RunningMean,
    RunningSum,
    SumMetric,
)
from fulmen.metrics.blocks import MOST_WAITING

KINDS = [MeanMetric, SumMetric, MaxMetric, MinMetric, CatMetric, MedianMetric, QuantileMetric]
RUNNING = [RunningMean, RunningSum]
SPOILED = torch.tensor([1.0, torch.nan, 3.0])


@pytest.mark.parametrize("kind", [*KINDS, *RUNNING])
def test_nan_is_an_error_and_adds_nothing(kind: Any) -> None:
    metric = kind(nan_strategy="error")
    metric.update(2.0)
    with pytest.raises(UsageError, match="received: 1 of them"):
        metric.update(SPOILED)
    if kind not in RUNNING:
        assert metric.compute() == 2
        assert metric.update_count == 1


@pytest.mark.parametrize("kind", [*KINDS, *RUNNING])
def test_nan_is_left_out_with_a_warning(kind: Any) -> None:
    metric, clean = kind(), kind(nan_strategy="error")
    with pytest.warns(UserWarning, match="left out 1 NaN"):
        metric.update(SPOILED)
    clean.update(torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(metric.compute(), clean.compute())
    metric.update(4.0)  # and says nothing


@pytest.mark.parametrize("kind", [MeanMetric, SumMetric, MaxMetric, MinMetric, CatMetric, *RUNNING])
@pytest.mark.parametrize("strategy", ["ignore", "disable", 0.5])
def test_nan_as_in_torchmetrics(kind: Any, strategy: Any) -> None:
    metric, reference = kind(nan_strategy=strategy), getattr(theirs, kind.__name__)(nan_strategy=strategy)
    for value in (SPOILED, torch.tensor([[2.0]]).squeeze(), torch.tensor([5.0])):
        metric.update(value)
        reference.update(value.clone())  # which it writes to
    torch.testing.assert_close(metric.compute(), reference.compute(), equal_nan=True)


def test_nan_on_an_accelerator_is_counted_there() -> None:
    """The device "meta" has no values to look at, and an update must not want any."""
    for kind in KINDS:
        metric = kind(nan_strategy="error").to("meta")
        metric.update(torch.empty(3, device="meta"))
        assert metric.nan_count.device.type == "meta"


def test_infinity_is_not_nan() -> None:
    metric = MeanMetric(nan_strategy="error")
    metric.update(torch.tensor([float("inf"), 1.0]))
    assert metric.compute() == float("inf")
    metric.update(torch.tensor([float("-inf"), float("inf")]))  # of which the sum is NaN
    assert metric.compute().isnan()


def test_weights() -> None:
    metric = MeanMetric()
    metric.update(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1.0, 3.0]))
    metric.update(10, 0.5)
    metric.update(torch.tensor([5.0, 7.0]), 2.0)
    weights = [1, 3, 1, 3, 0.5, 2, 2]
    assert metric.compute().item() == pytest.approx(np.average([1, 2, 3, 4, 10, 5, 7], weights=weights))


def test_weights_of_nan_and_nan_with_weights() -> None:
    value, weight = torch.tensor([1.0, torch.nan, 4.0]), torch.tensor([torch.nan, 5.0, 2.0])
    metric = MeanMetric(nan_strategy="ignore")
    metric.update(value, weight)
    assert metric.compute() == 4
    numbered = MeanMetric(nan_strategy=3.0)
    numbered.update(value, weight)
    assert numbered.compute().item() == pytest.approx((1 * 3 + 3 * 5 + 4 * 2) / 10)


def test_weights_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match=r"value of shape \(3,\), weight of shape \(2,\)"):
        MeanMetric().update(torch.rand(3), torch.rand(2))


def test_weights_that_add_up_to_nothing() -> None:
    metric = MeanMetric()
    metric.update(torch.tensor([1.0, 2.0]), 0.0)
    assert metric.compute().isnan()


@pytest.mark.filterwarnings("ignore:.*before")
@pytest.mark.parametrize(("kind", "value"), [(SumMetric, 0), (MaxMetric, -np.inf), (MinMetric, np.inf)])
def test_of_nothing(kind: Any, value: float) -> None:
    assert kind().compute() == value
    empty = kind()
    empty.update(torch.empty(0))
    assert empty.compute() == value


@pytest.mark.filterwarnings("ignore:.*before")
def test_nothing_to_average_or_to_order() -> None:
    for metric in (MeanMetric(), MedianMetric(), QuantileMetric(0.2), RunningMean()):
        assert metric.compute().isnan()
    assert QuantileMetric([0.1, 0.2]).compute().shape == (2,)
    assert CatMetric().compute().shape == (0,)


def test_sums_of_many_keep_small_values() -> None:
    metric = SumMetric()
    metric.update(torch.tensor(1e8))
    for _ in range(100):
        metric.update(torch.tensor(1.0))
    assert metric.set_dtype(torch.float64).compute() == 1e8 + 100


def test_integers_are_exact() -> None:
    metric = MaxMetric().set_dtype(torch.float64)
    metric.update(torch.tensor([2**40 + 1, 3]))
    metric.update(2**40 + 2)
    assert metric.compute() == 2**40 + 2


@pytest.mark.parametrize("kind", [MeanMetric, SumMetric, MaxMetric, MinMetric])
def test_values_of_all_shapes_and_types_together(kind: Any) -> None:
    values = [
        torch.tensor(2**24 + 1), torch.tensor(0.1), torch.rand(2, 3), torch.rand(5, dtype=torch.float64),
        torch.tensor([7.0, -3.0], dtype=torch.float16), 2.5, [1, -8], torch.rand(1000), torch.tensor([True]),
    ]  # fmt: skip
    numbers = np.concatenate([np.asarray(value, dtype=np.float64).reshape(-1) for value in values])
    expected = {MeanMetric: np.mean, SumMetric: np.sum, MaxMetric: np.max, MinMetric: np.min}[kind](numbers)
    metric, called = kind().set_dtype(torch.float64), kind()
    for value in values:
        metric.update(value)
        called(value)
    assert metric.compute().item() == pytest.approx(expected, rel=1e-12)
    assert called.set_dtype(torch.float64).compute().item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", [MeanMetric, SumMetric, MaxMetric, MinMetric])
def test_what_waits_does_not_grow(kind: Any) -> None:
    metric = kind()
    for number in range(300):
        (metric.update if number % 2 else metric)(torch.tensor([1.0, float(number)]))
        assert len(metric.recent) < MOST_WAITING


@pytest.mark.parametrize("kind", [MeanMetric, SumMetric, MaxMetric, MinMetric])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_nan_is_spoken_of_at_its_batch_and_once(kind: Any, size: int) -> None:
    spoiled = torch.ones(size).index_fill(0, torch.tensor([size - 1]), torch.nan)
    metric = kind()
    metric.update(torch.tensor([2.0, 4.0]))
    with pytest.warns(UserWarning, match="left out 1 NaN"):
        metric.update(spoiled)
    for _ in range(MOST_WAITING):
        metric.update(torch.tensor([2.0, 4.0]))
    assert not metric.compute().isnan()
    metric = kind(nan_strategy="ignore")
    for value in (torch.tensor([2.0, 4.0]), spoiled):
        metric.update(value)
    clean = kind()
    clean.update(torch.cat((torch.tensor([2.0, 4.0]), torch.ones(size - 1))))
    assert metric.compute() == clean.compute()


def test_median_and_quantiles_are_those_of_numpy() -> None:
    values = torch.randn(101, generator=torch.Generator().manual_seed(0))
    for count in (1, 2, 100, 101):
        metric, quantiles = MedianMetric(), QuantileMetric((0.0, 0.13, 0.5, 1.0))
        for part in values[:count].split(7):
            metric.update(part)
            quantiles.update(part)
        kept = values[:count].double().numpy()
        assert metric.compute().item() == pytest.approx(np.median(kept), rel=1e-6)
        expected = torch.tensor(np.quantile(kept, [0.0, 0.13, 0.5, 1.0])).float()
        torch.testing.assert_close(quantiles.compute(), expected)


def test_nan_that_is_taken_as_a_value_has_no_order() -> None:
    metric = MedianMetric(nan_strategy="disable")
    metric.update(SPOILED)
    assert metric.compute().isnan()


def test_values_are_put_together_along_their_first_dimension() -> None:
    metric = CatMetric()
    metric.update(torch.tensor([[1.0, 2.0]]))
    metric.update(torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
    assert metric.compute().tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    with pytest.raises(UsageError, match=r"shape \(3,\) after \(1, 2\)"):
        metric.update(torch.rand(3))


@pytest.mark.parametrize(
    ("kind", "expected"), [(RunningMean, [0, 0.5, 1.5, 2.5]), (RunningSum, [0, 1, 3, 5])]
)
def test_windows(kind: Any, expected: list[float]) -> None:
    metric, called = kind(window=2), kind(window=2)
    for number, value in enumerate(expected):
        metric.update(float(number))
        assert called(float(number)) == number
        assert metric.compute() == called.compute() == value
    metric.reset()
    metric.update(7.0)
    assert metric.compute() == 7


@pytest.mark.parametrize("strategy", ["other", None, True])
def test_unknown_strategies(strategy: Any) -> None:
    with pytest.raises(ConfigError, match="nan_strategy"):
        ours.MeanMetric(nan_strategy=strategy)


@pytest.mark.parametrize("q", [-0.1, 1.5, [], [0.5, 2]])
def test_quantiles_that_cannot_be(q: Any) -> None:
    with pytest.raises(ConfigError, match="shares from 0 to 1"):
        QuantileMetric(q)
