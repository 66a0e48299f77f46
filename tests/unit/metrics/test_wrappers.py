"""Metrics around metrics, ours and torchmetrics'."""

from __future__ import annotations

import copy
import math
import pickle
import random
from typing import Any

import pytest
import torch
import torchmetrics
from torch import nn

from fulmen.engine.logbook_state import load_metric_states, metric_states
from fulmen.errors import ConfigError, UsageError
from fulmen.metrics import MetricCollection, regression
from fulmen.metrics.aggregation import CatMetric, MeanMetric, SumMetric
from fulmen.metrics.regression import MeanSquaredError, PearsonCorrCoef, SpearmanCorrCoef
from fulmen.metrics.wrappers import BootStrapper, ClasswiseWrapper, MetricTracker, MinMaxMetric, Running

BASES = [MeanSquaredError, torchmetrics.MeanSquaredError]
every_base = pytest.mark.parametrize("base", BASES, ids=["ours", "torchmetrics"])


def batch(number: int, size: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    return torch.randn(size, generator=generator), torch.randn(size, generator=generator)


def error(*batches: tuple[torch.Tensor, torch.Tensor]) -> Any:
    squares = torch.cat([(preds - target).double().square() for preds, target in batches])
    return pytest.approx(squares.mean().item(), rel=1e-5)


# --------------------------------------------------------------------------------------------------- Running


@every_base
def test_running_is_the_value_of_the_last_batches(base: Any) -> None:
    metric, called = Running(base(), window=3), Running(base(), window=3)
    for number in range(8):
        metric.update(*batch(number, number + 1))
        assert called(*batch(number, number + 1)).item() == error(batch(number, number + 1))
        window = [batch(i, i + 1) for i in range(max(0, number - 2), number + 1)]
        assert metric.compute().item() == error(*window)
        assert called.compute().item() == error(*window)
    metric.reset()
    metric.update(*batch(1))
    assert metric.compute().item() == error(batch(1))


def test_running_keeps_the_order() -> None:
    metric = Running(CatMetric(), window=3)
    for number in range(7):
        metric.update(float(number))
    assert metric.compute().tolist() == [4, 5, 6]


@every_base
def test_running_goes_on_as_a_copy_and_from_a_checkpoint(base: Any) -> None:
    metric = Running(base(), window=2)
    for number in range(3):
        metric.update(*batch(number))
    restored = Running(base(), window=2)
    load_metric_states(nn.ModuleList([restored]), metric_states(nn.ModuleList([metric])), "cpu")
    for other in (metric, restored, pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric)):
        other.update(*batch(3))
        assert other.compute().item() == error(batch(2), batch(3))


def test_running_of_what_cannot_be_combined() -> None:
    for metric in (torchmetrics.MaxMetric(), Running(MeanMetric()), 2 * MeanMetric()):
        with pytest.raises(ConfigError, match="cannot be combined"):
            Running(metric)
    with pytest.raises(ConfigError, match="window"):
        Running(MeanMetric(), window=0)
    with pytest.raises(ConfigError, match="received: str"):
        Running("metric")


# ---------------------------------------------------------------------------------------------------- MinMax


@every_base
def test_extremes_over_epochs(base: Any) -> None:
    metric = MinMaxMetric(base())
    seen: list[float] = []
    for epoch in range(4):
        metric.update(*batch(2 * epoch))
        metric.update(*batch(2 * epoch + 1))
        value = {name: number.item() for name, number in metric.compute().items()}
        assert value["raw"] == error(batch(2 * epoch), batch(2 * epoch + 1))
        seen.append(value["raw"])
        assert (value["min"], value["max"]) == (min(seen), max(seen))
        metric.reset()
    whole = pickle.loads(pickle.dumps(metric))
    whole.update(*batch(0))
    assert whole.compute()["max"] == max(max(seen), whole.compute()["raw"].item())


