"""Every metric, found by introspection, against what all metrics promise, and who else computes the value."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fulmen.metrics
from fulmen.engine.logbook_state import load_metric_states, metric_states
from fulmen.metrics import Metric

from ..architecture.host_reads import watch_reads
from .metric_cases import CASES
from .metric_cases.case import Batch, Case, joined
from .metric_cases.compare import check_close, check_same, tensors_in

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
NOT_COMPUTED = {"CompositionalMetric", "MinMaxMetric", "BootStrapper"}
"""Made by operators; or its value is not that of the batches alone: they have tests of their own."""


def drawn(case: Case) -> list[Batch]:
    return case.batches(torch.Generator().manual_seed(7))


def part(batch: Batch, start: int, stop: int | None) -> Batch:
    """Some samples of a batch."""
    return tuple(argument[start:stop] for argument in batch)


def updated(metric: Metric, batches: Iterable[Batch]) -> Any:
    for batch in batches:
        metric.update(*batch)
    return metric


def mapped(batch: Batch, fn: Any) -> Batch:
    return tuple(fn(argument) if isinstance(argument, Tensor) else argument for argument in batch)


def floating(dtype: torch.dtype) -> Any:
    return lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor


def test_every_metric_has_a_case() -> None:
    public = {name: getattr(fulmen.metrics, name) for name in fulmen.metrics.__all__}
    metrics = {
        name
        for name, thing in public.items()
        if inspect.isclass(thing) and issubclass(thing, Metric) and not inspect.isabstract(thing)
    }
    tested = {type(case.metric()).__name__ for case in CASES}
    facades = {name for name in metrics if "__new__" in vars(public[name])}
    assert metrics - facades - NOT_COMPUTED <= tested


def test_names_of_cases_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


@every_case
def test_batch_by_batch_is_the_reference(case: Case) -> None:
    batches = drawn(case)
    assert len(batches) >= 3
    metric = updated(case.metric(), batches)
    assert metric.update_count == len(batches)
    check_close(metric.compute(), case.reference(*joined(batches)), case.tolerance)


@every_case
def test_whole_is_the_reference(case: Case) -> None:
    whole = joined(drawn(case))
    expected = case.reference(*whole)
    check_close(updated(case.metric(), [whole]).compute(), expected, case.tolerance)
    if case.functional is not None:
        check_close(case.functional(*whole), expected, case.tolerance)


@every_case
def test_called_it_gives_the_value_of_the_batch(case: Case) -> None:
    metric = case.metric()
    for batch in drawn(case):
        value = metric(*batch)
        check_close(value, case.reference(*batch), case.tolerance)
    check_close(metric.compute(), case.reference(*joined(drawn(case))), case.tolerance)


@every_case
def test_a_call_updates_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = case.metric()
    updates = []
    kind: Any = type(metric)
    raw = kind.update.raw
    monkeypatch.setitem(
        vars(kind.update), "raw", lambda *args, **kwargs: updates.append(1) or raw(*args, **kwargs)
    )
    metric(*drawn(case)[0])
    assert len(updates) <= 1  # none where the metric leaves it to others


@every_case
def test_results_are_kept_until_the_next_update(case: Case) -> None:
    first, second, *_ = drawn(case)
    metric = updated(case.metric(), [first])
    value = metric.compute()
    assert metric.compute() is value or not metric.metric_state  # then others keep what it is made of
    before = copy.deepcopy(value)
    metric.update(*second)
    metric.compute()
    check_same(value, before)


@every_case
def test_inputs_are_left_as_they_are(case: Case) -> None:
    batch = drawn(case)[0]
    before = copy.deepcopy(batch)
    metric = case.metric()
    metric(*batch)
    metric.update(*batch)
    metric.compute()
    check_same(batch, before)


@every_case
def test_after_a_reset_it_is_new(case: Case) -> None:
    first, second, *_ = drawn(case)
    metric = updated(case.metric(), [first, second])
    metric.compute()
    metric.reset()
    assert not metric.update_called
    check_same(updated(metric, [second]).compute(), updated(case.metric(), [second]).compute())


@every_case
def test_an_empty_batch_adds_nothing(case: Case) -> None:
    batches = drawn(case)
    empty = part(batches[0], 0, 0)
    metric = updated(case.metric(), [empty, *batches, empty])
    check_close(metric.compute(), case.reference(*joined(batches)), case.tolerance)


@every_case
def test_what_was_computed_before_any_update_is_said_to_be(case: Case) -> None:
    with pytest.warns(UserWarning, match="before"):
        case.metric().compute()


@every_case
def test_merged_shares_are_the_reference(case: Case) -> None:
    batches = drawn(case)
    if not case.metric().metric_state:
        pytest.skip("its states are those of other metrics")
    metric = updated(case.metric(), batches[:1])
    metric.merge_state(updated(case.metric(), batches[1:]))
    metric.merge_state(case.metric())
    check_close(metric.compute(), case.reference(*joined(batches)), case.tolerance)


@every_case
def test_pickled_or_cloned_midway_it_goes_on(case: Case) -> None:
    first, *others = drawn(case)
    metric = updated(case.metric(), [first])
    whole = updated(case.metric(), [first, *others]).compute()
    for copied in (pickle.loads(pickle.dumps(metric)), metric.clone(), copy.deepcopy(metric)):
        check_same(updated(copied, others).compute(), whole)
    assert metric.update_count == 1


@every_case
def test_taken_up_from_a_checkpoint_it_goes_on(case: Case) -> None:
    first, *others = drawn(case)
    whole = updated(case.metric(), [first, *others]).compute()
    saved = nn.ModuleDict({"metric": updated(case.metric(), [first])})
    states = pickle.loads(pickle.dumps(metric_states(saved)))
    taken_up = nn.ModuleDict({"metric": case.metric()})
    load_metric_states(taken_up, states, "cpu")
    metric: Any = taken_up["metric"]
    check_same(updated(metric, others).compute(), whole)


@every_case
def test_persistent_states_are_in_the_state_dict(case: Case) -> None:
    first, *others = drawn(case)
    saved, loaded = case.metric(), case.metric()
    assert not saved.state_dict()
    for metric in (saved, loaded):
        metric.persistent(True)
    updated(saved, [first])
    loaded.load_state_dict(saved.state_dict())
    check_same(updated(loaded, others).compute(), updated(saved, others).compute())


@every_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_inputs_in_half_precision(case: Case, dtype: torch.dtype) -> None:
    batches = drawn(case)
    if not case.half or not any(argument.is_floating_point() for argument in tensors_in(batches)):
        pytest.skip("has no inputs in half precision")
    halves = [mapped(batch, floating(dtype)) for batch in batches]
    # Of the very numbers that half precision holds: what is computed with them need not be rounded so.
    expected = case.reference(*joined([mapped(batch, floating(torch.float32)) for batch in halves]))
    check_close(updated(case.metric(), halves).compute(), expected, case.half_tolerance)


@every_case
def test_what_is_computed_has_the_type_that_was_set(case: Case) -> None:
    batches = drawn(case)
    metric = case.metric().set_dtype(torch.float64)
    value = updated(metric, [mapped(batch, floating(torch.float64)) for batch in batches]).compute()
    floats = [tensor for tensor in tensors_in(value) if tensor.is_floating_point()]
    assert all(tensor.dtype is torch.float64 for tensor in floats)
    plain = updated(case.metric().half(), batches).compute()
    floats = [tensor for tensor in tensors_in(plain) if tensor.is_floating_point()]
    assert all(tensor.dtype is torch.float32 for tensor in floats)


@every_case
def test_in_inference_mode_and_out_of_it(case: Case) -> None:
    batches = drawn(case)
    metric = case.metric()
    with torch.inference_mode():
        metric.update(*batches[0])
        metric(*batches[1])
    value = updated(metric, batches[2:]).compute()
    check_close(value, case.reference(*joined(batches)), case.tolerance)


@every_case
def test_no_graph_is_kept(case: Case) -> None:
    metric = case.metric()
    for batch in drawn(case):
        graded = mapped(batch, lambda t: t.clone().requires_grad_() if t.is_floating_point() else t)
        metric.update(*graded)
        metric(*graded)
    kept = [m for m in metric.modules() if isinstance(m, Metric)]
    assert not any(tensor.requires_grad for m in kept for tensor in tensors_in(m.metric_state))


@every_case
def test_an_update_on_an_accelerator_reads_nothing(case: Case) -> None:
    """On the device "meta" there is nothing that could be read: who tries raises."""
    if case.reads_values:
        pytest.skip("looks at values by its nature")
    metric = case.metric().to("meta")
    batches = [mapped(batch, lambda tensor: tensor.to("meta")) for batch in drawn(case)]
    reads: list[str] = []
    with watch_reads(reads.append):
        updated(metric, batches)
    assert not reads
