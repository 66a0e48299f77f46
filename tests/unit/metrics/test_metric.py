"""The base of all metrics."""

from __future__ import annotations

import copy
import io
import pickle
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fulmen.errors import ConfigError, UsageError
from fulmen.metrics import MeanMetric, Metric

from .kinds import Average, Differences, Extremes, InPlace, Total

FIRST, SECOND = torch.tensor([1.0, 2.0]), torch.tensor([6.0])


def test_a_call_gives_the_value_of_the_batch_and_adds_it() -> None:
    metric = Average()
    assert metric(FIRST) == 1.5
    assert metric(SECOND) == 6
    assert metric.compute() == 3
    assert metric.update_count == 2


def test_a_call_updates_once() -> None:
    before = Average.updates
    Average()(FIRST)
    assert Average.updates == before + 1


def test_states_of_each_kind_are_added_to() -> None:
    batches = [torch.tensor([3.0, -1.0]), torch.tensor([5.0]), torch.tensor([0.0, 2.0, 4.0])]
    called, updated = Extremes(), Extremes()
    for batch in batches:
        value = called(batch)
        assert value == {
            "most": batch.max(), "least": batch.min(), "mean": batch.mean(), "median": batch.median(),
            "squares": batch.square().sum(),
        }  # fmt: skip
        updated.update(batch)
    whole = torch.cat(batches)
    for metric in (called, updated):
        values = metric.compute()
        assert (values["most"], values["least"]) == (5, -1)
        assert values["mean"].item() == pytest.approx((1 + 5 + 2) / 3)
        assert values["median"] == whole.median()
        assert values["squares"] == whole.square().sum()


def test_what_depends_on_the_past_sees_it() -> None:
    metric = Differences()
    assert [metric(torch.tensor(x)).item() for x in (3.0, 1.0, 2.0)] == [
        3,
        1,
        2,
    ]  # each batch alone, from 0 on
    assert metric.compute() == 3 + 2 + 1


def test_without_a_value_per_step() -> None:
    metric = Average(compute_on_step=False)
    assert metric(FIRST) is None
    assert metric.compute() == 1.5


def test_old_code_gives_the_first_arguments_by_position() -> None:
    metric = Average()
    Metric.__init__(metric, False, True)
    assert not metric.compute_on_step
    assert metric.dist_sync_on_step


def test_an_unknown_argument_is_an_error() -> None:
    with pytest.raises(TypeError, match="nonsense"):
        Average(nonsense=1)


def test_computed_before_any_update_is_said_once(recwarn: pytest.WarningsRecorder) -> None:
    Average().compute()
    Average().compute()
    assert [str(w.message) for w in recwarn] == [
        "`Average.compute` was called before `update`: the value is that of no data."
    ]


def test_a_result_is_kept_until_the_next_update() -> None:
    metric = Average()
    metric.update(FIRST)
    value = metric.compute()
    assert metric.compute() is value
    metric.update(SECOND)
    assert metric.compute() == 3


def test_a_result_need_not_be_kept() -> None:
    metric = Average(compute_with_cache=False)
    metric.update(FIRST)
    assert metric.compute() is not metric.compute()


def test_super_is_neither_counted_nor_kept() -> None:
    class Doubled(Average):
        def update(self, values: Tensor, scale: float = 1.0) -> None:
            super().update(values, scale)

        def compute(self) -> Tensor:
            return super().compute() * 2

    metric = Doubled()
    metric.update(FIRST)
    assert metric.update_count == 1
    assert metric.compute() == 3
    assert metric(SECOND) == 12


def test_update_and_compute_may_come_from_a_plain_class() -> None:
    class Mixin:
        total: Tensor

        def update(self, values: Tensor) -> None:
            self.total = self.total + values.sum()

        def compute(self) -> Tensor:
            return self.total

    class Mixed(Mixin, Metric):  # pyright: ignore[reportIncompatibleMethodOverride]
        def __init__(self) -> None:
            super().__init__()
            self.add_state("total", torch.tensor(0.0), "sum")

    metric = Mixed()
    assert metric(FIRST) == 3
    assert metric.update_count == 1