@every_base
def test_extremes_of_calls(base: Any) -> None:
    metric, seen = MinMaxMetric(base()), []
    for number in range(4):
        value = metric(*batch(number))
        seen.append(value["raw"].item())
        assert value["raw"].item() == error(batch(number))
        assert (value["min"].item(), value["max"].item()) == (min(seen), max(seen))


def test_extremes_pass_over_nan_and_need_numbers() -> None:
    metric = MinMaxMetric(MeanMetric(nan_strategy="disable"))
    metric.update(torch.nan)
    metric.compute()
    metric.reset()
    metric.update(3.0)
    assert metric.compute() == {"raw": 3, "min": 3, "max": 3}
    several = MinMaxMetric(MeanSquaredError(num_outputs=2))
    with pytest.raises(UsageError, match=r"shape \(2,\)"):
        several(torch.rand(3, 2), torch.rand(3, 2))


def test_extremes_are_in_the_state_dict_when_asked_for() -> None:
    metric = MinMaxMetric(MeanSquaredError())
    assert not metric.state_dict()
    metric(*batch(0))
    metric.persistent(True)
    other = MinMaxMetric(MeanSquaredError())
    other.persistent(True)
    other.load_state_dict(metric.state_dict())
    assert other.min_val == metric.min_val < math.inf


# ------------------------------------------------------------------------------------------------- Classwise


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["meansquarederror_0", "meansquarederror_1"]),
        ({"labels": ["a", "b"]}, ["meansquarederror_a", "meansquarederror_b"]),
        ({"labels": ["a", "b"], "prefix": "P-", "postfix": "_X"}, ["P-a_X", "P-b_X"]),
        ({"labels": ["a", "b"], "prefix": "P-"}, ["P-a", "P-b"]),
        ({"postfix": "_X"}, ["0_X", "1_X"]),
    ],
)
@every_base
def test_names_of_classes(base: Any, options: dict[str, Any], names: list[str]) -> None:
    preds, target = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    metric = ClasswiseWrapper(base(num_outputs=2), **options)
    assert metric.higher_is_better is False
    assert {name: value.item() for name, value in metric(preds, target).items()} == dict(
        zip(names, [2, 5], strict=True)
    )
    assert list(metric.compute()) == names
    metric.reset()
    assert not metric.metric.update_called


def test_classes_in_a_collection() -> None:
    collection = MetricCollection(
        {"a": ClasswiseWrapper(MeanSquaredError(num_outputs=2), ["x", "y"], "of_")}, prefix="v/"
    )
    collection.update(torch.rand(3, 2), torch.rand(3, 2))
    assert list(collection.compute()) == ["v/of_x", "v/of_y"]


def test_classes_that_do_not_fit() -> None:
    metric = ClasswiseWrapper(MeanSquaredError(num_outputs=2), ["a", "b", "c"])
    with pytest.raises(UsageError, match="expected: 3 values"):
        metric(torch.rand(3, 2), torch.rand(3, 2))
    with pytest.raises(UsageError, match="for each class"):
        ClasswiseWrapper(MeanSquaredError())(torch.rand(3), torch.rand(3))
    with pytest.raises(ConfigError, match="strings"):
        ClasswiseWrapper(MeanSquaredError(), labels=[1, 2])  # pyright: ignore[reportArgumentType]


# ------------------------------------------------------------------------------------------------ Bootstraps


@pytest.mark.parametrize("strategy", ["poisson", "multinomial"])
@every_base
def test_bootstraps_spread_as_the_mean_does(base: Any, strategy: Any) -> None:
    metric = BootStrapper(
        base(), num_bootstraps=200, quantile=0.5, raw=True, sampling_strategy=strategy, seed=1
    )
    squares = []
    for number in range(4):
        preds, target = batch(number, 250)
        metric.update(preds, target)
        squares.append((preds - target).square())
    value = metric.compute()
    every = torch.cat(squares)
    spread = (every.std() / len(every) ** 0.5).item()
    assert value["raw"].shape == (200,)
    assert value["mean"].item() == pytest.approx(every.mean().item(), abs=spread)
    assert value["std"].item() == pytest.approx(spread, rel=0.25)
    torch.testing.assert_close(value["quantile"], value["raw"].quantile(0.5))


