"""Several metrics as one: a batch that is added once, and states that travel between processes together."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn

from fulmen.base.tree import map_leaves
from fulmen.metrics.folding import States, fold, tensors_of
from fulmen.metrics.reductions import dim_zero_cat
from fulmen.metrics.states import Stateful
from fulmen.runtime.collectives import ProcessGroup
from fulmen.runtime.packing import GATHER, REDUCTIONS, Part, combine

if TYPE_CHECKING:
    from fulmen.metrics.metric import Metric

Gather = Callable[..., Iterable[Tensor]]
"""`f(tensor, group)`: the tensors of all ranks."""


def several_processes() -> bool:
    """Whether this process is one of several that can talk to each other."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


# -------------------------------------------------------------------------------------------------- one batch


def step_together(metrics: Sequence[Metric], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Add a batch, with one update, to metrics that keep the same states; returns each one's value of it.

    Gradients flow through the values, not into what is accumulated.
    """
    leader = metrics[0]
    kind: Any = type(leader)
    leader._check_unsynced("forward")
    if not leader._can_be_added_to:
        leader.update(*args, **kwargs)  # this one must see what came before; the value of the batch must not
    before, count = leader.metric_state, leader._update_count
    leader._put_states(leader._fresh_states(), 0)
    try:
        kind.update.raw(leader, *args, **kwargs)
        batch = leader.metric_state
        values = [_value_of(metric, batch) for metric in metrics]
        if leader._can_be_added_to:
            before, count = join_states(leader, [before, batch], [count, 1]), count + 1
    finally:  # also where the batch is one that cannot be added
        for metric in metrics:
            metric._put_states(before, count)
    if leader.compute_on_cpu:
        leader._keep_lists_on_host()
    return values


def join_states(metric: Metric, parts: list[States], counts: Sequence[int]) -> States:
    """What `combine_states` gives, in tensors that `update` may change in place at any time."""
    if not torch.is_inference_mode_enabled():
        return metric.combine_states(parts, counts)
    with torch.inference_mode(False):  # else they could not be changed outside of it
        parts = [{n: s.clone() if isinstance(s, Tensor) else s for n, s in part.items()} for part in parts]
        return metric.combine_states(parts, counts)


def _value_of(metric: Metric, batch: States) -> Any:
    """What a metric comes to on these states alone."""
    metric._put_states(batch, 1)
    kind: Any = type(metric)
    if not metric.dist_sync_on_step:
        return kind.compute.raw(metric)
    with metric.sync_context():
        return kind.compute.raw(metric)


# ------------------------------------------------------------------------------------------ several processes


@contextmanager
def synchronised(modules: Iterable[nn.Module]) -> Generator[None, None, None]:
    """Inside, all metrics in these modules have the states of all processes, which travelled together."""
    found: dict[int, Any] = {
        id(part): part for module in modules for part in module.modules() if isinstance(part, Stateful)
    }
    due: list[Metric] = [metric for metric in found.values() if metric._synchronises]
    alike: dict[Any, list[Metric]] = {}
    for metric in due:
        alike.setdefault((id(metric.process_group), metric.dist_sync_fn), []).append(metric)
    try:
        for together in alike.values():
            synchronise(together, together[0].process_group, together[0].dist_sync_fn)
        yield
    finally:
        for metric in due:
            if metric._before_sync is not None:
                metric.unsync()


def synchronise(metrics: Sequence[Metric], group: Any, gather: Gather | None = None) -> None:
    """Give metrics the states of all processes of a group, and have them keep their own for `unsync`."""
    parts = [_parts_of(metric, joined=gather is not None) for metric in metrics]
    packed = [part for metric_parts in parts for part in metric_parts]
    combined = iter(_combine_by(gather, packed, group) if gather else combine(packed, ProcessGroup(group)))
    for metric, metric_parts in zip(metrics, parts, strict=True):
        taken = _states_of(metric, [next(combined) for _ in metric_parts])
        metric._before_sync = metric.metric_state
        metric._put_states(map_leaves(taken, Tensor, lambda tensor, to=metric.device: tensor.to(to)))


def _parts_of(metric: Metric, *, joined: bool) -> list[Part]:
    """What a metric sends: the number of its batches, and its states; lists to be `joined` as one tensor."""
    count = torch.tensor(metric._update_count, device=metric.device)
    jointly = metric._combines_jointly
    parts = [Part([count], GATHER if jointly else "sum")]
    for name, state in metric._states_to_send().items():
        reduction = metric._reductions[name]
        if isinstance(state, list):
            parts.append(
                Part([dim_zero_cat(state)] if joined and state and reduction == "cat" else state, GATHER)
            )
        elif jointly or not isinstance(reduction, str) or reduction == "cat":
            parts.append(Part([state], GATHER))
        else:
            mean = reduction == "mean"
            parts.append(Part([state * count], "sum") if mean else Part([state], reduction))
    return parts


def _states_of(metric: Metric, combined: list[list[list[Tensor]]]) -> States:
    """The states over all ranks, from what came of the parts that `_parts_of` gave."""
    counts, *of_states = combined
    sent = [(name, default) for name, default in metric._defaults.items() if name not in metric._not_sent]
    named = list(zip(sent, of_states, strict=True))
    if metric._combines_jointly:
        of_ranks: list[States] = [
            metric._fresh_states()
            | {
                name: ranks[rank] if isinstance(default, list) else ranks[rank][0]
                for (name, default), ranks in named
            }
            for rank in range(len(counts))
        ]
        return metric.combine_states(of_ranks, [int(count[0]) for count in counts])
    states = metric._fresh_states()
    for (name, default), ranks in named:
        reduction = metric._reductions[name]
        if isinstance(default, list):
            tensors = [tensor for rank in ranks for tensor in rank]
            states[name] = reduction(tensors) if callable(reduction) and tensors else tensors
        elif reduction == "mean":
            states[name] = ranks[0][0] / counts[0][0].clamp(min=1)
        elif reduction in REDUCTIONS:
            states[name] = ranks[0][0]
        else:
            states[name] = fold(reduction, [rank[0] for rank in ranks], [1] * len(ranks))
    return states


def _combine_by(gather: Gather, parts: Sequence[Part], group: Any) -> list[list[list[Tensor]]]:
    """What `combine` gives, by a function of the user's that gathers one tensor at a time."""
    device = parts[0].tensors[0].device
    combined: list[list[list[Tensor]]] = []
    for tensors, operation in parts:
        if operation == GATHER:
            combined.append(_gather_by(gather, tensors, group, device))
        else:
            of_ranks = list(gather(tensors[0], group))
            combined.append([tensors_of(fold(operation, of_ranks, [1] * len(of_ranks)))])
    return combined


def _gather_by(gather: Gather, tensors: list[Tensor], group: Any, device: torch.device) -> list[list[Tensor]]:
    """The tensors of each rank, of which there may be different numbers: all gather as often as the most."""
    kind = [tensors[0].ndim, _TYPES.index(tensors[0].dtype)] if tensors else [0, 0]
    of_ranks = [row.tolist() for row in gather(torch.tensor([len(tensors), *kind], device=device), group)]
    most, ndim, dtype = max(of_ranks)
    filler = tensors[-1] if tensors else torch.zeros([0] * ndim, dtype=_TYPES[dtype], device=device)
    rounds = [list(gather(tensor, group)) for tensor in tensors + [filler] * (most - len(tensors))]
    return [[of_round[rank] for of_round in rounds[:number]] for rank, (number, *_) in enumerate(of_ranks)]


_TYPES = sorted({kind for kind in vars(torch).values() if isinstance(kind, torch.dtype)}, key=str)
"""All types of tensors, of which a number stands for each."""
