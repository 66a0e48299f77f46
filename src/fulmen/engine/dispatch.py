"""Who is called when: the catalogue of hooks, resolved to tuples of ready callables.

Done at the start of a run and again at each epoch, so that in the loop a hook nobody overrides costs an empty
`for`. The scope that `log` needs, and the spans of a profiler, are wrapped in here: where they are absent
they cost nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fulmen.base.overrides import accepts, is_overridden, positional_capacity
from fulmen.core.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.hooks import EVENTS, Hook
from fulmen.core.module import LightningModule
from fulmen.engine.progress import QuietPoint
from fulmen.engine.states import TrainerFn
from fulmen.errors import UsageError

if TYPE_CHECKING:
    from fulmen.engine.run import Run

Call = Callable[..., Any]

_EVENTS_OF_MOMENTS = {point.event for point in QuietPoint}


class Dispatch:
    """One tuple of callables per event: `for call in dispatch.on_train_start: call()`."""

    def __init__(self) -> None:
        for hook in EVENTS:
            setattr(self, hook.name, ())
        self.on_train_epoch_end_for_monitors: tuple[Call, ...] = ()

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> tuple[Call, ...]: ...

    def resolve(self, run: Run) -> None:
        """Find out who overrides what, at this moment."""
        for hook in EVENTS:
            setattr(self, hook.name, _event(run, hook, run.callbacks))
        epoch_end = next(hook for hook in EVENTS if hook.name == "on_train_epoch_end")
        monitors = [callback for callback in run.callbacks if callback.monitors_metrics]
        others = [callback for callback in run.callbacks if not callback.monitors_metrics]
        self.on_train_epoch_end = _event(run, epoch_end, others)
        alone = _listeners(run, replace(epoch_end, module=False), monitors)
        self.on_train_epoch_end_for_monitors = _bound(run, epoch_end, alone)


def savers_event(run: Run) -> tuple[Call, ...]:
    """The event of the moment that the run stands at, for those savers who are still to be called in it."""
    left = run.progress.savers_left
    savers = [callback for callback in run.callbacks if callback.state_key in left]
    hook = Hook(run.progress.point.event, module=False)
    return _bound(run, hook, _listeners(run, hook, savers))


def _event(run: Run, hook: Hook, callbacks: list[Callback]) -> tuple[Call, ...]:
    calls = _listeners(run, hook, callbacks)
    if run.adapter is not None:
        calls = run.adapter.event(hook, callbacks, calls)
    return _bound(run, hook, calls)


def _bound(run: Run, hook: Hook, calls: list[Call]) -> tuple[Call, ...]:
    """Nothing where nobody listens; else one callable that calls all, with what `log` means in this hook."""
    return (run.logbook.within(hook.name, *calls),) if calls else ()


def method(run: Run, owner: Any, name: str) -> Call:
    """A method of the user's, to be called as a hook or a step is called."""
    return getattr(owner, name) if run.adapter is None else run.adapter.method(owner, name)


def _listeners(run: Run, hook: Hook, callbacks: list[Callback]) -> list[Call]:
    """The callables of one event, in the order in which they fire."""
    name = hook.name
    from_data: list[Call] = []
    if (
        hook.datamodule
        and run.datamodule is not None
        and is_overridden(name, run.datamodule, LightningDataModule)
    ):
        from_data.append(spanned(run, run.datamodule, name, method(run, run.datamodule, name)))
    # What a hook of the module's changes is in the checkpoint that is saved there.
    savers = [
        callback
        for callback in callbacks
        if callback.saves_checkpoints and name.endswith("_end") and is_overridden(name, callback, Callback)
    ]
    calls = _of_callbacks(run, name, [callback for callback in callbacks if callback not in savers])
    if hook.module and is_overridden(name, run.module, LightningModule):
        calls.append(spanned(run, run.module, name, method(run, run.module, name)))
    if name == "on_exception":  # the others are told of it before the data is
        return calls + from_data
    return _with_savers(run, name, from_data + calls, savers)


