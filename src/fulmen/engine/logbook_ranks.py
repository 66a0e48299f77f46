"""What several processes log, brought together when an epoch or a stretch of steps ends.

Reading never communicates; here, and only here, all ranks take part. What they logged is compared in the same
message, so that a value which one of them did not log is an error, and no wait without an end.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from fulmen.core.log_arguments import LogArguments
from fulmen.engine.slots import COLLECTION, OWN_REDUCTION, BaseSlot, MetricSlot, Slot
from fulmen.errors import DistributedError
from fulmen.runtime.packing import GATHER, Part, combine, combine_alike

if TYPE_CHECKING:
    from fulmen.engine.logbook import Logbook


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
    identity: str
    """All but the place, which has to be the same for all ranks."""

    def __str__(self) -> str:
        return f"{self.name or self.metric!r} in `{self.hook}` ({self.place})"


def reduce_slots(logbook: Logbook, slots: list[BaseSlot], module: nn.Module | None) -> list[BaseSlot]:
    """Let numbers hold what they came to on all ranks; returns the slots for all ranks, in a common order.

    A rank that logged nothing gets the slots of the others.
    """
    combined = _combine(logbook, slots, module, lambda slot: slot.parts() if isinstance(slot, Slot) else [])
    for slot, parts in combined:
        if isinstance(slot, Slot):
            slot.take_combined(parts)
    return [slot for slot, _ in combined]


def reduce_step_values(
    logbook: Logbook, slots: list[BaseSlot], module: nn.Module | None, *, all_had_batches: bool = True
) -> None:
    """Let the last values of those that are to be synchronised be those of all ranks that have one."""
    parts_of = partial(_last_value, is_everywhere=all_had_batches)
    combined = _combine(logbook, slots, module, parts_of, all_had_batches=all_had_batches, metrics=False)
    for slot, parts in combined:
        if not parts:
            continue
        assert isinstance(slot, Slot)
        ranks, *count = parts
        if callable(slot.reduction):
            value: Any = slot.reduction(torch.stack([tensor for rank in ranks for tensor in rank]))
        else:
            value = ranks[0][0] / count[0][0][0] if count else ranks[0][0]
        if slot.fresh:
            slot.last = value
        else:  # the value of others, who had a batch where this rank had none
            slot.restore_step_values({slot.name: value})


def _last_value(slot: BaseSlot, *, is_everywhere: bool) -> list[Part]:
    if not (isinstance(slot, Slot) and slot.arguments.sync_dist):
        return []
    reduction = slot.reduction
    if callable(reduction):
        return [Part([torch.as_tensor(slot.last).detach()] if slot.fresh else [], GATHER)]
    value = slot.last if slot.fresh else {"min": math.inf, "max": -math.inf}.get(reduction, 0.0)
    tensor = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
    if reduction != "mean" or is_everywhere:
        return [Part([tensor if tensor.is_floating_point() else tensor.double()], reduction)]
    return [Part([tensor], "sum"), Part([torch.tensor(float(slot.fresh))], "sum")]


def _combine(
    logbook: Logbook, slots: list[BaseSlot], module: nn.Module | None,
    parts_of: Callable[[BaseSlot], list[Part]], *, all_had_batches: bool = False, metrics: bool = True,
) -> list[tuple[BaseSlot, list[list[list[Tensor]]]]]:  # fmt: skip
    """Those of the slots that are for all ranks, in a common order, each with its parts combined.

    A rank that had no batch gets the slots of the others, of `metrics` where that is wanted. Raises
    `DistributedError` where ranks that had batches have logged different things.
    """
    collectives = logbook.collectives
    _put_in_words(slots, module)
    common = sorted(
        (slot for slot in slots if not slot.arguments.rank_zero_only), key=lambda slot: slot.words.identity
    )
    mark = zlib.crc32("\n".join(slot.words.identity for slot in common).encode())
    parts = [parts_of(slot) for slot in common]
    combined = combine_alike([part for own in parts for part in own], collectives, mark)
    if combined is None:
        everybody: list[list[Described]] = collectives.gather_objects([slot.words for slot in common])
        _check_same(everybody, all_had_batches=all_had_batches)
        own = {slot.words.identity: slot for slot in common}
        wanted = [words for each in everybody for words in each if words.metric is None or metrics]
        union = {words.identity: words for words in wanted}
        common = [own.get(name) or _open(logbook, union[name], module) for name in sorted(union)]
        parts = [parts_of(slot) for slot in common]
        combined = combine([part for own in parts for part in own], collectives)
    remaining = iter(combined)
    return [(slot, [next(remaining) for _ in own]) for slot, own in zip(common, parts, strict=True)]


def _put_in_words(slots: list[BaseSlot], module: nn.Module | None) -> None:
    new = [slot for slot in slots if slot.words is None]
    has_metrics = any(isinstance(slot, MetricSlot) for slot in new)
    parts = module.named_modules() if module is not None and has_metrics else ()
    paths = {id(part): path for path, part in parts}
    for slot in new:
        slot.words = _describe(slot, paths)


def _describe(slot: BaseSlot, paths: dict[int, str]) -> Described:
    arguments = slot.arguments
    if callable(arguments.reduce_fx):
        arguments = arguments._replace(reduce_fx=OWN_REDUCTION)
    metric = paths.get(id(slot.metric), slot.name) if isinstance(slot, MetricSlot) else None
    name = slot.name if metric is None or not slot.name.startswith(COLLECTION) else ""
    identity = (slot.hook, slot.loader, name, metric, tuple(arguments))
    return Described(*identity, slot.place, repr(identity))


def _check_same(everybody: list[list[Described]], *, all_had_batches: bool) -> None:
    union = {each.identity: each for own in everybody for each in own}
    missing = {
        str(each): ranks
        for each in union.values()
        if (ranks := [rank for rank, own in enumerate(everybody) if _lacks(own, each, all_had_batches)])
    }
    if missing:
        raise DistributedError(
            "Some ranks logged what others did not.",
            received="; ".join(f"{what}: not on rank {_listed(ranks)}" for what, ranks in missing.items()),
            expected="the same names with the same arguments on every rank",
            fix="log them on all ranks, or with rank_zero_only=True on rank 0",
        )


def _lacks(own: list[Described], each: Described, all_had_batches: bool) -> bool:
    """Whether a rank that logged its `own` has left out what another one has logged."""
    if each.identity in {described.identity for described in own}:
        return False
    had_batch = any(_needs_batch(other.hook) and other.loader == each.loader for other in own)
    return all_had_batches or had_batch or bool(own and not _needs_batch(each.hook))


def _needs_batch(hook: str) -> bool:
    """Whether a hook is left out in a process that has no batch where others have one."""
    return hook in ("training_step", "validation_step", "test_step") or hook.startswith(
        ("on_validation_batch", "on_test_batch")
    )


def _listed(ranks: list[int]) -> str:
    return ", ".join(map(str, ranks))


def _open(logbook: Logbook, described: Described, module: nn.Module | None) -> BaseSlot:
    """The slot that others have logged to."""
    present = list(logbook.scope(described.hook, described.loader).values())
    _put_in_words(present, module)
    known = next((slot for slot in present if slot.words.identity == described.identity), None)
    if known is not None:
        if isinstance(known, MetricSlot):
            known.add(known.metric)
        return known
    before = logbook.slots
    logbook.slots = logbook.scope(described.hook, described.loader)
    try:
        arguments = LogArguments(*described.arguments)
        if described.metric is None:
            if arguments.reduce_fx == OWN_REDUCTION:
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
