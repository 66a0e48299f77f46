"""What a checkpoint holds of a logbook: an epoch taken up in its middle comes to the same values."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from fulmen.base.tree import map_leaves
from fulmen.core.log_arguments import LogArguments
from fulmen.engine.logbook import Logbook
from fulmen.engine.slots import COLLECTION, OWN_REDUCTION, BaseSlot, MetricSlot, Slot


def logbook_state(logbook: Logbook, module: nn.Module) -> dict[str, Any]:
    """The tables, and what was logged in the epoch under way, as plain data and tensors."""
    logbook.settle()
    paths = {id(part): path for path, part in module.named_modules()}
    return {
        "callback": dict(logbook.callback_table),
        "logged": dict(logbook.logged_table),
        "progress_bar": dict(logbook.progress_bar_table),
        "slots": [
            {"hook": slot.hook, "loader": slot.loader, "name": slot.name} | entry
            for slots in logbook.opened.values()
            for slot in slots
            if (slot.used or slot.fresh) and (entry := _slot_state(slot, paths))
        ],
    }


def _slot_state(slot: BaseSlot, paths: dict[int, str]) -> dict[str, Any] | None:
    shared = {"used": slot.used, "step": slot.step_values() if slot.fresh else None}
    if isinstance(slot, Slot):
        reduction = slot.reduction if isinstance(slot.reduction, str) else OWN_REDUCTION
        arguments = list(slot.arguments._replace(reduce_fx=reduction))
        so_far = slot.partial()[0] if reduction == OWN_REDUCTION and slot.used else None
        return {"arguments": arguments, "state": slot.state_dict(), "so_far": so_far, **shared}
    assert isinstance(slot, MetricSlot)
    path = paths.get(id(slot.metric))
    if path is None:  # not part of the module: nothing can be found under its name later
        return None
    return {"arguments": list(slot.arguments._replace(reduce_fx="mean")), "metric": path, **shared}


def load_logbook_state(logbook: Logbook, state: dict[str, Any], module: nn.Module, device: Any) -> None:
    """Take up a state that `logbook_state` gave; the metrics of `module` have theirs already."""
    state = map_leaves(state, Tensor, lambda tensor: tensor.to(device))
    logbook.callback_table.update(state["callback"])
    logbook.logged_table.update(state["logged"])
    logbook.progress_bar_table.update(state["progress_bar"])
    parts = dict(module.named_modules())
    for entry in state["slots"]:
        logbook.slots = logbook.scope(entry["hook"], entry["loader"])
        arguments = LogArguments(*entry["arguments"])
        if "metric" not in entry:
            own = arguments.reduce_fx == OWN_REDUCTION
            if own:  # nobody knows the callable until `log` is called with it; till then, its value stands
                arguments = arguments._replace(reduce_fx=partial(_as_it_was, entry["so_far"]))
            slot = logbook.open_slot(entry["name"], 0.0, arguments)
            assert isinstance(slot, Slot)
            slot.load_state_dict(entry["state"])
        elif entry["metric"] in parts:
            metric = parts[entry["metric"]]
            of_collection = entry["name"].startswith(COLLECTION)
            name = f"{COLLECTION} {id(metric)}" if of_collection else entry["name"]
            slot = logbook.open_slot(name, metric, arguments)
            if entry["used"]:
                slot.add(metric)
        else:
            continue
        slot.provisional = True
        if entry.get("step") is not None:
            slot.restore_step_values(entry["step"])
    logbook.slots = {}


def _as_it_was(value: Tensor, values: Tensor) -> Tensor:
    return value


# ---------------------------------------------------------------------------------------------------- metrics


@runtime_checkable
class _KeepsStates(Protocol):
    """torchmetrics' metrics: what was accumulated is in no `state_dict`."""

    metric_state: dict[str, Any]
    _update_count: int
    _computed: Any


def metric_states(module: nn.Module) -> dict[str, Any]:
    """What the metrics in a module have accumulated, by their place in it."""
    for part in module.modules():
        if isinstance(part, nn.ModuleDict) and isinstance(part, _SharesStates):
            part.items()  # metrics that are updated as one get their states when they are looked at
    return {
        path: {"states": part.metric_state, "updates": part._update_count}
        for path, part in module.named_modules()
        if isinstance(part, _KeepsStates) and (part._update_count or isinstance(part, _OutlivesReset))
    }


def lasting_states(module: nn.Module) -> dict[str, Any]:
    """What `metric_states` gives of metrics with states of more than one epoch."""
    states = metric_states(module)
    return {path: states[path] for path in states if isinstance(module.get_submodule(path), _OutlivesReset)}


def metric_updates(module: nn.Module) -> dict[str, int]:
    """How often each metric in a module was updated since it was reset; of their states nothing is copied."""
    return {
        path: part._update_count
        for path, part in module.named_modules()
        if isinstance(part, _KeepsStates) and part._update_count
    }


@runtime_checkable
class _OutlivesReset(Protocol):
    """Metrics with states of more than one epoch."""

    outlives_reset: bool


@runtime_checkable
class _SharesStates(Protocol):
    compute_groups: Any


def load_metric_states(module: nn.Module, states: dict[str, Any], device: Any) -> None:
    """Take up what `metric_states` gave; metrics that the module does not have any more are left out."""
    parts = dict(module.named_modules())
    for path, saved in states.items():
        metric: Any = parts.get(path)
        if isinstance(metric, _KeepsStates):
            for name, value in map_leaves(saved["states"], Tensor, lambda tensor: tensor.to(device)).items():
                setattr(metric, name, value)
            metric._update_count, metric._computed = saved["updates"], None