def test_bootstraps_leave_the_random_numbers_of_training_alone() -> None:
    states = torch.get_rng_state(), random.getstate()
    metric = BootStrapper(MeanSquaredError())
    metric.update(*batch(0))
    metric(*batch(1))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]


def test_bootstraps_follow_from_the_seed() -> None:
    def values(metric: Any, first: int = 0) -> list[float]:
        for number in range(first, 3):
            metric.update(*batch(number))
        return metric.compute()["raw"].tolist()

    def made(seed: int | None = None) -> Any:
        return BootStrapper(MeanSquaredError(), raw=True, seed=seed)

    assert values(made(1)) == values(made(1)) != values(made(2))
    torch.manual_seed(5)
    drawn = values(made())
    torch.manual_seed(5)
    assert values(made()) == drawn
    halfway = made(1)
    halfway.update(*batch(0))
    restored = made(1)
    load_metric_states(nn.ModuleList([restored]), metric_states(nn.ModuleList([halfway])), "cpu")
    copies = (pickle.loads(pickle.dumps(halfway)), halfway.clone(), restored)
    assert all(values(other, 1) == values(made(1)) for other in copies)
    halfway.reset()
    assert values(halfway) == values(made(1))


def test_samples_of_lists_and_named_arguments() -> None:
    class Words(MeanMetric):
        def update(self, words: list[str], lengths: torch.Tensor) -> None:
            assert [len(word) for word in words] == lengths.tolist()
            super().update(lengths)

    metric = BootStrapper(Words(), num_bootstraps=50, sampling_strategy="multinomial", seed=1)
    metric.update(["a", "bb", "ccc"], lengths=torch.tensor([1, 2, 3]))
    assert 1 < metric.compute()["mean"] < 3


def test_bootstraps_that_cannot_be() -> None:
    unusable: list[dict[str, Any]] = [{"sampling_strategy": "other"}, {"num_bootstraps": 0}]
    for options in unusable:
        with pytest.raises(ConfigError):
            BootStrapper(MeanSquaredError(), **options)
    with pytest.raises(ConfigError, match="received: str"):
        BootStrapper("metric")
    with pytest.raises(UsageError, match="nothing to draw"):
        BootStrapper(MeanMetric()).update(3.0)


# --------------------------------------------------------------------------------------------------- Tracker


@every_base
def test_the_best_of_several_steps(base: Any) -> None:
    tracker = MetricTracker(base())
    assert tracker.maximize is False
    for step in range(3):
        tracker.increment()
        tracker.update(torch.tensor([1.0, 2.0]) * step, torch.ones(2))
    assert tracker.n_steps == 3
    assert tracker.compute_all().tolist() == [1, 0.5, 5]
    assert tracker.compute() == 5
    assert tracker.best_metric() == 0.5
    assert tracker.best_metric(return_step=True) == (0.5, 1)
    tracker.reset()
    tracker.update(torch.zeros(2), torch.zeros(2))
    assert tracker.best_metric(return_step=True) == (0, 2)
    tracker.reset_all()
    assert not any(metric.update_called for metric in tracker)


@pytest.mark.parametrize(
    ("kind", "library"),
    [(MetricCollection, regression), (torchmetrics.MetricCollection, torchmetrics)],
    ids=["ours", "torchmetrics"],
)
def test_the_best_of_a_collection(kind: Any, library: Any) -> None:
    parts = [getattr(library, name)() for name in ("MeanSquaredError", "ExplainedVariance")]
    for maximize in (None, [False, True]):
        tracker = MetricTracker(kind(parts), maximize=maximize)
        for step in range(3):
            tracker.increment()
            value = tracker(torch.tensor([1.0, 2.0]) * step, torch.tensor([1.0, 1.5]))
            assert value.keys() == {"MeanSquaredError", "ExplainedVariance"}
        assert tracker.compute_all()["MeanSquaredError"].tolist() == [1.625, 0.125, 3.625]
        best, step = tracker.best_metric(return_step=True)
        assert best == {"MeanSquaredError": 0.125, "ExplainedVariance": 0}
        assert step == {"MeanSquaredError": 1, "ExplainedVariance": 0}


