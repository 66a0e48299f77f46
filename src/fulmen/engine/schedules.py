"""When learning-rate schedulers step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from fulmen.base.report import warn_once
from fulmen.core.optimizers import LRSchedulerConfig
from fulmen.engine.dispatch import overridden_step
from fulmen.errors import MetricNotFoundError, did_you_mean

if TYPE_CHECKING:
    from fulmen.engine.run import Run


def step_schedulers(run: Run, interval: str, *, on_plateau: bool) -> None:
    """Step the schedulers that are due: those that follow a metric after validation, the others before."""
    if not run.module.automatic_optimization:
        return
    progress = run.progress
    finished = progress.epoch_window if interval == "step" else progress.epoch + 1
    for config in run.schedulers:
        if (
            config.interval == interval
            and config.reduce_on_plateau == on_plateau
            and finished % config.frequency == 0
        ):
            metric = _monitored(run, config) if on_plateau else None
            if metric is not None or not on_plateau:
                step = overridden_step(run, "lr_scheduler_step") or run.module.lr_scheduler_step
                step(config.scheduler, metric)


def _monitored(run: Run, config: LRSchedulerConfig) -> Tensor | None:
    """The value that a scheduler follows; None where it is missing and need not be there."""
    metrics = run.logbook.callback_metrics()
    name = str(config.monitor)
    if name in metrics:
        return metrics[name]
    kind = type(config.scheduler).__name__
    message = f"The learning-rate scheduler {kind} follows {name!r}, which nobody logged."
    if config.strict:
        raise MetricNotFoundError(
            message,
            expected=f"one of {sorted(metrics)}",
            fix=did_you_mean(name, metrics) or "log it, or set 'strict': False in the scheduler's dict",
        )
    warn_once(f"{message} It did not step.")
    return None
