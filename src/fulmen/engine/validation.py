"""When training is interrupted by a validation."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from fulmen.base.overrides import is_overridden
from fulmen.base.report import info, warn
from fulmen.core.module import LightningModule
from fulmen.engine.options import ValidationOptions
from fulmen.errors import ConfigError

if TYPE_CHECKING:
    from fulmen.engine.run import Run


def wants_validation(run: Run) -> bool:
    """Whether there is anything to validate on, and a way to do it."""
    has_step = is_overridden("validation_step", run.module, LightningModule)
    return bool(run.data_options.limit_val_batches) and has_step and run.sources["val"].exists


def report_unused_validation(run: Run) -> None:
    """Tell the user of a validation that has a step and no loader, or a loader and no step."""
    name = type(run.module).__name__
    has_step = is_overridden("validation_step", run.module, LightningModule)
    if run.sources["val"].exists and not has_step:
        warn(f"There is a validation loader, but {name} has no `validation_step`: it is not used.")
    elif has_step and not run.sources["val"].exists:
        info(
            f"{name} has a `validation_step`, but there is no validation loader: training without validation."
        )


def check_every(options: ValidationOptions, train_length: float) -> float:
    """Training batches between validations; infinite for the end of an epoch of unknown length."""
    interval = options.val_check_interval
    if isinstance(interval, timedelta):
        return float("inf")
    if isinstance(interval, int):
        if interval > train_length and options.check_val_every_n_epoch is not None:
            raise ConfigError(
                "`val_check_interval` is more than the training batches of an epoch, so that it never comes.",
                received=f"{interval} > {int(train_length)}",
                fix="check_val_every_n_epoch=None counts batches over epochs",
            )
        return interval
    if train_length == float("inf"):
        if interval == 1.0:
            return float("inf")
        raise ConfigError(
            "`val_check_interval` is a fraction, and the train loader has no length.",
            received=interval,
            fix="val_check_interval=<number of batches>",
        )
    return max(1, int(train_length * interval))


def in_epoch(run: Run) -> bool:
    """Whether the epoch under way is one in which validations run."""
    every = run.validation_options.check_val_every_n_epoch
    return every is None or (run.progress.epoch + 1) % every == 0


def is_due(run: Run, is_last_batch: bool) -> bool:
    """Whether a validation follows the training batch that was just finished."""
    options, progress = run.validation_options, run.progress
    every = options.check_val_every_n_epoch
    if not in_epoch(run):
        return False
    if isinstance(options.val_check_interval, timedelta):
        due = interval_has_passed(run) if run.together is None else run.time_says_validate
    elif options.val_check_interval == 1.0 and isinstance(options.val_check_interval, float):
        due = is_last_batch
    else:
        due = (progress.total_batch if every is None else progress.batch) % run.val_check_batch == 0
    return due and wants_validation(run)


def interval_has_passed(run: Run) -> bool:
    """Whether validations follow the clock, and this process's says that one is due."""
    interval = run.validation_options.val_check_interval
    if not isinstance(interval, timedelta):
        return False
    return time.monotonic() - run.last_validation_s >= interval.total_seconds()
