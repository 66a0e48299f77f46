"""The Trainer's methods in every process of a run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from fulmen.base.tree import map_leaves
from fulmen.core.module import LightningModule
from fulmen.runtime.launch import Spawned

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

Method = TypeVar("Method", bound=Callable[..., Any])


def in_all_processes(method: Method) -> Method:
    """Decorate a method of the Trainer so that all processes of the run call it; returns what rank 0 gets."""

    @functools.wraps(method)
    def launched(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        launcher = self.strategy.launcher
        if not isinstance(launcher, Spawned):
            return launcher.launch(_call, method, self, args, kwargs)
        made = launcher.launch(_call_in_new_process, method.__name__, self, args, kwargs)
        _take_over(self, made, args[0] if args else kwargs.get("model"))
        return made.result

    return launched  # pyright: ignore[reportReturnType]


def _call(method: Callable[..., Any], trainer: Trainer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    trainer.strategy.connect()
    return method(trainer, *args, **kwargs)


@dataclass
class _Made:
    """What is left of a run in processes that are no more."""

    result: Any
    weights: dict[str, Any]
    callbacks: dict[str, Any]
    progress: dict[str, Any]
    tables: list[dict[str, Any]]


def _call_in_new_process(name: str, trainer: Trainer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Made:
    result = _call(getattr(type(trainer), name).__wrapped__, trainer, args, kwargs)
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


def _take_over(trainer: Trainer, made: _Made, model: LightningModule | None) -> None:
    """Have here what the run came to there."""
    if model is not None:
        model.load_state_dict(made.weights)
        trainer.show_run_of(model, made.tables)
    for callback in trainer.callbacks:
        if state := made.callbacks.get(callback.state_key):
            callback.load_state_dict(state)
    trainer._progress.load_state_dict(made.progress)
