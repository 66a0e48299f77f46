"""What goes before the Trainer looks at its arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from fulmen import build
from fulmen.base.report import warn
from fulmen.base.seams import Arguments, outer
from fulmen.core.data_hooks import DataHooks
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule
from fulmen.engine.data import DataSource
from fulmen.engine.states import TrainerFn
from fulmen.errors import ConfigError, UnknownArgumentError, UsageError, did_you_mean


def checked(init: Callable[..., None]) -> Callable[..., None]:
    """Refuse arguments that nobody knows or that contradict one another, and let the environment set others.

    `PL_TRAINER_<NAME>` variables set the arguments that are not passed.
    """
    names = [name for name in inspect.signature(init).parameters if name != "self"]

    @functools.wraps(init)
    def checked_init(self: Any, *positional: Any, **keywords: Any) -> None:
        of_environment = build.arguments_from_environment()
        interpreted = outer().constructor("Trainer", Arguments(positional, of_environment | keywords))
        arguments = interpreted.keywords
        if interpreted.positional:
            raise TypeError("Trainer takes keyword arguments only: Trainer(max_epochs=3)")
        for name in arguments.keys() - set(names):
            if name in keywords:
                raise UnknownArgumentError(
                    "Trainer got an unknown argument.", received=name, fix=did_you_mean(name, names)
                )
            variable = f"PL_TRAINER_{name.upper()}"
            warn(f"{variable} in the environment sets no argument of Trainer{_hint(variable, names)}")
            del arguments[name]
        if arguments.get("model_registry") is not None:
            raise ConfigError(
                "`model_registry` names a registry, and this version uploads to none.",
                received=repr(arguments["model_registry"]),
                fix="a callback that uploads the checkpoints",
            )
        if arguments.get("barebones"):
            build.refuse_in_barebones(arguments)
        init(self, **arguments)
        if interpreted.finish is not None:
            interpreted.finish(self)

    return checked_init


def _hint(variable: str, names: list[str]) -> str:
    near = did_you_mean(variable, [f"PL_TRAINER_{known.upper()}" for known in names])
    return f"; {near}" if near else "."


def checked_subjects(
    fn: TrainerFn, model: LightningModule, datamodule: LightningDataModule | None, given: dict[str, Any]
) -> tuple[LightningDataModule | None, dict[str, Any]]:
    """The datamodule and the loaders of a run; raises `UsageError` for what they, or the model, cannot be."""
    if not isinstance(model, LightningModule):
        raise _wrong_type(f"`{fn}` takes a LightningModule.", model)
    if datamodule is not None and not isinstance(datamodule, LightningDataModule):
        raise _wrong_type("`datamodule` is not a LightningDataModule.", datamodule)
    for kind, loaders in given.items():
        if isinstance(loaders, LightningDataModule):
            if datamodule is not None:
                raise UsageError("Two datamodules were given.")
            return loaders, dict.fromkeys(given)
        if loaders is not None and datamodule is not None:
            raise UsageError(
                f"Both a {kind} loader and a datamodule were given.", fix="leave one of them out"
            )
    return datamodule, given


def owners_without_datamodule(
    model: LightningModule, last: LightningDataModule | None, given: dict[str, Any]
) -> tuple[DataHooks, ...]:
    """Who provides loaders where no datamodule is given: the `last` run's, if nobody else does."""
    anybody = any(DataSource(kind, loaders, (model,)).exists for kind, loaders in given.items())
    return (model,) if anybody or last is None else (model, last)


def _wrong_type(what: str, value: object) -> UsageError:
    if isinstance(value, type):
        return UsageError(what, received=f"{value.__name__}, the class", fix=f"{value.__name__}()")
    return UsageError(what, received=type(value).__name__)