def test_a_metric_without_update_cannot_be_made() -> None:
    class Unfinished(Metric):
        def compute(self) -> None: ...

    with pytest.raises(TypeError, match="update"):
        Unfinished()  # pyright: ignore[reportAbstractUsage]


def test_a_batch_that_cannot_be_added_changes_nothing() -> None:
    metric = Average()
    metric.update(FIRST)
    with pytest.raises(AttributeError):
        metric("no tensor")
    with pytest.raises(AttributeError):
        metric.update("no tensor")  # pyright: ignore[reportArgumentType]
    assert metric.update_count == 1
    assert metric.compute() == 1.5


# ----------------------------------------------------------------------------------------------------- states


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("not a name", torch.tensor(0)), "received: 'not a name'"),
        (("x", 0.0), "received: 0.0"),
        (("x", [torch.tensor(0)]), "a tensor or an empty list"),
        (("x", torch.tensor(0), "average"), "one of 'sum', 'mean', 'max', 'min', 'cat', None"),
    ],
)
def test_a_state_that_cannot_be(arguments: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        Average().add_state(*arguments)


def test_the_default_is_a_copy() -> None:
    default = torch.tensor(0.0)
    metric: Any = InPlace()
    metric.add_state("more", default, "sum")
    metric.more += 1
    metric.update(FIRST)
    metric.reset()
    assert default == 0
    assert metric.more == metric.total == 0


def test_states_changed_in_place_survive_inference_mode() -> None:
    metric = InPlace()
    with torch.inference_mode():
        metric.reset()
        metric.update(FIRST)
    metric.update(SECOND)
    assert metric.compute() == 9


def test_merging_adds_what_another_has() -> None:
    one, other = Extremes(), Extremes()
    one.update(torch.tensor([3.0, -1.0]))
    other.update(torch.tensor([5.0]))
    other.update(torch.tensor([0.0, 2.0, 4.0]))
    one.merge_state(other)
    assert one.update_count == 3
    assert one.compute()["mean"].item() == pytest.approx((1 + 5 + 2) / 3)
    assert other.compute()["most"] == 5
    states = Average()
    states.merge_state({"total": torch.tensor(4.0), "count": torch.tensor(2)})
    assert states.compute() == 2


def test_merging_with_itself_doubles() -> None:
    metric = Extremes()
    metric.update(FIRST)
    metric.merge_state(metric)
    assert (len(metric.all), metric.update_count) == (2, 2)


def test_merging_different_kinds_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"received: Extremes\n  expected: Average"):
        Average().merge_state(Extremes())


def test_gradients_flow_through_the_value_of_a_batch() -> None:
    values = torch.tensor([1.0, 3.0], requires_grad=True)
    metric = Average()
    metric(torch.ones(2))
    metric(values).backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0.5, 0.5]
    assert not metric.total.requires_grad
    copy.deepcopy(metric)  # although the last value hangs on a graph
    pickle.dumps(metric)


def test_a_state_that_was_an_integer_keeps_no_graph() -> None:
    class Sum(Metric):
        total: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.add_state("total", torch.tensor(0), "sum")

        def update(self, values: Tensor) -> None:
            self.total = self.total + values.sum()

        def compute(self) -> Tensor:
            return self.total

    metric = Sum()
    metric.update(torch.ones(2, requires_grad=True))
    assert not metric.total.requires_grad


def test_what_grows_can_be_kept_in_host_memory() -> None:
    metric = Extremes(compute_on_cpu=True).to("meta")
    for add in (metric.update, metric):
        with pytest.raises(NotImplementedError, match="meta"):  # which has nothing to copy: it was tried
            add(torch.ones(3, device="meta"))


# ----------------------------------------------------------------------------------------- module and object


def test_moves_take_states_along_and_types_do_not() -> None:
    metric = Extremes()
    metric.update(FIRST)
    metric.half()
    assert metric.most.dtype is torch.float32
    model = nn.Sequential(metric).to("meta")
    assert metric.device.type == metric.most.device.type == metric.all[0].device.type == "meta"
    model.to_empty(device="cpu")
    metric.reset()
    assert metric.device.type == metric.most.device.type == "cpu"


