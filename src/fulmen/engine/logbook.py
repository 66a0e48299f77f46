"""What a run logs: filled on the device, flushed in one go, read from plain tables.

`module.log` looks a slot up in `slots`, the dict of the hook that is running, and appends to it. At a flush
everything that is due is packed: one reduction per operation over the ranks, one copy to the host. Loggers,
progress bar and `callback_metrics` read the same tables; reading never communicates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from fulmen.base.seams import outer
from fulmen.base.tree import batch_size
from fulmen.core.hooks import LOG_RULES, LogRule
from fulmen.core.log_arguments import LogArguments
from fulmen.engine.history import History
from fulmen.engine.logbook_ranks import reduce_slots, reduce_step_values
from fulmen.engine.slots import COLLECTION, BaseSlot, MetricSlot, Slot, Value, stack, synchronised
from fulmen.errors import UsageError

if TYPE_CHECKING:
    from fulmen.core.logger import Logger
    from fulmen.runtime.collectives import Collectives
    from fulmen.strategies.strategy import Strategy

SlotTable = dict[str, BaseSlot]
STAGES = ("train", "validation", "test")
OUTSIDE = "outside"
"""The scope in which no hook runs."""


class Entry(NamedTuple):
    """A value on its way to the tables, under the name that loggers and bar show."""

    name: str
    value: Value
    prog_bar: bool
    logger: bool
    step: int | None = None
    """The step it belongs to, where that is not the step of the flush."""


class Logbook:
    """The values of one run, and the tables that users read."""

    def __init__(
        self, strategy: Strategy, loggers: Iterable[Logger], module: nn.Module | None = None
    ) -> None:
        self.loggers = list(loggers)
        self.callback_table: dict[str, Value] = {}
        self.logged_table: dict[str, float] = {}
        self.progress_bar_table: dict[str, float] = {}
        self.history = History()
        self.slots: SlotTable = {}
        """The slots of the hook that is running."""
        self.dataloader_idx: int | None = None
        """Which of several evaluation loaders is under way."""
        self.dirty: dict[str, list[BaseSlot]] = {stage: [] for stage in STAGES}
        """By stage, the slots with step values that no flush has seen."""
        self.opened: dict[str, list[BaseSlot]] = {stage: [] for stage in STAGES}
        """By stage, all slots, in the order in which they were logged to first."""
        self._strategy = strategy
        self._module = module
        self._tables: dict[tuple[str, int | None], ScopedSlots] = {}
        self._held: list[Entry] = []
        self._closing: str | None = None
        self.batch: Any = None
        """The batch under way, of which a mean may need the number of samples."""
        self._counted: tuple[Any, int] = (None, 1)

    @property
    def collectives(self) -> Collectives:
        """How this process talks to others that log."""
        return self._strategy.collectives

    # ------------------------------------------------------------------------------------------------- scopes

    def scope(self, hook: str, dataloader_idx: int | None = None) -> ScopedSlots:
        """The slots of a hook; several evaluation loaders have slots of their own."""
        key = (hook, dataloader_idx)
        if key not in self._tables:
            self._tables[key] = ScopedSlots(hook, dataloader_idx)
        return self._tables[key]

    def within(self, hook: str, *calls: Callable[..., Any]) -> Callable[..., Any]:
        """One callable for all `calls`, with `log` meaning what it means in `hook`.

        It returns what a single call does; of several, -1 if one of them does.
        """
        slots = self.scope(hook)
        single = calls[0] if len(calls) == 1 else None

        def scoped(*args: Any, **kwargs: Any) -> Any:
            before = self.slots
            self.slots = slots if self.dataloader_idx is None else self.scope(hook, self.dataloader_idx)
            try:
                if single is not None:
                    return single(*args, **kwargs)
                result = None
                for call in calls:
                    returned = call(*args, **kwargs)
                    if type(returned) is int and returned == -1:
                        result = -1
                return result
            finally:
                self.slots = before

        return scoped

    # ------------------------------------------------------------------------------------------------ filling

    def open_slot(self, name: str, value: Any, arguments: LogArguments) -> BaseSlot:
        """The slot of a name not logged in this hook before; raises `UsageError` where logging is wrong."""
        slots = self.slots
        hook, loader = (slots.hook, slots.loader) if isinstance(slots, ScopedSlots) else (OUTSIDE, None)
        if "/dataloader_idx_" in name:
            raise UsageError(
                f"`self.log({name!r})` uses a name that tells evaluation loaders apart.",
                fix="another name: the suffix is added where there are several loaders",
            )
        known = slots.get(name)
        if known is not None:
            if known.provisional:
                known.confirm(arguments)
            elif not known.arguments.say_the_same_as(arguments):
                raise UsageError(
                    f"`self.log({name!r})` was called in `{hook}` before, with other arguments.",
                    received=arguments,
                    expected=known.arguments,
                )
            return known
        on_step, on_epoch = _cadence(hook, arguments)
        if (reason := _reason_against(name, hook, arguments)) is not None:
            return outer().refused_slot(self._module, name, hook, arguments, reason)
        suffix = f"/dataloader_idx_{loader}" if loader is not None and arguments.add_dataloader_idx else ""
        if loader and not suffix and any(name in self.scope(hook, index) for index in range(loader)):
            raise UsageError(
                f"`self.log({name!r}, add_dataloader_idx=False)` was called for several loaders.",
                fix="a name of its own for each loader",
            )
        dirty = self.dirty[stage_of(hook)]
        slot: BaseSlot
        if isinstance(value, nn.Module):
            slot = MetricSlot(
                name, value, arguments, on_step=on_step, on_epoch=on_epoch, suffix=suffix, dirty=dirty
            )
        else:
            slot = Slot(
                name, arguments, on_step=on_step, on_epoch=on_epoch, suffix=suffix, dirty=dirty,
                sample_count=self._sample_count,
            )  # fmt: skip
        slot.hook, slot.loader = hook, loader
        slots[name] = slot
        self.opened[stage_of(hook)].append(slot)
        return slot

    def add_collection(self, collection: nn.Module, arguments: LogArguments) -> None:
        """Log a collection of metrics, which computes all its values at once."""
        slot = self.slots.get(_collection_name(collection))
        if slot is None:
            slot = self.open_metric_slot("", collection, arguments)
        slot.add(collection)

    def open_metric_slot(self, name: str, metric: nn.Module, arguments: LogArguments) -> BaseSlot:
        """The slot of a metric, or of a collection, which has no name of its own."""
        of_collection = isinstance(metric, nn.ModuleDict)
        return self.open_slot(_collection_name(metric) if of_collection else name, metric, arguments)

    def _sample_count(self) -> int:
        """Number of samples in the batch under way; found out once per batch, and only when a mean asks."""
        batch, count = self._counted
        if batch is not self.batch:
            count = batch_size(self.batch) or 1
            self._counted = (self.batch, count)
        return count

    # ----------------------------------------------------------------------------------------------- flushing

    def flush_step(self, step: int, epoch: int) -> None:
        """Give the step values logged since the last flush to everybody."""
        if self.collectives.size > 1:
            dirty, all_had_batches = self.dirty["train"], not self._strategy.joins
            reduce_step_values(self, dirty, self._module, all_had_batches=all_had_batches)
        self.settle()
        self._publish(self._take_dirty("train"), step, epoch)

    def hold_step(self, stage: str, step: int) -> None:
        """Keep the step values of an evaluation batch for the next flush; callbacks do not see them."""
        self._held += [entry._replace(value=_kept(entry.value)) for entry in self._take_dirty(stage, step)]

    def flush_held(self) -> None:
        """Give the step values that were held to everybody, one row per step."""
        held, self._held = self._held, []
        numbers = to_host([entry.value for entry in held])
        rows: dict[int, dict[str, float]] = {}
        for entry, number in zip(held, numbers, strict=True):
            assert entry.step is not None
            if entry.prog_bar:
                self.progress_bar_table[entry.name] = number
            if entry.logger:
                rows.setdefault(entry.step, {})[entry.name] = number
        for step, row in rows.items():
            self.log_metrics(row, step, epoch=None)

    def close_epoch(self, stage: str) -> None:
        """The last batch is done: readers now see what the epoch came to, whatever is still logged."""
        self._closing = stage
        self._bring_together()
        self.settle()

    def flush_epoch(self, stage: str, step: int, epoch: int, *, publish: bool = True) -> dict[str, float]:
        """Give the epoch's values to everybody and start anew; returns them by the names loggers show."""
        self._bring_together()
        self.settle()
        entries, steps = self._epoch_entries(stage), self._take_dirty(stage)
        for slot in self._used(stage):
            slot.reset()
        self._closing = None
        self._counted = (None, 1)  # and let the last batch go
        if not publish:
            self._held.clear()
            return {}
        # Readers see the last step values too; loggers get those at their own steps.
        numbers = self._publish([entry._replace(logger=False) for entry in steps] + entries, step, epoch)
        self.logged_table.update({entry.name: numbers[entry.name] for entry in steps if entry.logger})
        return {entry.name: numbers[entry.name] for entry in entries}

    def _take_dirty(self, stage: str, step: int | None = None) -> list[Entry]:
        entries = self._step_entries(stage, step)
        for slot in self.dirty[stage]:
            slot.fresh = False
        self.dirty[stage].clear()
        return entries

    def _step_entries(self, stage: str, step: int | None = None) -> list[Entry]:
        """What no flush has seen yet."""
        return [
            Entry(
                f"{name}_step{slot.suffix}" if slot.on_epoch else name + slot.suffix,
                value,
                slot.prog_bar,
                slot.logger,
                step,
            )
            for slot in self.dirty[stage]
            for name, value in slot.step_values().items()
        ]

    def _epoch_entries(self, stage: str) -> list[Entry]:
        return [
            Entry(name, value, slot.prog_bar, slot.logger)
            for slot in self._due(stage)
            for name, value in slot.epoch_shown.items()
        ]

    def _due(self, stage: str) -> list[BaseSlot]:
        """The slots of a stage that have a value of this epoch."""
        return [slot for slot in self._used(stage) if slot.on_epoch]

    def _used(self, stage: str) -> list[BaseSlot]:
        """The slots of a stage that something was added to in this epoch; also metrics shown by step only."""
        return [slot for slot in self.opened[stage] if slot.used]

    def _bring_together(self) -> None:
        """Let what was logged in the epoch that ends be what all ranks logged."""
        if self.collectives.size == 1 or self._closing is None:
            return
        logged = [slot for slot in self._due(self._closing) if not slot.reduced]
        slots = reduce_slots(self, logged, self._module)
        with synchronised(slots):
            for slot in slots:
                slot.reduced = True
                self._show_epoch_value(slot)

    def settle(self) -> None:
        """Bring `callback_table` up to date with the values of this moment."""
        for slot in self.dirty["train"]:
            for name, value in slot.step_values().items():
                value = _kept(value)
                if slot.on_epoch:
                    self.callback_table[f"{name}_step{slot.suffix}"] = value
                if not (slot.on_epoch and self._closing == "train"):  # then the plain name is the epoch's
                    self.callback_table[name + slot.suffix] = value
        alone = self.collectives.size == 1
        if self._closing is not None:
            for slot in self._due(self._closing):
                if not slot.reduced and (alone or isinstance(slot, Slot)):  # metrics would communicate
                    slot.reduced = alone or slot.arguments.rank_zero_only
                    self._show_epoch_value(slot)

    def _show_epoch_value(self, slot: BaseSlot) -> None:
        values = slot.epoch_values()
        fork = "_epoch" if slot.on_step else ""
        slot.epoch_shown = {f"{name}{fork}{slot.suffix}": value for name, value in values.items()}
        self.callback_table.update(slot.epoch_shown)
        self.callback_table.update({name + slot.suffix: value for name, value in values.items()})

    def _publish(self, entries: list[Entry], step: int, epoch: int) -> dict[str, float]:
        """Copy values to the host, once, and fill the tables from there."""
        if not entries:
            return {}
        numbers = to_host([entry.value for entry in entries])
        shown = {entry.name: number for entry, number in zip(entries, numbers, strict=True)}
        self.progress_bar_table.update({entry.name: shown[entry.name] for entry in entries if entry.prog_bar})
        self.log_metrics({entry.name: shown[entry.name] for entry in entries if entry.logger}, step, epoch)
        return shown

    def log_metrics(self, metrics: Mapping[str, float], step: int, epoch: int | None) -> None:
        """Write host numbers to every logger and to the history; a metric called `step` replaces the step."""
        if not metrics:
            return
        self.logged_table.update(metrics)
        row = dict(metrics)
        step = int(row.pop("step", step))
        self.history.append(step, row)
        if epoch is not None:
            row.setdefault("epoch", epoch)
        if self._strategy.is_global_zero:
            for logger in self.loggers:
                logger.log_metrics(metrics=dict(row), step=step)  # its own, which it may change

    def add_host_values(self, metrics: Mapping[str, float]) -> None:
        """Show numbers that something else than `log` found out in `callback_metrics`."""
        self.callback_table.update(metrics)

    # ------------------------------------------------------------------------------------------------ reading

    def callback_metrics(self) -> dict[str, Tensor]:
        """The latest value of every name, as tensors."""
        self.settle()
        return {name: _as_tensor(value) for name, value in self.callback_table.items()}

    def logged_metrics(self) -> dict[str, Tensor]:
        """The latest value of every name that loggers get, as tensors."""
        unflushed = {entry.name: _kept(entry.value) for entry in self._unflushed() if entry.logger}
        return {name: _as_tensor(value) for name, value in {**self.logged_table, **unflushed}.items()}

    def progress_bar_metrics(self) -> dict[str, float]:
        """What the bar shows: as of the last flush, or of the epoch's end where that is being handled."""
        if self._closing is not None:
            self.settle()
            entries = [entry for entry in self._epoch_entries(self._closing) if entry.prog_bar]
            numbers = to_host([entry.value for entry in entries])
            self.progress_bar_table.update(zip([entry.name for entry in entries], numbers, strict=True))
        return self.progress_bar_table

    def _unflushed(self) -> list[Entry]:
        self.settle()
        held = [entry for stage in STAGES for entry in self._step_entries(stage)]
        return held + (self._epoch_entries(self._closing) if self._closing else [])

    @contextmanager
    def tables_kept(self) -> Iterator[None]:
        """What becomes known inside is forgotten afterwards."""
        before = self.copy_tables()
        yield
        self.put_tables(before)

    def copy_tables(self) -> list[dict[str, Any]]:
        """What readers see, as it is now."""
        return [dict(table) for table in self._read_tables]

    def put_tables(self, copies: list[dict[str, Any]]) -> None:
        """Let readers see what `copy_tables` gave."""
        for table, content in zip(self._read_tables, copies, strict=True):
            table.clear()
            table.update(content)

    @property
    def _read_tables(self) -> list[dict[str, Any]]:
        return [self.callback_table, self.logged_table, self.progress_bar_table]


