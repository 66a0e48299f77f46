"""Retrieval: queries without anything, equal scores, bad input, and what torchmetrics agrees with."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch
import torchmetrics.retrieval as torchmetrics_retrieval
from sklearn.metrics import label_ranking_average_precision_score
from torch import Tensor

from fulmen.errors import ConfigError, UsageError
from fulmen.metrics import MetricCollection
from fulmen.metrics.functional.retrieval import (
    retrieval_average_precision,
    retrieval_normalized_dcg,
    retrieval_precision,
    retrieval_recall,
    retrieval_reciprocal_rank,
)
from fulmen.metrics.retrieval import (
    RetrievalMAP,
    RetrievalMRR,
    RetrievalNormalizedDCG,
    RetrievalPrecision,
    RetrievalRecall,
)

METRICS: list[Any] = [RetrievalMRR, RetrievalMAP, RetrievalNormalizedDCG, RetrievalPrecision, RetrievalRecall]
FUNCTIONS: list[Any] = [
    retrieval_reciprocal_rank,
    retrieval_average_precision,
    retrieval_normalized_dcg,
    retrieval_precision,
    retrieval_recall,
]
SCORES = torch.tensor([0.2, 0.3, 0.5, 0.1, 0.3, 0.5, 0.2])
RELEVANT = torch.tensor([False, False, True, False, True, False, True])
QUERIES = torch.tensor([0, 0, 0, 1, 1, 1, 1])
kinds = pytest.mark.parametrize("kind", METRICS)
functions = pytest.mark.parametrize("function", FUNCTIONS)


@kinds
@pytest.mark.parametrize("top_k", [None, 1, 3, 100])
@pytest.mark.parametrize("action", ["neg", "pos", "skip"])
@pytest.mark.parametrize("aggregation", ["mean", "median", "min", "max", lambda values, dim: values.sum(dim)])
@pytest.mark.parametrize("ignore_index", [None, 1])
def test_options_are_those_of_torchmetrics(
    kind: Any, top_k: Any, action: Any, aggregation: Any, ignore_index: Any
) -> None:
    """On scores above 0 that are all different, where it is right."""
    generator = torch.Generator().manual_seed(3)
    preds = torch.randperm(60, generator=generator).add(1).double()
    target = torch.randint(-4, 2, (60,), generator=generator).clamp(min=0)
    indexes = torch.randint(0, 9, (60,), generator=generator)
    metric = kind(action, ignore_index, top_k, aggregation=aggregation)
    theirs = getattr(torchmetrics_retrieval, kind.__name__)(
        action, ignore_index, top_k, aggregation=aggregation
    )
    theirs.update(preds, target, indexes)
    metric.update(preds, target, indexes)
    torch.testing.assert_close(metric.compute(), theirs.compute())


@functions
def test_only_the_order_of_scores_counts(function: Any) -> None:
    preds, target = torch.tensor([0.4, -0.1, 0.9, 0.0]), torch.tensor([1, 1, 0, 1])
    for same in (preds + 10, preds - 10, preds.exp(), preds * 1e30, preds * 1e-42):
        assert function(preds, target) == function(same, target)


@functions
@pytest.mark.parametrize("top_k", [None, 1, 2, 3])
def test_equal_scores_have_no_order(function: Any, top_k: int | None) -> None:
    preds, target = torch.tensor([1.0, 1, 1, 0, -0.0]), torch.tensor([1, 0, 0, 1, 0])
    values = {
        float(function(preds[list(order)], target[list(order)], top_k)) for order in permutations(range(5))
    }
    assert max(values) - min(values) < 1e-7


def test_scores_that_tell_nothing_earn_what_chance_does_or_less() -> None:
    preds, target = torch.zeros(10), torch.arange(10) == 0
    assert retrieval_reciprocal_rank(preds, target) == torch.tensor(1 / 10)
    assert retrieval_average_precision(preds, target) == torch.tensor(1 / 10)
    assert retrieval_precision(preds, target, top_k=5) == torch.tensor(1 / 10)
    assert retrieval_recall(preds, target, top_k=5) == torch.tensor(1 / 2)


def test_the_rank_of_equal_scores_is_that_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(1)
    for size in range(2, 30):
        preds = torch.randint(0, 5, (size,), generator=generator).double()
        target = torch.arange(size) == size // 2
        expected = label_ranking_average_precision_score(target[None].numpy(), preds[None].numpy())
        assert float(retrieval_reciprocal_rank(preds, target)) == pytest.approx(expected)


@kinds
def test_a_query_may_come_in_parts_and_in_any_order(kind: Any) -> None:
    expected = kind(top_k=2)(SCORES, RELEVANT, QUERIES)
    one, other = kind(top_k=2), kind(top_k=2)
    for place in (5, 0, 3, 6):
        one.update(SCORES[place], RELEVANT[place], indexes=QUERIES[place])
    for places in ([1, 4], [2]):
        other.update(SCORES[places], RELEVANT[places], QUERIES[places])
    one.merge_state(other)
    assert one.compute() == expected


@kinds
@pytest.mark.parametrize(
    "names",
    [
        torch.tensor([7, 7, 7, -3, -3, -3, -3]),
        torch.tensor([2**62, 2**62, 2**62, -(2**62), -(2**62), -(2**62), -(2**62)]),
        torch.tensor([1, 1, 1, 0, 0, 0, 0], dtype=torch.uint8),
        torch.tensor([2**31 - 1] * 3 + [-(2**31)] * 4),
    ],
)
def test_queries_are_named_by_any_integers(kind: Any, names: Tensor) -> None:
    assert kind()(SCORES, RELEVANT, names) == kind()(SCORES, RELEVANT, QUERIES)


@kinds
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_of_every_precision(kind: Any, dtype: torch.dtype) -> None:
    assert kind()((SCORES * 8).to(dtype), RELEVANT, QUERIES) == kind()(SCORES, RELEVANT, QUERIES)


def test_scores_that_differ_in_double_precision_only() -> None:
    preds = torch.tensor([1.0, 1.0 + 1e-12], dtype=torch.float64)
    assert retrieval_reciprocal_rank(preds, torch.tensor([0, 1])) == 1
    assert retrieval_reciprocal_rank(preds, torch.tensor([1, 0])) == 0.5


def test_infinite_scores_are_scores() -> None:
    preds = torch.tensor([torch.inf, 1.0, -torch.inf])
    for place, expected in enumerate((1, 1 / 2, 1 / 3)):
        assert retrieval_reciprocal_rank(preds, torch.arange(3) == place) == torch.tensor(expected)


@kinds
def test_a_score_that_is_no_number_spoils_its_query(kind: Any) -> None:
    spoilt = torch.where(torch.arange(7) == 4, torch.nan, SCORES)
    each = kind(aggregation=lambda values, dim: values)
    value = each(spoilt, RELEVANT, QUERIES)
    assert value[1].isnan()
    assert value[0] == each(SCORES, RELEVANT, QUERIES)[0]


# --------------------------------------------------------------------------------------------- nothing there


@kinds
def test_queries_without_anything_relevant(kind: Any) -> None:
    nothing = torch.zeros(7)
    values = {action: kind(action)(SCORES, nothing, QUERIES) for action in ("neg", "pos", "skip")}
    assert values == {"neg": 0, "pos": 1, "skip": 0}
    metric = kind("error")
    metric.update(SCORES, RELEVANT & (QUERIES == 0), QUERIES)
    with pytest.raises(UsageError, match="received: 1 of 2 without one"):
        metric.compute()


@kinds
def test_without_any_item_the_value_is_0(kind: Any) -> None:
    metric = kind(ignore_index=1)
    metric.update(SCORES, torch.ones(7), QUERIES)
    assert metric.compute() == 0
    metric.reset()
    metric.update(SCORES[:0], RELEVANT[:0], QUERIES[:0])
    assert metric.compute() == 0


@functions
def test_of_one_query_without_anything(function: Any) -> None:
    assert function(SCORES, torch.zeros(7).long()) == 0
    with pytest.raises(UsageError, match=r"(?s)received: preds \(0,\).*expected: at least 1"):
        function(SCORES[:0], RELEVANT[:0])


# ------------------------------------------------------------------------------------------------- bad input


@kinds
@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((SCORES, RELEVANT[:3], QUERIES), r"received: preds \(7,\), target \(3,\)"),
        ((SCORES, RELEVANT, QUERIES[:3]), r"received: indexes \(3,\) of torch.int64, preds \(7,\)"),
        ((SCORES, RELEVANT, QUERIES.float()), "indexes .* of torch.float32"),
        ((QUERIES, RELEVANT, QUERIES), "received: preds torch.int64"),
        ((SCORES, -QUERIES, QUERIES), "received: target from -1 to 0"),
    ],
)
def test_what_does_not_fit_is_an_error(kind: Any, batch: Any, message: str) -> None:
    metric = kind()
    with pytest.raises(UsageError, match=message):
        metric.update(*batch)
    assert not metric.preds
    assert not metric.indexes


@pytest.mark.parametrize("kind", [kind for kind in METRICS if kind is not RetrievalNormalizedDCG])
def test_grades_are_an_error_where_they_mean_nothing(kind: Any) -> None:
    with pytest.raises(UsageError, match=r"(?s)from 0 to 3.*expected: 0 or 1.*takes grades"):
        kind().update(SCORES, QUERIES * 3, QUERIES)
    kind(ignore_index=3).update(SCORES, QUERIES * 3, QUERIES)
    with pytest.raises(UsageError, match=r"from 0\.0 to 0\.5, with fractions"):
        kind().update(SCORES, QUERIES / 2, QUERIES)
    kind().update(SCORES, QUERIES.float(), QUERIES)


@kinds
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"empty_target_action": "zero"}, "(?s)`empty_target_action`.*received: 'zero'"),
        ({"ignore_index": 1.5}, "received: 1.5"),
        ({"top_k": 0}, "received: 0"),
        ({"top_k": True}, "received: True"),
        ({"aggregation": "sum"}, "(?s)received: aggregation='sum'.*'mean', 'median'"),
    ],
)
def test_options_that_do_not_exist(kind: Any, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**options)


@functions
def test_a_top_k_of_one_query_that_is_none(function: Any) -> None:
    with pytest.raises(ConfigError, match="received: -1"):
        function(SCORES, RELEVANT, top_k=-1)


def test_precision_of_fewer_items_than_are_asked_for() -> None:
    assert retrieval_precision(SCORES, RELEVANT, top_k=10) == torch.tensor(3 / 10)
    assert retrieval_precision(SCORES, RELEVANT, top_k=10, adaptive_k=True) == torch.tensor(3 / 7)


def test_an_adaptive_k_that_is_no_switch() -> None:
    with pytest.raises(ConfigError, match="received: 1"):
        RetrievalPrecision(adaptive_k=1)  # pyright: ignore[reportArgumentType]


# -------------------------------------------------------------------------------------------------- together


def test_metrics_of_one_kind_of_target_keep_the_same_items() -> None:
    collection = MetricCollection([kind() for kind in METRICS])
    assert len(collection.compute_groups) == 2
    values = collection(SCORES, RELEVANT, indexes=QUERIES)
    for kind in METRICS:
        assert values[kind.__name__] == kind()(SCORES, RELEVANT, QUERIES)


def test_many_queries() -> None:
    """Against the definition, which sorted rows make short."""
    preds = torch.rand(2000, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    target = torch.rand(2000, 50, generator=torch.Generator().manual_seed(2)) < 0.1
    sorted_target = target.gather(1, preds.argsort(dim=1, descending=True))
    expected = (sorted_target / torch.arange(1, 51)).amax(1).mean()
    indexes = torch.arange(2000)[:, None].expand(2000, 50)
    torch.testing.assert_close(RetrievalMRR()(preds, target, indexes), expected)
    recall = (sorted_target[:, :5].sum(1) / target.sum(1).clamp(min=1)).mean()
    torch.testing.assert_close(RetrievalRecall(top_k=5)(preds, target, indexes), recall)