def test_the_type_can_be_set() -> None:
    metric = Average()
    metric.update(FIRST)
    assert metric.set_dtype(torch.float64) is metric
    assert metric.total.dtype is metric.dtype is torch.float64
    assert metric.count.dtype is torch.int64
    metric.reset()
    assert metric.total.dtype is torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_states_do_not_get_narrower_with_the_type(dtype: torch.dtype) -> None:
    ones = torch.ones(1000, dtype=dtype)
    mean = MeanMetric()
    mean.update(ones)
    assert mean.compute().dtype is torch.float32
    assert mean.set_dtype(dtype).compute().dtype is dtype
    for _ in range(99):
        mean.update(ones)
    assert mean.compute() == 1
    assert mean.compute().dtype is dtype
    mean.reset()
    assert mean.weight.dtype is torch.float64
    own = Average().set_dtype(dtype)
    assert own.total.dtype is torch.float32


def test_only_persistent_states_are_in_the_state_dict() -> None:
    metric = Extremes()
    metric.add_state("kept", torch.tensor(1.0), persistent=True)
    assert list(nn.ModuleDict({"m": metric}).state_dict()) == ["m.kept"]
    metric.persistent(True)
    metric.update(FIRST)
    other = Extremes()
    other.add_state("kept", torch.tensor(0.0))
    other.persistent(True)
    stored = io.BytesIO()
    torch.save(metric.state_dict(), stored)
    stored.seek(0)
    other.load_state_dict(torch.load(stored))
    assert other.kept == 1
    assert other.compute()["median"] == metric.compute()["median"]


def test_a_missing_persistent_state_is_an_error() -> None:
    metric = Average()
    metric.persistent(True)
    with pytest.raises(RuntimeError, match=r"Missing key.*total"):
        metric.load_state_dict({"count": torch.tensor(1)})


def test_metrics_are_told_apart() -> None:
    one, other = Average(), Average()
    assert one == one
    assert one != other
    assert len({one, other, one}) == 2
    assert hash(one) == hash(one)


def test_there_is_nothing_to_go_through() -> None:
    with pytest.raises(TypeError):
        iter(Average())


# ------------------------------------------------------------------------------------------------- processes


def two_ranks(tensor: Tensor, group: Any) -> list[Tensor]:
    """As if another rank had the double."""
    return [tensor, tensor * 2]


def test_states_are_gathered_by_a_function_of_the_users() -> None:
    metric = Extremes(dist_sync_fn=two_ranks, distributed_available_fn=lambda: True)
    metric.update(torch.tensor([1.0, 4.0]))
    values = metric.compute()
    assert (values["most"], values["least"], values["median"], values["squares"]) == (8, 1, 2, 17 * 3)
    assert metric.most == 4


def test_sync_and_unsync() -> None:
    metric = Total(dist_sync_fn=two_ranks)
    metric.update(FIRST)
    metric.sync(distributed_available=lambda: True)
    assert metric.compute() == 9
    with pytest.raises(UsageError, match="unsync"):
        metric.update(FIRST)
    with pytest.raises(UsageError, match="unsync"):
        metric.sync(distributed_available=lambda: True)
    metric.unsync()
    assert metric.compute() == 3
    with pytest.raises(UsageError, match="nothing is synchronised"):
        metric.unsync()
    with metric.sync_context(distributed_available=lambda: True):
        assert metric.compute() == 9
    assert metric.compute() == 3


def test_alone_nothing_is_synchronised() -> None:
    metric = Total()
    metric.update(FIRST)
    with metric.sync_context():
        assert metric.compute() == 3


def test_the_value_of_a_batch_can_be_that_of_all_processes() -> None:
    metric = Total(dist_sync_fn=two_ranks, distributed_available_fn=lambda: True, dist_sync_on_step=True)
    assert metric(FIRST) == 9
    assert metric(SECOND) == 18
    assert metric.total == 9


def test_a_process_group_is_not_copied() -> None:
    class Connection:
        def __reduce__(self) -> Any:
            raise TypeError("A connection cannot be copied.")

    connection = Connection()
    metric = Average(process_group=connection)
    assert metric.clone().process_group is connection
    assert copy.deepcopy(nn.ModuleList([metric]))[0].process_group is connection