def test_values_that_are_nan_or_several() -> None:
    tracker = MetricTracker(PearsonCorrCoef(), maximize=True)
    for preds in (torch.ones(4), torch.arange(4.0)):
        tracker.increment()
        tracker.update(preds, torch.arange(4.0))
    assert tracker.best_metric(return_step=True) == (1, 1)
    several = MetricTracker(MeanSquaredError(num_outputs=2))
    several.increment()
    several.update(torch.rand(3, 2), torch.rand(3, 2))
    with pytest.warns(UserWarning, match="no best"):
        assert several.best_metric(return_step=True) == (None, None)


def test_steps_are_taken_up_from_a_checkpoint() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tracker = MetricTracker(MeanSquaredError())

    saved, resumed = Model(), Model()
    for step in range(3):
        saved.tracker.increment()
        saved.tracker.update(*batch(step))
    resumed.load_state_dict(saved.state_dict())
    load_metric_states(resumed, metric_states(saved), "cpu")
    assert resumed.tracker.n_steps == 3
    assert torch.equal(resumed.tracker.compute_all(), saved.tracker.compute_all())


@pytest.mark.parametrize("asked", ["update", "forward", "compute", "compute_all", "best_metric", "reset"])
def test_nothing_before_the_first_step(asked: str) -> None:
    with pytest.raises(UsageError, match="increment"):
        getattr(MetricTracker(MeanSquaredError()), asked)()


@pytest.mark.parametrize(
    ("metric", "maximize"),
    [
        (PearsonCorrCoef(), None),
        (MeanSquaredError(), "max"),
        (MeanSquaredError(), [True]),
        (MetricCollection([MeanSquaredError(), SpearmanCorrCoef()]), [True]),
    ],
)
def test_directions_that_cannot_be(metric: Any, maximize: Any) -> None:
    with pytest.raises(ConfigError, match=r"maximize|whether greater is better"):
        MetricTracker(metric, maximize=maximize)


@pytest.mark.parametrize("strategy", ["poisson", "multinomial"])
def test_samples_of_an_empty_batch_are_empty(strategy: Any) -> None:
    metric = BootStrapper(MeanSquaredError(), num_bootstraps=2, sampling_strategy=strategy, seed=0)
    batches = batch(0), batch(0, size=0)
    with torch.device("meta"):  # draws are made on the host, wherever new tensors go
        for each in batches:
            metric.update(*each)
    assert metric.compute()["mean"].isfinite()


def test_a_tracker_takes_checkpoints_without_its_steps() -> None:
    """As torchmetrics' and older ones are."""
    tracker = MetricTracker(SumMetric(), maximize=True)
    tracker.increment()
    state = tracker.state_dict()
    state.pop("_extra_state")
    tracker.load_state_dict(state)
    assert tracker.n_steps == 1


# ------------------------------------------------------------------------------------------------------- all


@pytest.mark.parametrize(
    "make",
    [
        lambda: Running(SumMetric(), 2),
        lambda: MinMaxMetric(SumMetric()),
        lambda: BootStrapper(SumMetric()),
    ],
)
def test_they_move_and_are_not_merged(make: Any) -> None:
    metric = make()
    metric.update(torch.rand(3))
    metric.to("meta")
    parts = [part for part in metric.modules() if isinstance(part, SumMetric)]
    assert all(part.value.device.type == "meta" for part in parts)
    with pytest.raises(UsageError, match="cannot be merged"):
        make().merge_state(make())
