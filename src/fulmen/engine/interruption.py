"""How a fit ends that a signal interrupts: saved, with what was done by halves undone."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fulmen.base.generators import RandomState
from fulmen.base.overrides import is_overridden
from fulmen.base.report import info
from fulmen.core.callback import Callback
from fulmen.engine import checkpoint as checkpoints
from fulmen.engine import signals
from fulmen.engine.evaluate import load_evaluation_data
from fulmen.engine.loaders import generators_of
from fulmen.engine.logbook_state import metric_updates
from fulmen.engine.progress import QuietPoint
from fulmen.engine.states import RunningStage, TrainerFn

if TYPE_CHECKING:
    from fulmen.engine.run import Run

FILE_NAME = "interrupted"
"""Beside the other checkpoints; the next interruption overwrites it."""


def give_way(run: Run) -> None:
    """End training at a quiet point, as a signal has asked for."""
    run.signals.at_rest = True
    if run.signals.noted != signal.SIGINT:
        raise run.signals.interrupt()
    _conclude(run)
    for call in run.hooks.on_exception:
        call(KeyboardInterrupt())


@contextmanager
def saved_when_interrupted(run: Run) -> Iterator[None]:
    """A fit that a signal ends inside is saved, if it can be, before anybody else acts on that."""
    try:
        yield
    except KeyboardInterrupt:
        if run.fn is TrainerFn.FITTING and run.signals.noted and run.signals.presses <= 1:
            _conclude(run)
        raise
    except Exception as error:
        if not run.signals.broke_off:
            raise
        _conclude(run)  # what was broken off said so in its own way
        raise run.signals.interrupt() from error


def _conclude(run: Run) -> None:
    run.signals.conclude()
    name = signal.Signals(run.signals.noted or 0).name
    path = run.interrupted_path
    if run.signals.untouched:
        info(f"{name}: nothing was trained since {run.ckpt_path or 'the beginning'}; nothing is saved.")
    elif not run.signals.at_rest:
        info(
            f"{name}: what was under way took longer than {signals.GRACE_S:g} s and was broken off, so that "
            f"this moment cannot be saved. The last checkpoint: {run.last_whole or run.ckpt_path or 'none'}"
        )
    elif path is None:
        info(f"{name}: nothing is saved, for no ModelCheckpoint says where.")
    else:
        run.cannot_wait = True  # what waits for the end of a window would wait in vain
        checkpoints.save(run, path, wait=True)
        run.last_saved = run.last_whole = path
        info(
            f"{name}: saved epoch {run.progress.epoch}, step {run.progress.optimizer_step} to {path}. "
            "fit(..., ckpt_path='last') goes on from there."
        )


@contextmanager
def undone_when_interrupted(run: Run) -> Iterator[None]:
    """A validation that is interrupted inside leaves nothing behind: it is due again after a resume."""
    generators = generators_of(load_evaluation_data(run, "val").loaders)
    random_state = RandomState.capture(generators) if generators else None
    seen, tables = dict(run.batches_seen), run.logbook.copy_tables()
    updates = metric_updates(run.module)
    positions = checkpoints.logger_positions(run)
    try:
        yield
    except KeyboardInterrupt:
        if run.progress.point is QuietPoint.VALIDATED:
            raise  # nobody knows who has acted on it
        if random_state is not None:
            random_state.restore(generators)
        run.batches_seen = seen
        run.logbook.flush_epoch("validation", run.log_step, run.progress.epoch, publish=False)
        run.logbook.put_tables(tables)
        run.logbook.batch = run.logbook.dataloader_idx = None
        run.logger_positions = positions
        changed = [type(callback).__name__ for callback in run.callbacks if _follows_validation(callback)]
        for path, count in metric_updates(run.module).items():
            if path not in updates:
                metric: Any = run.module.get_submodule(path)
                metric.reset()
            elif count != updates[path]:
                changed.append(path)
        run.not_undone = [
            f"{name} had followed half of a validation when a signal ended it" for name in changed
        ]
        run.stage = RunningStage.TRAINING
        run.in_the_middle = False
        run.signals.at_rest = True
        raise


def _follows_validation(callback: Callback) -> bool:
    """Whether the state of a callback may change before a validation is complete."""
    hooks = ("epoch_start", "batch_start", "batch_end", "epoch_end")
    return is_overridden("state_dict", callback, Callback) and any(
        is_overridden(f"on_validation_{hook}", callback, Callback) for hook in hooks
    )
