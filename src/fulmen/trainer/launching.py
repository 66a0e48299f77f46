"""The Trainer's methods in every process of a run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fulmen.base.generators import RandomState
from fulmen.base.tree import map_leaves
from fulmen.core.hooks import LOG_RULES
from fulmen.core.module import LightningModule
from fulmen.engine.compiled import within_compiled
from fulmen.engine.states import RunningStage, TrainerStatus
from fulmen.runtime import watch
from fulmen.runtime.launch import Spawned

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

METHODS = ("fit", "validate", "test", "predict", "rehearse")


def call_in_all_processes(trainer: Trainer) -> None:
    """Let the methods of a Trainer that is one of several be called in all processes.

    Where there is one process, nothing stands between the user's call and the method.
    """
    if trainer.world_size > 1:
        vars(trainer).update({name: functools.partial(_launch, trainer, name) for name in METHODS})


def _launch(trainer: Trainer, name: str, *args: Any, **kwargs: Any) -> Any:
    launcher, method = trainer.strategy.launcher, getattr(type(trainer), name)
    if not isinstance(launcher, Spawned):
        return launcher.launch(_call, method, trainer, args, kwargs)
    arguments = inspect.signature(method).bind(trainer, *args, **kwargs).arguments
    del arguments["self"]
    arguments |= arguments.pop("otherwise", {})
    arguments |= _last_model(trainer, arguments)
    made = launcher.launch(_call_in_new_process, method, trainer, arguments, RandomState.capture())
    _take_over(trainer, made, arguments["model"])
    return made.result


def _last_model(trainer: Trainer, arguments: dict[str, Any]) -> dict[str, Any]:
    """The model and the checkpoint that the last run leaves to this one, which knows nothing of it."""
    if arguments.get("model") is not None or trainer._run is None:
        return {}
    path = trainer._evaluation_checkpoint(None, arguments.get("ckpt_path"))
    return {"model": trainer._run.module, "ckpt_path": path}


def _call(method: Callable[..., Any], trainer: Trainer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    trainer.strategy.connect()
    if trainer.strategy.world.size == 1:
        return method(trainer, *args, **kwargs)
    with watch.watched(functools.partial(_how_far, trainer), LOG_RULES):
        return method(trainer, *args, **kwargs)


def _how_far(trainer: Trainer) -> str:
    """Where the run stands, in few words; asked at any moment, by another thread."""
    run = trainer._run
    if run is None or trainer._status is TrainerStatus.INITIALIZING:
        return "its beginning"
    stage = "" if run.stage is RunningStage.TRAINING else f" ({run.stage})"
    return f"epoch {run.progress.epoch}, step {run.progress.optimizer_step}{stage}"


@dataclass
class _Made:
    """What is left of a run in processes that are no more."""

    result: Any
    weights: dict[str, Any]
    callbacks: dict[str, Any]
    progress: dict[str, Any]
    tables: list[dict[str, Any]]


def _call_in_new_process(
    method: Callable[..., Any], trainer: Trainer, arguments: dict[str, Any], random_state: RandomState
) -> _Made:
    random_state.restore()  # as if it went on in the process that has started it
    result = _call(method, trainer, (), arguments)
    run = trainer._run
    assert run is not None
    made = _Made(
        result=result,
        weights=run.module.state_dict(),
        callbacks={callback.state_key: callback.state_dict() for callback in run.callbacks},
        progress=run.progress.state_dict(),
        tables=run.logbook.copy_tables(),
    )
    return map_leaves(made, Tensor, lambda tensor: tensor.detach().cpu())


def _take_over(trainer: Trainer, made: _Made, model: LightningModule) -> None:
    """Have here what the run came to there."""
    within_compiled(model, None)[0].load_state_dict(made.weights)
    trainer.show_run_of(model, made.tables)
    for callback in trainer.callbacks:
        if state := made.callbacks.get(callback.state_key):
            callback.load_state_dict(state)
    trainer._progress.load_state_dict(made.progress)
