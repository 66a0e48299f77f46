"""Training: this file, read from top to bottom, is what a fit does.

fit:        on_fit_start, sanity check, on_train_start, epochs, on_train_end, on_fit_end
an epoch:   on_train_epoch_start, batches, on_train_epoch_end
a batch:    take it, on_train_batch_start, step, learning-rate schedulers, on_train_batch_end, flush what was
            logged, validate if it is due, stop if there is a reason to
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fulmen.base.generators import isolate_rng
from fulmen.base.report import info
from fulmen.engine.agreement import agree_on_length, agree_on_stop
from fulmen.engine.checkpoint import find_place, flush_step, pending_error_check, save_what_waits
from fulmen.engine.data import END, BatchStream, prepare_train_loaders
from fulmen.engine.dispatch import in_span, method, savers_event
from fulmen.engine.evaluate import (
    batch_transfer,
    evaluate,
    evaluation_mode,
    gradients_off,
    load_evaluation_data,
)
from fulmen.engine.interruption import give_way, undone_when_interrupted
from fulmen.engine.loaders import generators_of
from fulmen.engine.logbook import OUTSIDE
from fulmen.engine.logbook_state import lasting_states, load_metric_states
from fulmen.engine.position import (
    apart_from_training,
    loading_epoch,
    open_stream,
    restore_random_state,
)
from fulmen.engine.progress import QuietPoint
from fulmen.engine.schedules import step_schedulers
from fulmen.engine.states import RunningStage
from fulmen.engine.validation import check_every, in_epoch, is_due, wants_validation
from fulmen.errors import ConfigError

if TYPE_CHECKING:
    from fulmen.engine.run import Run


def fit(run: Run) -> None:
    """Train until there is a reason to stop."""
    hooks = run.hooks
    for call in hooks.on_fit_start:
        call()
    take_up_epoch_end(run)
    agree_on_stop(run)
    if run.data_options.limit_train_batches and not reason_to_stop(run):
        sanity_check(run)
    if run.data_options.limit_train_batches:
        load_train_data(run)
        find_place(run)
        if not reason_to_stop(run):
            if wants_validation(run) and run.validation_options.check_val_every_n_epoch in (None, 1):
                load_evaluation_data(run, "val")
            run.stage = RunningStage.TRAINING
            run.last_validation_s = time.monotonic()
            for call in hooks.on_train_start:
                call()
            while goes_on(run):
                fit_epoch(run)
            if run.signals.noted:
                give_way(run)
            for call in hooks.on_train_end:
                call()
    restore_random_state(run)  # where nothing was left to do
    for call in hooks.on_fit_end:
        call()


def fit_epoch(run: Run) -> None:
    """Train on the batches of one epoch, or on those that are left of it."""
    stream = open_epoch(run)
    hooks, progress, logbook, stop, step = run.hooks, run.progress, run.logbook, run.stop, run.step
    step_limit, log_every = run.fit_options.step_limit, run.report_options.log_every_n_steps
    nowhere, transfer = logbook.scope(OUTSIDE), batch_transfer(run)
    signals, together, raise_pending_error = run.signals, run.together, pending_error_check(run)
    fetch = in_span(run, "train_dataloader_next", stream.take)
    take = signals.interruptible(fetch, repeatable=not stream.has_states)
    run_step = in_span(run, "run_training_batch", step.run)
    taking_changes_state = transfer is not None or stream.has_states or stream.draws_freely
    batch, complete = None, progress.is_last_batch

    while progress.optimizer_step < step_limit and not (stop.is_due and may_stop(run)):
        batch = take()
        if batch is END:
            break
        run.in_the_middle = taking_changes_state
        run.batch_idx = batch_idx = progress.batch
        run.is_last_batch = is_last = stream.is_last
        run.log_step = progress.window
        logbook.slots = nowhere
        if transfer is not None and not stream.is_absent:
            batch = transfer(batch, 0)
        logbook.batch = batch
        skips = None
        for call in hooks.on_train_batch_start:
            skips = call(batch, batch_idx)
        if type(skips) is int and skips == -1:
            run.in_the_middle = False
            step_schedulers(run, "epoch", on_plateau=False)
            break
        run.in_the_middle = True
        updated = run_step(batch, batch_idx, is_last)
        run.in_the_middle = False
        progress.finish_batch(is_last=is_last, updated=updated)
        if run.schedulers:
            step_due_schedulers(run, updated=updated, is_last=is_last)
        run.flush_is_due = updated and bool(log_every) and progress.window % log_every == 0
        run.validation_is_due = (is_last or run.validates_within_epochs) and is_due(run, is_last)
        # The loader of a validation that is due comes first, should they draw random numbers.
        if stream.prefetches and not run.validation_is_due:
            stream.prefetch()
        if hooks.on_train_batch_end:
            outputs = {} if stream.is_absent else step.outputs
            for call in hooks.on_train_batch_end:
                call(outputs, batch, batch_idx)
        if raise_pending_error is not None:
            raise_pending_error()
        if updated and together is not None:
            together.ask(run)
        if run.flush_is_due or (updated and stop.is_due):
            flush_step(run)
        if run.pending_saves:
            save_what_waits(run)
        if updated and signals.noted:
            return
        if run.validation_is_due or (stop.is_due and may_stop(run) and wants_last_validation(run)):
            validate(run)
        if updated and run.schedulers:
            step_schedulers(run, "step", on_plateau=True)
        progress.schedulers_wait = False
        complete = is_last

    logbook.batch = None
    if progress.batch == 0 and batch is END:
        raise ConfigError("The train loader gave no batch.", received=type(run.train_loaders.given).__name__)
    end_epoch(run, complete=complete)


def open_epoch(run: Run) -> BatchStream:
    """Begin an epoch, or go on with the one that a checkpoint was saved in, and start its loader."""
    progress = run.progress
    resumes = progress.resumes_epoch
    if not resumes:
        restore_random_state(run)
        load_train_data(run)
        run.hooks.resolve(run)
        progress.start_epoch()
        run.log_step = progress.window
        for call in run.hooks.on_train_epoch_start:
            call()
    stream = open_stream(run, send_to=run.strategy.root_device if batch_transfer(run) is None else None)
    if resumes:
        restore_random_state(run)
        take_up(run)
    else:
        progress.point = QuietPoint.VALIDATED
    return stream


def step_due_schedulers(run: Run, *, updated: bool, is_last: bool) -> None:
    """Step the schedulers that step with the batch that was just finished."""
    if updated:
        step_schedulers(run, "step", on_plateau=False)
    if is_last:
        step_schedulers(run, "epoch", on_plateau=False)


def end_epoch(run: Run, *, complete: bool) -> None:
    """Reduce what the epoch logged, and tell everybody that it has ended."""
    run.progress.point = QuietPoint.EPOCH_END
    run.step.in_window = 0
    run.logbook.close_epoch("train")
    for call in run.hooks.on_train_epoch_end:
        call()
    save_what_waits(run)  # for the end of a window that was broken off
    finish_epoch(run, complete=complete)


def finish_epoch(run: Run, *, complete: bool) -> None:
    """Let schedulers, loggers and those who stop and save act on the epoch, and go on to the next one."""
    progress = run.progress
    if complete:
        step_schedulers(run, "epoch", on_plateau=True)
    run.logbook.flush_epoch("train", run.log_step, progress.epoch)
    # Those that stop and save come last: what they decide on and save is the whole epoch.
    progress.point = QuietPoint.EPOCH_DONE
    for call in run.hooks.on_train_epoch_end_for_monitors:
        call()
    progress.start_next_epoch()


def take_up_epoch_end(run: Run) -> None:
    """Do what was left to do at the end of the epoch, or of training, that a checkpoint was saved at."""
    progress = run.progress
    if progress.point is QuietPoint.EPOCH_END:
        run.log_step = max(progress.window - 1, 0)
        run.logbook.close_epoch("train")
        call_savers_left(run)
        finish_epoch(run, complete=True)
    elif not progress.resumes_epoch:
        call_savers_left(run)
        if progress.point is QuietPoint.EPOCH_DONE:
            progress.start_next_epoch()


def take_up(run: Run) -> None:
    """Do what was left to do after the batch that a checkpoint was saved at."""
    progress = run.progress
    run.log_step = max(progress.window - 1, 0)
    run.is_last_batch = progress.is_last_batch
    run.validation_is_due = progress.point is QuietPoint.BATCH_END and is_due(run, run.is_last_batch)
    call_savers_left(run)
    if run.validation_is_due:
        validate(run)
    if progress.schedulers_wait:
        step_schedulers(run, "step", on_plateau=True)
        progress.schedulers_wait = False


def call_savers_left(run: Run) -> None:
    """Let those savers act whose turn had not come at the moment that a checkpoint was saved at."""
    progress = run.progress
    if not progress.savers_left:
        return
    calls = savers_event(run)
    progress.savers_left = []
    of_batch = (None, None, progress.batch - 1) if progress.point is QuietPoint.BATCH_END else ()
    with ExitStack() as stack:
        if progress.point is QuietPoint.VALIDATED:
            run.stage = RunningStage.VALIDATING
            for context in (apart_from_training(run), evaluation_mode(run, "validation"), gradients_off(run)):
                stack.enter_context(context)
        for call in calls:
            call(*of_batch)
    run.stage = RunningStage.TRAINING


def sanity_check(run: Run) -> None:
    """Run a few validation batches before training, so that an error in them does not show after hours."""
    steps = run.data_options.num_sanity_val_steps
    if not steps or not wants_validation(run):
        return
    run.stage = RunningStage.SANITY_CHECKING
    with run.logbook.tables_kept(), ExitStack() as stack:
        stack.callback(setattr, run.progress, "savers_left", run.progress.savers_left)
        stack.callback(load_metric_states, run.module, lasting_states(run.module), run.strategy.root_device)
        for call in run.hooks.on_sanity_check_start:
            call()
        loaders = load_evaluation_data(run, "val").loaders
        stack.enter_context(isolate_rng(generators_of(loaders)))
        evaluate(run, "validation", most_batches=float("inf") if steps == -1 else steps)
        for call in run.hooks.on_sanity_check_end:
            call()
    run.in_the_middle = False
    save_what_waits(run)
    run.stage = RunningStage.TRAINING


def validate(run: Run) -> None:
    """Validate in the middle of training."""
    run.logbook.slots = run.logbook.scope(OUTSIDE)
    if not run.accumulating:
        method(run, run.module, "on_validation_model_zero_grad")()
    run.stage = RunningStage.VALIDATING
    with apart_from_training(run), undone_when_interrupted(run):
        evaluate(run, "validation")
        save_what_waits(run)
    run.stage = RunningStage.TRAINING
    run.validation_is_due = run.time_says_validate = False
    run.last_validation_s = time.monotonic()
    agree_on_stop(run)


def load_train_data(run: Run) -> None:
    """Ask for the train loader, unless it is there and still good."""
    every = run.data_options.reload_dataloaders_every_n_epochs
    present = run.loaders.get("train")
    if present is not None:
        assert present.loaded_at_epoch is not None
        if not every or run.progress.epoch - present.loaded_at_epoch < every:
            return
    loaders = prepare_train_loaders(
        run.sources["train"].request(),
        limit=run.data_options.limit_train_batches,
        overfit=run.data_options.overfit_batches,
        world=run.strategy.world,
        shards=run.data_options.use_distributed_sampler,
        seeds_data=run.data_options.exact_data,
        pads=not run.strategy.joins,
    )
    if run.strategy.world.size > 1:
        agree_on_length(loaders, run.strategy.collectives, joins=run.strategy.joins)
    loaders.loaded_at_epoch = loading_epoch(run, "train")
    run.loaders["train"] = loaders
    run.val_check_batch = check_every(run.validation_options, loaders.lengths[0])
    interval = run.validation_options.val_check_interval
    run.validates_within_epochs = interval != 1.0 or isinstance(interval, int)


def wants_last_validation(run: Run) -> bool:
    """Whether training that is asked to stop validates once more."""
    return in_epoch(run) and wants_validation(run)


def goes_on(run: Run) -> bool:
    """Whether there is a next epoch, which all processes have to know."""
    agree_on_stop(run)
    return not (run.signals.noted or reason_to_stop(run))


def may_stop(run: Run) -> bool:
    """Whether `min_epochs` and `min_steps` allow a stop that was asked for."""
    options, progress = run.fit_options, run.progress
    # With `min_steps` alone, the first epoch is trained to its end.
    least_epochs = options.min_epochs if options.min_epochs is not None else int(bool(options.min_steps))
    return progress.epoch >= least_epochs and progress.optimizer_step >= (options.min_steps or 0)


def reason_to_stop(run: Run) -> str | None:
    """Why there is no next epoch; None if there is one."""
    options, progress, stop = run.fit_options, run.progress, run.stop
    if progress.resumes_epoch:
        return None  # what a checkpoint left of an epoch is done whatever the limits say
    if progress.optimizer_step >= options.step_limit:
        return f"max_steps={options.max_steps} reached"
    if progress.epoch >= options.epoch_limit:
        return f"max_epochs={int(options.epoch_limit)} reached"
    if stop.is_due:
        if may_stop(run):
            return stop.reason or "trainer.should_stop was set"
        if not stop.postponed:
            stop.postponed = True
            info(
                f"Asked to stop ({stop.reason or 'trainer.should_stop'}), but "
                f"min_epochs={options.min_epochs} or min_steps={options.min_steps} is not reached: "
                "training goes on."
            )
    return None
