"""Regression at the edges: nothing, one sample, all the same, NaN, far from zero, and what cannot be."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics.functional.regression as theirs
import torchmetrics.regression
from scipy import stats
from sklearn import metrics as sk

from fulmen.errors import ConfigError, UsageError
from fulmen.metrics import MetricCollection
from fulmen.metrics import regression as classes
from fulmen.metrics.blocks import MOST_WAITING
from fulmen.metrics.functional import regression as functions
from fulmen.metrics.regression import (
    ConcordanceCorrCoef,
    CosineSimilarity,
    ExplainedVariance,
    KendallRankCorrCoef,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MinkowskiDistance,
    PearsonCorrCoef,
    R2Score,
    SpearmanCorrCoef,
)
from fulmen.metrics.regression.moments import PairMetric

ONES = torch.ones(6)
RAMP = torch.arange(6.0)
PAIR_METRICS = [ConcordanceCorrCoef, ExplainedVariance, PearsonCorrCoef, R2Score]


def of(metric: Any, *batches: tuple[torch.Tensor, ...]) -> torch.Tensor:
    for batch in batches:
        metric.update(*batch)
    return metric.compute()


def drawn(size: int, offset: float = 0.0, outputs: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(size)
    shape = (size, outputs) if outputs else (size,)
    target = torch.randn(shape, generator=generator)
    return target + torch.randn(shape, generator=generator) + offset, target + offset


# ----------------------------------------------------------------------------------------------- moments


@pytest.mark.parametrize("offset", [0, 60, 110, 1e6])
@pytest.mark.parametrize("sizes", [(5000,), (50_000,), (110_000,), (8,) * 625, (3, 4000, 1, 996)], ids=str)
def test_moments_far_from_zero_are_as_in_float64(sizes: tuple[int, ...], offset: float) -> None:
    preds, target = drawn(sum(sizes), offset=offset)
    p, t = preds.double().numpy(), target.double().numpy()
    expected: dict[Any, Callable[[], Any]] = {
        PearsonCorrCoef: lambda: stats.pearsonr(p, t)[0],
        R2Score: lambda: sk.r2_score(t, p),
        ExplainedVariance: lambda: sk.explained_variance_score(t, p),
        MeanSquaredError: lambda: sk.mean_squared_error(t, p),
        MeanAbsoluteError: lambda: sk.mean_absolute_error(t, p),
        ConcordanceCorrCoef: lambda: (
            2 * np.cov(p, t, ddof=0)[0, 1] / (p.var() + t.var() + (p - t).mean() ** 2)
        ),
    }
    for kind, reference in expected.items():
        batches = list(zip(preds.split(sizes), target.split(sizes), strict=True))
        exact = pytest.approx(reference(), rel=1e-6)  # differences are taken in float32
        if issubclass(kind, PairMetric):
            exact = pytest.approx(reference(), rel=1e-9, abs=1e-9)
        assert of(kind().set_dtype(torch.float64), *batches).item() == exact
        half = len(batches) // 2
        merged = kind().set_dtype(torch.float64)
        for share in (batches[:half], batches[half:]):
            other = kind()
            for batch in share:
                other.update(*batch)
            merged.merge_state(other)
        assert merged.compute().item() == exact


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_correlation_does_not_depend_on_scale(scale: float) -> None:
    preds, target = (values.double() for values in drawn(500))
    value = functions.pearson_corrcoef(preds * scale, target)
    assert value.item() == pytest.approx(stats.pearsonr(preds.numpy(), target.numpy())[0], rel=1e-12)


@pytest.mark.parametrize("constant", [1.0, 0.1, 1e6 + 0.1, -3e-9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_targets_that_are_all_the_same(constant: float, dtype: torch.dtype) -> None:
    target = torch.full((1000,), constant, dtype=dtype)
    preds = target + torch.linspace(0, 1, 1000, dtype=dtype) * max(abs(constant), 1)
    assert of(R2Score(), (preds, target)) == 0
    assert of(R2Score(), (target, target)) == 1
    assert of(R2Score(multioutput="variance_weighted"), (target, target)) == 1
    assert of(ExplainedVariance(), (preds, target)) == 0
    assert of(ExplainedVariance(), (target, target)) == 1
    assert of(PearsonCorrCoef(), (preds, target)).isnan()
    assert of(PearsonCorrCoef(), (target, preds)).isnan()
    assert of(ConcordanceCorrCoef(), (preds, target)).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", PAIR_METRICS)
def test_one_sample_and_none(kind: Any) -> None:
    one = of(kind(), (torch.tensor([2.0]), torch.tensor([3.0])))
    if kind is ExplainedVariance:
        assert one == sk.explained_variance_score([3.0], [2.0])
    elif kind is not ConcordanceCorrCoef:
        assert one.isnan()
    assert of(kind(), (torch.empty(0), torch.empty(0))).isnan()
    with pytest.warns(UserWarning, match="before"):
        assert kind().compute().isnan()


def test_adjusted_r2_needs_enough_samples() -> None:
    preds, target = drawn(7)
    plain = functions.r2_score(preds, target)
    assert functions.r2_score(preds, target, adjusted=6) == plain
    assert functions.r2_score(preds, target, adjusted=5) < plain
    expected = 1 - (1 - plain) * 6 / 1
    torch.testing.assert_close(functions.r2_score(preds, target, adjusted=5), expected)


def test_batches_of_different_numbers_of_outputs() -> None:
    metric = R2Score()
    metric.update(*drawn(20_000, outputs=2))
    with pytest.raises(UsageError, match="received: 2, 3"):
        metric.update(*drawn(20_000, outputs=3))


# ----------------------------------------------------------------------------------------- many, and waiting


@pytest.mark.parametrize("name", [n for n in classes.__all__ if n != "KendallRankCorrCoef"])
def test_small_batches_and_large_ones_come_to_the_same(name: str) -> None:
    options = {"p": 2} if name == "MinkowskiDistance" else {}
    outputs = 2 if name == "CosineSimilarity" else 0
    preds, target = (values.abs() for values in drawn(70_000, outputs=outputs))
    kind = getattr(classes, name)
    whole = of(kind(**options), (preds, target))
    sizes = [3] * 200 + [40_000, 1, 0, 69_999 - 40_600]
    parts = list(zip(preds.split(sizes), target.split(sizes), strict=True))
    torch.testing.assert_close(of(kind(**options), *parts), whole, rtol=1e-6, atol=1e-6)
    called = kind(**options)
    for part in parts:
        called(*part)
    torch.testing.assert_close(called.compute(), whole, rtol=1e-6, atol=1e-6)


def test_what_waits_does_not_grow() -> None:
    metric = MeanSquaredError()
    for _ in range(300):
        metric.update(*drawn(8))
        assert len(metric.recent) < MOST_WAITING
    for _ in range(300):
        metric(*drawn(8))
        assert len(metric.recent) < MOST_WAITING
    metric.update(*drawn(100_000))
    assert sum(batch.numel() for batch in metric.recent) < MOST_WAITING * 8


@pytest.mark.parametrize("kind", [MeanSquaredError, MeanAbsolutePercentageError, PearsonCorrCoef, R2Score])
def test_a_batch_may_be_written_over(kind: Any) -> None:
    preds, target = drawn(16)
    expected = of(kind(), (preds.clone(), target.clone()))
    metric = kind()
    metric.update(preds, target)
    preds.zero_()
    target.zero_()
    assert metric.compute() == expected


def test_computing_changes_nothing() -> None:
    metric = PearsonCorrCoef()
    metric.update(*drawn(16))
    before = dict(metric.metric_state)
    batches = [batch.clone() for batch in metric.recent]
    metric.compute()
    assert all(metric.metric_state[name] is state for name, state in before.items())
    assert all(torch.equal(own, batch) for own, batch in zip(metric.recent, batches, strict=True))


def test_double_precision_inputs_are_not_changed_in_place() -> None:
    preds, target = (values.double() for values in drawn(16))
    metric = PearsonCorrCoef()
    metric.update(preds, target)
    assert metric.compute() == metric.clone().compute()
    metric._computed = None
    assert metric.compute() == of(PearsonCorrCoef(), (preds, target))


def test_integers_and_small_types() -> None:
    preds, target = (
        torch.tensor([0, 200, 255], dtype=torch.uint8),
        torch.tensor([255, 0, 1], dtype=torch.uint8),
    )
    expected = sk.mean_squared_error(target.double(), preds.double())
    assert of(MeanSquaredError(), (preds, target)).item() == pytest.approx(expected)
    assert functions.mean_squared_error(preds, target).dtype is torch.float32
    big = torch.tensor([60000.0, -60000.0], dtype=torch.float16)
    assert of(MeanSquaredError(), (big, -big)).item() == pytest.approx(float((2 * big[0].double()) ** 2))
    preds, target = drawn(9)
    assert functions.r2_score(preds, target).dtype is torch.float32
    assert functions.r2_score(preds.double(), target.double()).dtype is torch.float64


def test_metrics_that_keep_the_same_share_it() -> None:
    collection = MetricCollection(
        {
            "mse": MeanSquaredError(),
            "rmse": MeanSquaredError(squared=False),
            "mae": MeanAbsoluteError(),
            "r2": R2Score(),
            "explained": ExplainedVariance(),
            "pearson": PearsonCorrCoef(),
            "concordance": ConcordanceCorrCoef(),
            "spearman": SpearmanCorrCoef(),
            "kendall": KendallRankCorrCoef(),
        }
    )
    groups = {frozenset(names) for names in collection.compute_groups.values()}
    assert groups == {
        frozenset({"mse", "rmse"}),
        frozenset({"mae"}),
        frozenset({"r2", "explained"}),
        frozenset({"pearson", "concordance"}),
        frozenset({"spearman", "kendall"}),
    }
    for size in (200, 3, 5000):
        collection.update(*drawn(size))
    batches = [drawn(size) for size in (200, 3, 5000)]
    for name, metric in collection.items():
        assert collection.compute()[name] == of(
            type(metric)(**({"squared": False} if name == "rmse" else {})), *batches
        )


@pytest.mark.parametrize(
    "kind", [MeanSquaredError, MeanAbsoluteError, MeanAbsolutePercentageError, PearsonCorrCoef, R2Score]
)
def test_gradients_flow_through_values(kind: Any) -> None:
    assert kind.is_differentiable
    preds, target = (values.double() for values in drawn(6))
    preds.requires_grad_()
    metric = kind().set_dtype(torch.float64)
    assert torch.autograd.gradcheck(lambda p: metric(p, target), preds)


# ------------------------------------------------------------------------------------------- ranks and angles


@pytest.mark.parametrize("kind", [SpearmanCorrCoef, KendallRankCorrCoef])
def test_ranks_without_an_order(kind: Any) -> None:
    assert of(kind(), (ONES, RAMP)).isnan()
    assert of(kind(), (RAMP, ONES)).isnan()
    assert of(kind(), (RAMP[:1], RAMP[:1])).isnan()
    assert of(kind(), (RAMP[:0], RAMP[:0])).isnan()
    spoiled = RAMP.clone()
    spoiled[2] = torch.nan
    assert of(kind(), (spoiled, RAMP)).isnan()
    assert of(kind(), (RAMP, RAMP * 3)) == 1
    assert of(kind(), (RAMP, -RAMP)) == -1


@pytest.mark.parametrize("size", [2, 3, 4, 5, 17, 64, 65, 1000])
@pytest.mark.parametrize("grades", [1, 3, 1000])
def test_kendall_of_any_number_of_samples(size: int, grades: int) -> None:
    preds, target = ((values * grades).round() for values in drawn(size))
    value: Any = functions.kendall_rank_corrcoef(preds, target)
    expected: Any = stats.kendalltau(preds.double(), target.double())
    torch.testing.assert_close(
        value.double(), torch.tensor(expected.statistic).double(), rtol=1e-6, atol=1e-6, equal_nan=True
    )


@pytest.mark.parametrize("alternative", ["two-sided", "less", "greater"])
def test_where_kendall_is_undefined_so_is_its_p_value(alternative: Any) -> None:
    preds, target = torch.tensor([1.0, 1, 1]), torch.tensor([1.0, 2, 3])
    value = functions.kendall_rank_corrcoef(preds, target, t_test=True, alternative=alternative)
    assert torch.stack(value).isnan().all()  # pyright: ignore[reportArgumentType]


def test_kendall_of_many_samples_needs_little_memory() -> None:
    preds, target = drawn(200_000)  # all pairs would be 40 GB
    expected: Any = stats.kendalltau(preds, target)
    value: Any = functions.kendall_rank_corrcoef(preds, target)
    assert value.item() == pytest.approx(expected.statistic, rel=1e-6)


def test_vectors_without_a_direction() -> None:
    vectors = torch.tensor([[0.0, 0.0], [3e-20, 4e-20], [1e18, 0.0]])
    others = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    torch.testing.assert_close(of(CosineSimilarity("none"), (vectors, others)), torch.tensor([0.0, 1.0, 0.0]))


def test_small_targets_have_percentages_too() -> None:
    preds, target = torch.tensor([1.5e-9, 3e-9]), torch.tensor([1e-9, 2e-9])
    assert of(MeanAbsolutePercentageError(), (preds, target)).item() == pytest.approx(0.5)


# ------------------------------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize("name", classes.__all__)
def test_shapes_that_do_not_fit_are_named(name: str) -> None:
    metric = getattr(classes, name)(**({"p": 2} if name == "MinkowskiDistance" else {}))
    with pytest.raises(UsageError, match=re.escape("preds of shape (8, 2), target of shape (3, 2)")):
        metric.update(torch.rand(8, 2), torch.rand(3, 2))
    with pytest.raises(UsageError, match="the same shape"):
        metric.update(torch.rand(8, 1), torch.rand(8))
    assert not metric.update_called


@pytest.mark.parametrize(
    "kind", [MeanSquaredError, MeanAbsoluteError, PearsonCorrCoef, SpearmanCorrCoef, KendallRankCorrCoef]
)
def test_the_number_of_outputs_must_be_right(kind: Any) -> None:
    metric = kind(num_outputs=3)
    for wrong in (torch.rand(8), torch.rand(8, 2)):
        with pytest.raises(UsageError, match=re.escape(f"{tuple(wrong.shape)}, num_outputs=3")):
            metric.update(wrong, wrong)


@pytest.mark.parametrize("kind", [R2Score, ExplainedVariance, PearsonCorrCoef, SpearmanCorrCoef])
def test_more_than_two_dimensions(kind: Any) -> None:
    with pytest.raises(UsageError, match=r"dimensions|outputs"):
        kind().update(torch.rand(2, 3, 4), torch.rand(2, 3, 4))


@pytest.mark.parametrize(
    "make",
    [
        lambda: MeanSquaredError(squared=3),  # pyright: ignore[reportArgumentType]
        lambda: MeanSquaredError(num_outputs=0),
        lambda: R2Score(adjusted=-1),
        lambda: R2Score(multioutput="all"),  # pyright: ignore[reportArgumentType]
        lambda: ExplainedVariance(multioutput="all"),  # pyright: ignore[reportArgumentType]
        lambda: KendallRankCorrCoef(variant="d"),  # pyright: ignore[reportArgumentType]
        lambda: KendallRankCorrCoef(t_test=1),  # pyright: ignore[reportArgumentType]
        lambda: KendallRankCorrCoef(t_test=True, alternative=None),
        lambda: CosineSimilarity("all"),  # pyright: ignore[reportArgumentType]
        lambda: MinkowskiDistance(p=0.5),
    ],
)
def test_options_that_cannot_be(make: Callable[[], Any]) -> None:
    with pytest.raises(ConfigError, match=r"received: .*\n.*expected"):
        make()


# -------------------------------------------------------------------------------------------- torchmetrics


@pytest.mark.parametrize("name", [n for n in functions.__all__ if n != "concordance_corrcoef"])
def test_functions_agree_with_torchmetrics(name: str) -> None:
    preds, target = (values.abs() + 0.1 for values in drawn(40, outputs=2))
    options = {"p": 3} if name == "minkowski_distance" else {}
    ours = getattr(functions, name)(preds, target, **options)
    torch.testing.assert_close(ours, getattr(theirs, name)(preds, target, **options), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in classes.__all__ if n != "ConcordanceCorrCoef"])
def test_classes_agree_with_torchmetrics(name: str) -> None:
    options = {"p": 3} if name == "MinkowskiDistance" else {}
    outputs = 2 if name == "CosineSimilarity" else 0
    batches = [tuple(v.abs() + 0.1 for v in drawn(size, outputs=outputs)) for size in (40, 9)]
    reference = getattr(torchmetrics.regression, name)(**options)
    torch.testing.assert_close(
        of(getattr(classes, name)(**options), *batches), of(reference, *batches), rtol=1e-4, atol=1e-5
    )