class ScopedSlots(dict[str, BaseSlot]):
    """The slots of one hook, which know what hook that is."""

    def __init__(self, hook: str, dataloader_idx: int | None) -> None:
        super().__init__()
        self.hook = hook
        self.loader = dataloader_idx


def _collection_name(collection: nn.Module) -> str:
    return f"{COLLECTION} {id(collection)}"


def stage_of(hook: str) -> str:
    """The stage that a hook belongs to."""
    return next((stage for stage in ("validation", "test") if stage in hook), "train")


def _cadence(hook: str, arguments: LogArguments) -> tuple[bool, bool]:
    """Whether a value is logged per step and per epoch, by the rule of the hook it is logged in."""
    by_step = LOG_RULES.get(hook) is LogRule.STEP
    step = by_step if arguments.on_step is None else arguments.on_step
    return step, not by_step if arguments.on_epoch is None else arguments.on_epoch


def _reason_against(name: str, hook: str, arguments: LogArguments) -> UsageError | None:
    """Why a value cannot be logged so; None where it can."""
    rule = LOG_RULES.get(hook, LogRule.NEVER)
    if rule is LogRule.NEVER:
        where = "outside of hooks" if hook == OUTSIDE else f"in `{hook}`"
        return UsageError(
            f"`self.log({name!r})` was called {where}, where logging has no meaning.",
            fix="log in a step, a batch hook or an epoch hook",
        )
    if rule is LogRule.EPOCH and arguments.on_step:
        return UsageError(f"`self.log({name!r}, on_step=True)` was called in `{hook}`, which is no step.")
    if (rule is LogRule.EPOCH and arguments.on_epoch is False) or not any(_cadence(hook, arguments)):
        return UsageError(
            f"`self.log({name!r})` would log nothing in `{hook}`.",
            received=f"on_step={arguments.on_step}, on_epoch={arguments.on_epoch}",
        )
    return None


def _kept(value: Value) -> Value:
    """A step value that stays what it is."""
    return value.clone() if isinstance(value, Tensor) else value


def _as_tensor(value: Value) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(value)


def to_host(values: list[Value]) -> list[float]:
    """All values as Python numbers, with one copy per device and type."""
    numbers: list[Any] = list(values)
    groups: dict[tuple[Any, Any], list[int]] = {}
    for index, value in enumerate(values):
        if isinstance(value, Tensor):
            groups.setdefault((value.device, value.dtype), []).append(index)
    for indices in groups.values():
        for index, number in zip(indices, stack([values[i] for i in indices]).tolist(), strict=True):
            numbers[index] = number
    return numbers
