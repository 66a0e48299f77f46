"""How a Trainer tries something: with a copy of itself, so that nothing is noticed here."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from fulmen.core.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.logger import DummyLogger
from fulmen.core.module import LightningModule
from fulmen.engine import lifecycle
from fulmen.engine.progress import Progress
from fulmen.engine.rehearsal import Rehearsal
from fulmen.engine.run import Run
from fulmen.engine.states import RunningStage, TrainerFn

if TYPE_CHECKING:
    from fulmen.trainer import Trainer

T = TypeVar("T")

_STAGES = {
    TrainerFn.FITTING: (RunningStage.TRAINING, "training_step"),
    TrainerFn.VALIDATING: (RunningStage.VALIDATING, "validation_step"),
    TrainerFn.TESTING: (RunningStage.TESTING, "test_step"),
    TrainerFn.PREDICTING: (RunningStage.PREDICTING, "predict_step"),
}


def rehearsal_of(run: Run) -> Rehearsal:
    """A rehearsal of what a run is to do next."""
    return Rehearsal(run, partial(_make_trial, run))


def rehearse(
    trainer: Trainer,
    act: Callable[[Rehearsal], T],
    fn: TrainerFn,
    model: LightningModule,
    datamodule: LightningDataModule | None,
    given: dict[str, Any],
) -> T:
    """What `act` gives for a rehearsal of a run that is begun and ended, and has done nothing."""
    stage, step = _STAGES[fn]
    quiet = _quiet_copy(trainer, [], Progress())
    run = quiet._new_run(fn, stage, model, datamodule, given)
    if fn is TrainerFn.FITTING:
        lifecycle.check_fit(run)
    else:
        lifecycle.check_evaluation(run, step)
    with ExitStack() as stack:
        stack.callback(LightningModule.attach, model, model._trainer, None)
        if run.datamodule is not None:
            stack.callback(setattr, run.datamodule, "trainer", run.datamodule.trainer)
        stack.enter_context(quiet._session(run, None))
        return act(rehearsal_of(run))


def _quiet_copy(trainer: Trainer, callbacks: list[Callback], progress: Progress) -> Trainer:
    """The same Trainer with other callbacks, at another place, and with nowhere to write to."""
    quiet = copy.copy(trainer)
    quiet.callbacks, quiet._progress, quiet.profiler = callbacks, progress, None
    quiet.loggers = [DummyLogger()] if trainer.loggers else []
    return quiet


def _make_trial(run: Run, callbacks: list[Callback]) -> Run:
    quiet = _quiet_copy(run.trainer, callbacks, replace(run.progress))
    trial = quiet._new_run(run.fn, run.stage, run.module, run.datamodule, {})
    trial.sources = run.sources
    quiet._run = trial
    return trial
