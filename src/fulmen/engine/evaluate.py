"""Validation and test: one pass over each loader, nothing learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from fulmen.base.overrides import is_overridden
from fulmen.core.modes import remember_modes
from fulmen.core.module import LightningModule
from fulmen.engine.data import (
    END,
    BatchStream,
    Limit,
    Loaders,
    prepare_evaluation_loaders,
    transfer_to,
)
from fulmen.engine.dispatch import check_batch_hooks, method, spanned, step_caller
from fulmen.engine.loaders import begin_pass
from fulmen.engine.logbook import OUTSIDE
from fulmen.engine.position import evaluation_start, loading_epoch
from fulmen.engine.progress import QuietPoint
from fulmen.engine.replay import Start
from fulmen.engine.states import RunningStage, TrainerFn

if TYPE_CHECKING:
    from fulmen.engine.run import Run


def load_evaluation_data(run: Run, kind: str, *, limit: Limit | None = None) -> Loaders:
    """Ask for the loaders of one kind, unless they are there and still good."""
    loaders = run.loaders.get(kind)
    every = run.data_options.reload_dataloaders_every_n_epochs
    epoch = run.progress.epoch
    stale = (
        loaders is not None
        and run.fn is TrainerFn.FITTING
        and every
        and loaders.loaded_at_epoch is not None
        and epoch - loaders.loaded_at_epoch >= every
    )
    if loaders is None or stale:
        loaders = prepare_evaluation_loaders(
            run.sources[kind].request(),
            kind,
            limit=run.data_options.limit(kind) if limit is None else limit,
            overfit=run.data_options.overfit_batches if kind == "val" and run.fn is TrainerFn.FITTING else 0,
            world=run.strategy.world,
            shards=run.data_options.use_distributed_sampler,
            seeds_data=run.fn is TrainerFn.FITTING and run.data_options.exact_data,
        )
        loaders.loaded_at_epoch = loading_epoch(run, kind)
        run.loaders[kind] = loaders
    return loaders


def evaluate(run: Run, stage: str, *, most_batches: float = float("inf")) -> list[dict[str, float]]:
    """Score the module; returns the epoch's values, one dict per loader. `stage` is "validation" or "test".

    on_*_start, on_*_epoch_start
    for each loader, for each batch:
        on_*_batch_start, *_step, on_*_batch_end
    on_*_epoch_end, on_*_end
    """
    loaders = load_evaluation_data(run, "val" if stage == "validation" else stage)
    hooks, logbook = run.hooks, run.logbook
    sanity = run.stage is RunningStage.SANITY_CHECKING
    if loaders.are_empty:
        return []
    nowhere = logbook.scope(OUTSIDE)
    logbook.slots = nowhere
    run.in_the_middle = True
    with evaluation_mode(run, stage), gradients_off(run):
        for call in getattr(hooks, f"on_{stage}_start"):
            call()
        for call in getattr(hooks, f"on_{stage}_epoch_start"):
            call()
        several = len(loaders.loaders) > 1
        if several:
            check_batch_hooks(run, stage)
        for index, (loader, length) in enumerate(zip(loaders.loaders, loaders.lengths, strict=True)):
            start = evaluation_start(run, loader, index)
            _evaluate_loader(run, stage, loader, min(length, most_batches), start, index if several else None)
        logbook.dataloader_idx = None
        logbook.slots = nowhere
        logbook.close_epoch(stage)
        for call in getattr(hooks, f"on_{stage}_epoch_end"):
            call()
        step = run.log_step if run.fn is TrainerFn.FITTING else run.progress.optimizer_step
        values = logbook.flush_epoch(stage, step, run.progress.epoch, publish=not sanity)
        if not sanity:
            run.in_the_middle = False
            run.progress.point = QuietPoint.VALIDATED if run.fn is TrainerFn.FITTING else run.progress.point
        for call in getattr(hooks, f"on_{stage}_end"):
            call()
    return split_by_loader(values, len(loaders.loaders))


def _evaluate_loader(
    run: Run, stage: str, loader: Any, length: float, start: Start, dataloader_idx: int | None
) -> None:
    hooks, logbook, signals = run.hooks, run.logbook, run.signals
    index: tuple[int, ...] = () if dataloader_idx is None else (dataloader_idx,)
    logbook.dataloader_idx = dataloader_idx
    scope = logbook.scope(f"{stage}_step", dataloader_idx)
    starts, ends = getattr(hooks, f"on_{stage}_batch_start"), getattr(hooks, f"on_{stage}_batch_end")
    step = evaluation_step(run, f"{stage}_step", several_loaders=dataloader_idx is not None)
    transfer = batch_transfer(run)
    begin_pass(loader, run.progress.epoch)
    send_to = run.strategy.root_device if transfer is None else None
    stream = BatchStream(loader, length, start, send_to=send_to)
    seen_key = (stage, dataloader_idx or 0)
    seen = run.batches_seen.get(seen_key, 0)
    dirty = logbook.dirty[stage]
    hold_every = run.report_options.log_every_n_steps or 1
    batch_idx = 0
    nowhere = logbook.scope(OUTSIDE)
    take = signals.interruptible(stream.take)
    while (batch := take()) is not END:
        logbook.slots = nowhere
        if transfer is not None:
            batch = transfer(batch, dataloader_idx or 0)
        logbook.batch = batch
        run.is_last_batch = stream.is_last
        for call in starts:
            call(batch, batch_idx, *index)
        logbook.slots = scope
        output = step(batch, batch_idx, *index)
        if stream.prefetches:
            stream.prefetch()
        for call in ends:
            call(output, batch, batch_idx, *index)
        if dirty:
            logbook.hold_step(stage, seen + batch_idx)
            if (batch_idx + 1) % hold_every == 0 and run.stage is not RunningStage.SANITY_CHECKING:
                logbook.flush_held()
        batch_idx += 1
        if signals.noted and signals.ends_evaluation(is_last=stream.is_last):
            raise signals.interrupt()
    logbook.batch = None
    if run.stage is not RunningStage.SANITY_CHECKING:
        logbook.flush_held()
        run.batches_seen[seen_key] = seen + batch_idx


def evaluation_step(run: Run, name: str, *, several_loaders: bool) -> Callable[..., Any]:
    """The module's step, in the run's precision."""
    step = step_caller(run, name, method(run, run.module, name), several_loaders=several_loaders)
    step = spanned(run, run.module, name, step)
    context = run.precision.context()
    if context is None:
        return step

    def in_precision(*args: Any) -> Any:
        with context():
            return step(*args)

    return in_precision


def batch_transfer(run: Run) -> Callable[[Any, int], Any] | None:
    """How the loops send a batch to the device; None where there is nothing to do, or the stream does it."""
    owners = (run.datamodule, run.module) if run.datamodule is not None else (run.module,)
    precision = run.precision
    convert = precision.convert_input if precision.converts else None
    return transfer_to(run.strategy.root_device, owners, convert, partial(method, run))


@contextmanager
def evaluation_mode(run: Run, stage: str) -> Iterator[None]:
    """Inside, the module is in evaluation mode; afterwards each of its layers is in the mode it was in."""
    put_modes_back = remember_modes(run.module)
    method(run, run.module, f"on_{stage}_model_eval")()
    restore = f"on_{stage}_model_train"
    own_restore = stage != "predict" and is_overridden(restore, run.module, LightningModule)
    try:
        yield
        if own_restore:
            method(run, run.module, restore)()
    except BaseException:
        own_restore = False
        raise
    finally:
        if not own_restore:
            put_modes_back()


def gradients_off(run: Run) -> Any:
    """The context in which nothing is recorded for backward."""
    if run.fn is TrainerFn.FITTING or not run.report_options.inference_mode:
        return torch.no_grad()  # tensors made in inference mode could not be used in training afterwards
    return torch.inference_mode()


def split_by_loader(values: dict[str, float], count: int) -> list[dict[str, float]]:
    """The values of each loader, told apart by their names; what has no loader in its name belongs to all."""
    marks = [f"/dataloader_idx_{index}" for index in range(count)]
    if count == 1:
        return [values]
    common = {name: value for name, value in values.items() if "/dataloader_idx_" not in name}
    return [{**{n: v for n, v in values.items() if n.endswith(mark)}, **common} for mark in marks]
