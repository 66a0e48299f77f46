"""What several processes log, brought together when an epoch or a stretch of steps ends.

Reading never communicates; here, and only here, all ranks take part. What they logged is compared first, so
that a value which one of them did not log is an error, and no wait without an end.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from fulmen.core.log_arguments import LogArguments
from fulmen.engine.slots import COLLECTION, BaseSlot, MetricSlot, Slot
from fulmen.errors import DistributedError
from fulmen.runtime.collectives import Collectives
from fulmen.runtime.packing import GATHER, Part, combine

if TYPE_CHECKING:
    from fulmen.engine.logbook import Logbook

_OWN_REDUCTION = "a callable of the user's"


class Described(NamedTuple):
    """A slot in words that mean the same in another process."""

    hook: str
    loader: int | None
    name: str
    metric: str | None
    """The place of a metric object in the module."""
    arguments: tuple[Any, ...]
    place: str
    """Where in the user's code it was logged first."""

    @property
    def identity(self) -> tuple[Any, ...]:
        """What has to be the same for all ranks."""
        return self[:-1]

    def __str__(self) -> str:
        return f"{self.name or self.metric!r} in `{self.hook}` ({self.place})"


def find_common(
    logbook: Logbook, slots: list[BaseSlot], module: nn.Module | None, *, all_had_batches: bool = False
) -> list[BaseSlot]:
    """Of these slots, those that are for all ranks, in a common order.

    A rank that logged nothing gets the slots of the others, unless it had a batch as they had. Raises
    `DistributedError` where ranks that did log have logged different things.
    """
    collectives = logbook.collectives
    has_metrics = any(isinstance(slot, MetricSlot) for slot in slots)
    parts = module.named_modules() if module is not None and has_metrics else ()
    paths = {id(part): path for path, part in parts}
    own = {_describe(slot, paths): slot for slot in slots if not slot.arguments.rank_zero_only}
    ordered = sorted(own, key=lambda described: repr(described.identity))
    if _are_the_same(ordered, collectives):
        return [own[described] for described in ordered]
    everybody: list[list[Described]] = collectives.gather_objects(ordered)
    _check_same([each for each in enumerate(everybody) if each[1] or all_had_batches])
    if own:
        return [own[described] for described in ordered]
    return [_open(logbook, described, module) for described in next(filter(None, everybody))]


def _describe(slot: BaseSlot, paths: dict[int, str]) -> Described:
    arguments = slot.arguments
    if callable(arguments.reduce_fx):
        arguments = arguments._replace(reduce_fx=_OWN_REDUCTION)
    metric = paths.get(id(slot.metric), slot.name) if isinstance(slot, MetricSlot) else None
    name = slot.name if metric is None or not slot.name.startswith(COLLECTION) else ""
    return Described(slot.hook, slot.loader, name, metric, tuple(arguments), slot.place)


def _are_the_same(described: list[Described], collectives: Collectives) -> bool:
    """Whether all ranks have the same: one small collective, for what is nearly always so."""
    digest = zlib.crc32(repr([each.identity for each in described]).encode())
    return len(set(collectives.all_gather(torch.tensor(digest)).tolist())) == 1


def _check_same(logged: list[tuple[int, list[Described]]]) -> None:
    union = {each.identity: each for _, described in logged for each in described}
    missing = {
        str(each): ranks
        for identity, each in union.items()
        if (ranks := [rank for rank, own in logged if identity not in {each.identity for each in own}])
    }
    if missing:
        raise DistributedError(
            "Some ranks logged what others did not.",
            received="; ".join(f"{what}: not on rank {_listed(ranks)}" for what, ranks in missing.items()),
            expected="the same names with the same arguments on every rank",
            fix="log them on all ranks, or with rank_zero_only=True on rank 0",
        )


def _listed(ranks: list[int]) -> str:
    return ", ".join(map(str, ranks))


def _open(logbook: Logbook, described: Described, module: nn.Module | None) -> BaseSlot:
    """The slot that others have logged to."""
    before = logbook.slots
    logbook.slots = logbook.scope(described.hook, described.loader)
    try:
        arguments = LogArguments(*described.arguments)
        if described.metric is None:
            if arguments.reduce_fx == _OWN_REDUCTION:
                arguments = arguments._replace(reduce_fx=_nothing)
            return logbook.open_slot(described.name, 0.0, arguments)
        metric = module.get_submodule(described.metric) if module is not None else None
        assert metric is not None
        slot = logbook.open_metric_slot(described.name, metric, arguments)
        slot.add(metric)
        return slot
    finally:
        logbook.slots = before


def _nothing(values: Tensor) -> Tensor:
    """Of the values of others: this rank does not know the callable."""
    return torch.tensor(torch.nan)


def reduce_slots(slots: Iterable[BaseSlot], collectives: Collectives) -> None:
    """Let numbers hold what they came to on all ranks."""
    numbers = [slot for slot in slots if isinstance(slot, Slot)]
    parts = [slot.parts() for slot in numbers]
    combined = iter(combine([part for own in parts for part in own], collectives))
    for slot, own in zip(numbers, parts, strict=True):
        slot.take_combined([next(combined) for _ in own])


def reduce_step_values(slots: list[BaseSlot], collectives: Collectives) -> None:
    """Let the last values of those that are to be synchronised be those of all ranks together."""
    wanted = [slot for slot in slots if isinstance(slot, Slot) and slot.arguments.sync_dist]
    operations = ["sum" if slot.reduction == "mean" else slot.reduction for slot in wanted]
    parts = [
        Part([_as_tensor(slot.last)], operation if isinstance(operation, str) else GATHER)
        for slot, operation in zip(wanted, operations, strict=True)
    ]
    for slot, ranks in zip(wanted, combine(parts, collectives), strict=True):
        if callable(slot.reduction):
            slot.last = slot.reduction(torch.stack([tensor for rank in ranks for tensor in rank]))
        else:
            slot.last = ranks[0][0] / collectives.size if slot.reduction == "mean" else ranks[0][0]


def _as_tensor(value: Any) -> Tensor:
    return value.detach() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
