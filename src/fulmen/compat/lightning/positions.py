"""Where in an epoch a checkpoint was saved by versions that noted the number of updates alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fulmen.base.report import info, warn
from fulmen.callbacks.gradient_accumulation_scheduler import GradientAccumulationScheduler
from fulmen.compat.lightning.adapter import LightningAdapter
from fulmen.core.optimizers import bare
from fulmen.engine.dispatch import overridden_step
from fulmen.engine.progress import QuietPoint

if TYPE_CHECKING:
    from fulmen.engine.run import Run

# `epoch` is one more than the epoch that a file was saved in, unless `max_steps` had ended it. `global_step`
# is the number of updates where training was under way, and one more once an epoch or training was over.


def find_position(run: Run, epoch: int, global_step: int) -> bool:
    """Put a run to where those that saved `epoch` and `global_step` stood, now that epochs have a length.

    False where that cannot be found out, and the next epoch begins.
    """
    progress, batches = run.progress, run.train_loaders.lengths[0]
    counted = _counted(run, global_step)
    progress.epoch = epoch
    progress.optimizer_step = progress.window = global_step if counted is None else counted
    if math.isinf(batches):
        warn(f"{run.ckpt_path} does not say where in an epoch it was saved: epoch {epoch} begins.")
        return False
    windows = _windows(run, int(batches))
    updates = counted if counted is not None else global_step - int(global_step > windows.before(epoch))
    under_way, done = windows.locate(updates)
    was_over = counted is not None and counted < global_step
    if under_way + 1 != epoch and not (was_over and under_way == epoch):
        warn(
            f"{run.ckpt_path} was saved after {global_step} updates, in the epoch before epoch {epoch}. With "
            f"{int(batches)} batches in an epoch, as there are now, they end elsewhere: epoch {epoch} begins."
        )
        progress.total_batch = epoch * int(batches)
        return False
    progress.optimizer_step = progress.window = updates
    is_whole = done == windows.within(under_way)
    progress.epoch = under_way + int(is_whole)
    progress.total_batch = progress.epoch * int(batches)
    if not is_whole:
        progress.batch, progress.epoch_window = done * windows.size(under_way), done
        progress.total_batch += progress.batch
        progress.point = QuietPoint.VALIDATED
        info(f"It was saved in epoch {under_way}, after {progress.batch} of {int(batches)} batches.")
    return True


def _counted(run: Run, global_step: int) -> int | None:
    """The number of updates, where the optimizer counts them itself."""
    if len(run.optimizers) != 1:
        return None
    states = bare(run.optimizers[0]).state.values()
    counts = {int(state["step"]) for state in states if "step" in state}
    count = counts.pop() if len(counts) == 1 else None
    return count if count in (global_step, global_step - 1) else None


@dataclass(frozen=True)
class _Windows:
    """The windows of accumulation that epochs have, each of which is one update."""

    batches: int
    """In an epoch."""
    scheduling: dict[int, int]
    """From which epoch on a window has how many batches."""

    def size(self, epoch: int) -> int:
        """In batches."""
        return self.scheduling[max(start for start in self.scheduling if start <= epoch)]

    def within(self, epoch: int) -> int:
        """How many an epoch has."""
        return math.ceil(self.batches / self.size(epoch))

    def before(self, epoch: int) -> int:
        """How many all epochs before this one have."""
        ends = [*self.scheduling, math.inf][1:]
        spans = ((start, min(end, epoch)) for start, end in zip(self.scheduling, ends, strict=True))
        return sum(int(end - start) * self.within(start) for start, end in spans if end > start)

    def locate(self, updates: int) -> tuple[int, int]:
        """The epoch in which the last of these updates was made, and how many of them were."""
        start = max(start for start in self.scheduling if not start or self.before(start) < updates)
        full, rest = divmod(max(updates - self.before(start) - 1, 0), self.within(start))
        return start + full, rest + int(updates > 0)


def _windows(run: Run, batches: int) -> _Windows:
    for callback in run.callbacks:
        if isinstance(callback, GradientAccumulationScheduler):
            return _Windows(batches, callback.scheduling)
    return _Windows(batches, {0: run.step_options.accumulate_grad_batches})


def recount_updates(run: Run, *, counted_each: bool) -> None:
    """Count the updates of several optimizers as this run does: each of them, or one for all in a batch."""
    adapter, progress = run.adapter, run.progress
    if len(run.optimizers) > 1 and isinstance(adapter, LightningAdapter) and not adapter.frequencies:
        counts_each = adapter.era.counts_each_optimizer
        if run.module.automatic_optimization and counts_each != counted_each:
            progress.optimizer_step = progress.window * (len(run.optimizers) if counts_each else 1)


def step_late_schedulers(run: Run, scores: dict[str, Any], *, all_kinds: bool) -> None:
    """Step the schedulers whose states were saved a moment before they stepped: by `scores`, or all kinds."""
    for config in run.schedulers if run.module.automatic_optimization else ():
        finished = run.progress.window if config.interval == "step" else run.progress.epoch
        score = scores.get(str(config.monitor)) if config.reduce_on_plateau else None
        is_late = getattr(config.scheduler, "last_epoch", None) == finished // config.frequency - 1
        if is_late and (score is not None if config.reduce_on_plateau else all_kinds):
            step = overridden_step(run, "lr_scheduler_step") or run.module.lr_scheduler_step
            step(config.scheduler, score)
