"""Metrics that get the same batches."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
import torchmetrics
from torch import nn

from fulmen.errors import ConfigError
from fulmen.metrics import CompositionalMetric, MetricCollection, MinMaxMetric

from .kinds import Average, Extremes, InPlace, Total

FIRST, SECOND = torch.tensor([1.0, 2.0]), torch.tensor([6.0])


def both(**arguments: Any) -> MetricCollection:
    return MetricCollection([Average(), Total()], **arguments)


@pytest.fixture
def updates() -> Any:
    """How many updates there were since."""
    before = Average.updates
    return lambda: Average.updates - before


@pytest.mark.filterwarnings("ignore:.*before `update`")
def test_values_by_name() -> None:
    collection = both(prefix="val/", postfix="_x")
    assert collection(FIRST) == {"val/Average_x": 1.5, "val/Total_x": 3}
    collection.update(SECOND)
    assert collection.compute() == {"val/Average_x": 3, "val/Total_x": 9}
    collection.reset()
    assert collection["Total"].compute() == 0


@pytest.mark.filterwarnings("ignore:.*before `update`")
def test_given_in_any_form() -> None:
    assert list(MetricCollection(Average())) == ["Average"]
    assert list(MetricCollection(Average(), Total())) == ["Average", "Total"]
    assert list(MetricCollection((Average(), Total()))) == ["Average", "Total"]
    assert list(MetricCollection({"b": Average(), "a": Average()})) == ["a", "b"]
    inner = both(prefix="in_", postfix="_q")
    assert list(MetricCollection([inner, Extremes()], prefix="p/")) == [
        "p/in_Average_q", "p/in_Total_q", "p/Extremes"
    ]  # fmt: skip
    assert list(MetricCollection({"x": inner, "y": Extremes()})) == ["x_in_Average_q", "x_in_Total_q", "y"]
    collection = both()
    collection.add_metrics({"more": Total()})
    assert list(collection) == ["Average", "Total", "more"]


def test_what_cannot_be_part_of_one() -> None:
    with pytest.raises(ConfigError, match="Two metrics of a collection are called 'Average'"):
        MetricCollection([Average(), Average()])
    with pytest.raises(ConfigError, match="received: Linear"):
        MetricCollection(nn.Linear(1, 1))
    with pytest.raises(ConfigError, match="received: int"):
        MetricCollection({"one": 1})
    with pytest.raises(ConfigError, match="in a dict and besides it"):
        MetricCollection({"one": Average()}, Total())


def test_the_same_states_are_updated_once(updates: Any) -> None:
    collection = both()
    collection.update(FIRST)
    collection(SECOND)
    assert updates() == 2
    assert collection.compute_groups == {0: ["Average", "Total"]}
    assert collection["Total"].update_count == 2
    assert collection["Total"].total is collection["Average"].total


def test_states_may_be_kept_apart(updates: Any) -> None:
    collection = both(compute_groups=False)
    assert collection(FIRST) == {"Average": 1.5, "Total": 3}
    assert updates() == 2
    assert collection.compute_groups == {0: ["Average"], 1: ["Total"]}


def test_who_shares_may_be_said(updates: Any) -> None:
    collection = MetricCollection(
        [Average(), Total(), InPlace()], compute_groups=[["Average", "Total"], ["InPlace"]]
    )
    collection.update(FIRST)
    assert collection.compute() == {"Average": 1.5, "Total": 3, "InPlace": 3}
    assert updates() == 1


def test_one_that_is_updated_alone_goes_on_alone() -> None:
    collection = both()
    collection.update(FIRST)
    collection["Total"].update(SECOND)
    assert collection.compute() == {"Average": 1.5, "Total": 9}
    collection.update(torch.tensor([5.0]))
    assert collection.compute() == {"Average": pytest.approx(8 / 3), "Total": 14}
    assert collection(SECOND) == {"Average": 6, "Total": 6}


def test_after_a_reset_all_share_again(updates: Any) -> None:
    collection = both()
    collection["Total"].update(SECOND)
    collection.reset()
    before = updates()
    collection.update(FIRST)
    assert updates() == before + 1


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), MetricCollection.clone]
)
def test_copies_share_among_themselves(copied: Any, updates: Any) -> None:
    collection = both()
    collection.update(FIRST)
    other = copied(collection)
    other.update(SECOND)
    assert updates() == 2
    assert other.compute() == {"Average": 3, "Total": 9}
    assert collection.compute() == {"Average": 1.5, "Total": 3}


def test_states_that_were_loaded_are_shared_again(updates: Any) -> None:
    collection, loaded = both(), both()
    for each in (collection, loaded):
        each.persistent(True)
    collection.update(FIRST)
    loaded.load_state_dict(copy.deepcopy(collection.state_dict()))
    loaded.update(SECOND)
    assert updates() == 2
    assert loaded.compute() == {"Average": 3, "Total": 9}


def test_moved_or_of_another_type_they_still_share(updates: Any) -> None:
    collection = both()
    collection.update(FIRST)
    nn.ModuleList([collection]).to("cpu").double()
    collection.set_dtype(torch.float64)
    collection.update(SECOND)
    assert updates() == 2
    assert collection["Total"].compute().dtype is torch.float64


def test_each_gets_the_keywords_that_it_takes() -> None:
    collection = MetricCollection([Average(), Extremes()])
    collection.update(values=FIRST, scale=2.0)
    assert collection.compute()["Average"] == 3
    assert collection(values=FIRST, scale=3.0)["Average"] == 4.5


def test_a_metric_of_several_values_gives_each_its_name() -> None:
    values = MetricCollection([Extremes()], prefix="p/")(FIRST)
    assert list(values) == ["p/most", "p/least", "p/mean", "p/median", "p/squares"]
    two = MetricCollection({"a": Extremes(), "b": Extremes()})(FIRST)
    assert list(two)[:2] == ["a_most", "a_least"]
    assert len(two) == 10


def test_metrics_of_another_library_are_at_home() -> None:
    collection = MetricCollection({"ours": Average(), "theirs": torchmetrics.MeanMetric()}, prefix="m/")
    assert collection(FIRST) == {"m/ours": 1.5, "m/theirs": 1.5}
    collection.update(SECOND)
    assert collection.compute() == {"m/ours": 3, "m/theirs": 3}
    collection.reset()
    assert not collection["theirs"].update_called
    assert collection.clone(prefix="n/").keys() == {"n/ours", "n/theirs"}


def test_as_a_dict() -> None:
    collection = both(prefix="p/")
    assert list(collection.keys()) == list(collection) == ["p/Average", "p/Total"]
    assert list(collection.keys(keep_base=True)) == ["Average", "Total"]
    assert [name for name, _ in collection.items()] == ["p/Average", "p/Total"]
    assert collection["p/Total"] is collection["Total"]
    assert "p/Total" in collection
    assert "Total" in collection
    assert "Nothing" not in collection
    with pytest.raises(KeyError):
        collection["Nothing"]
    assert len(collection) == 2
    assert collection.metric_state.keys() == {"p/Average", "p/Total"}


@pytest.mark.parametrize("kind", [Total, InPlace, torchmetrics.SumMetric])
@pytest.mark.parametrize("options", [{}, {"compute_groups": False}, {"compute_groups": [["a", "again"]]}])
def test_a_metric_gets_each_batch_once_in_however_many_it_is(kind: Any, options: dict[str, Any]) -> None:
    one, other = kind(), Average()
    derived: dict[str, Any] = {"f": other * one, "part": CompositionalMetric(torch.div, one, 2)}
    derived |= {"ends": MinMaxMetric(one), "more": MinMaxMetric(one)}
    collection = MetricCollection({"a": one, "again": one, **derived}, **options)
    collection.update(FIRST)
    assert collection.compute() == {
        "a": 3, "again": 3, "f": 4.5, "part": 1.5,
        "ends_raw": 3, "ends_max": 3, "ends_min": 3, "more_raw": 3, "more_max": 3, "more_min": 3,
    }  # fmt: skip
    values = collection(SECOND)
    assert [values[name] for name in ("a", "again", "f", "part", "ends_max")] == [6, 6, 36, 3, 6]
    assert [values[name] for name in ("a", "f")] == [one._forward_cache, derived["f"]._forward_cache]
    assert [collection.compute()[name] for name in ("a", "again", "f", "part")] == [9, 9, 27, 4.5]
    counts = {metric.update_count for metric in (one, other, *derived.values())}
    assert counts == {2}
    for copied in (copy.deepcopy(collection), pickle.loads(pickle.dumps(collection))):
        copied.update(SECOND)
        assert [copied.compute()[name] for name in ("a", "again", "f", "part")] == [15, 15, 15 * 15 / 4, 7.5]
    collection.reset()
    collection.update(SECOND)
    assert [collection.compute()[name] for name in ("a", "again", "f", "part")] == [6, 6, 36, 3]


def test_terms_share_their_states_too(updates: Any) -> None:
    collection = MetricCollection({"both": Average() + Total(), "total": Total(), "other": Total() - 1})
    collection.update(FIRST)
    collection(SECOND)
    assert updates() == 2
    assert collection.compute() == {"both": 12, "other": 8, "total": 9}
    assert collection.compute_groups == {0: ["total"], 1: ["both"], 2: ["other"]}


def test_one_that_changes_its_batches_gets_them_itself() -> None:
    class Doubled(MinMaxMetric):
        def update(self, values: torch.Tensor) -> None:
            super().update(2 * values)

    total = Total()
    collection = MetricCollection(
        {"ends": Doubled(Total()), "total": total, "sum": Doubled(total)["raw"] + 1}
    )
    collection.update(FIRST)
    assert collection["ends"].compute()["raw"] == 6
    assert collection["sum"].compute() == 3 + 6 + 1  # `total` is given two different batches