def _with_savers(run: Run, name: str, others: list[Call], savers: list[Callback]) -> list[Call]:
    """Savers last, and what is saved meanwhile tells which of them are still to be called."""
    calls = _of_callbacks(run, name, savers)
    alone = len(others) + len(calls) <= 1
    if not savers or alone or run.fn is not TrainerFn.FITTING or name not in _EVENTS_OF_MOMENTS:
        return others + calls
    keys, progress = [saver.state_key for saver in savers], run.progress
    turns = [(keys, call) for call in others]
    turns += [(keys[number:], call) for number, call in enumerate(calls, start=1)]

    def call_in_turn(*args: Any) -> None:
        for left, call in turns:
            progress.savers_left = left
            call(*args)

    return [call_in_turn]


def _of_callbacks(run: Run, name: str, callbacks: list[Callback]) -> list[Call]:
    return [
        spanned(run, callback, name, partial(method(run, callback, name), run.trainer, run.module))
        for callback in callbacks
        if is_overridden(name, callback, Callback)
    ]


def spanned(run: Run, owner: Any, name: str, call: Call) -> Call:
    """`call` inside a span of the profiler that tells whose it is."""
    return in_span(run, f"[{_kind(owner)}]{type(owner).__name__}.{name}", call)


def in_span(run: Run, label: str, call: Call) -> Call:
    """`call` inside a span of the profiler; `call` itself where there is none."""
    profiler = run.profiler
    if profiler is None:
        return call

    def measured(*args: Any, **kwargs: Any) -> Any:
        profiler.start(label)
        try:
            return call(*args, **kwargs)
        finally:
            profiler.stop(label)

    return measured


def _kind(owner: Any) -> str:
    for kind in (LightningModule, LightningDataModule, Callback):
        if isinstance(owner, kind):
            return kind.__name__
    return "Engine"


def overridden_step(run: Run, name: str) -> Call | None:
    """The module's own version of a hook with exactly one callable, or None where it is the default."""
    if not is_overridden(name, run.module, LightningModule):
        return None
    return run.logbook.within(name, spanned(run, run.module, name, method(run, run.module, name)))


def step_caller(run: Run, name: str, call: Call, *, several_loaders: bool = False) -> Call:
    """A step as `f(batch, batch_idx)`, with `dataloader_idx` as well where there are several loaders.

    Raises `UsageError` where the signature cannot take what there is, or requires more.
    """
    capacity = positional_capacity(call)
    parameters = inspect.signature(call).parameters.values()
    required = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    wanted = ("batch", "batch_idx", "dataloader_idx") if several_loaders else ("batch", "batch_idx")
    by_name = several_loaders and capacity < 3 and accepts(call, "dataloader_idx")
    missing = any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters) and not by_name
    too_few = capacity < 1 or (several_loaders and capacity < 3 and not by_name)
    if len(required) > len(wanted) or missing or too_few:
        raise UsageError(
            f"The signature of `{type(run.module).__name__}.{name}` does not fit.",
            received=", ".join(p.name for p in parameters) or "no arguments",
            expected=", ".join(wanted) + (" (there are several loaders)" if several_loaders else ""),
            fix=None if name == "training_step" else f"def {name}(self, batch, batch_idx, dataloader_idx=0)",
        )
    by_hand = name == "training_step" and not run.module.automatic_optimization
    if run.compile is not None and not by_hand:  # of updates in the middle, only what is between them
        call = run.compile(call)
    if by_name:
        return lambda batch, batch_idx, dataloader_idx: call(batch, batch_idx, dataloader_idx=dataloader_idx)
    if capacity < len(wanted):
        return lambda batch, *indices: call(batch)
    return call


def check_batch_hooks(run: Run, stage: str) -> None:
    """Raise `UsageError` for a batch hook that cannot take the index of one of several loaders."""
    for name, count in ((f"on_{stage}_batch_start", 3), (f"on_{stage}_batch_end", 4)):
        owners: list[tuple[Any, type, int]] = [(callback, Callback, count + 2) for callback in run.callbacks]
        for owner, base, wanted in (*owners, (run.module, LightningModule, count)):
            if is_overridden(name, owner, base) and positional_capacity(method(run, owner, name)) < wanted:
                raise UsageError(
                    f"`{type(owner).__name__}.{name}` does not take `dataloader_idx`.",
                    received="several loaders",
                    fix="add dataloader_idx=0 as its last argument",
                )
