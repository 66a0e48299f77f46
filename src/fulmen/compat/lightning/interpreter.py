"""What the core asks when it does not understand something."""

from __future__ import annotations

import inspect
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial
from types import MethodType
from typing import Any

import torch

from fulmen.base.seams import Arguments, Interpreter, LentToCallbacks, LentToModules
from fulmen.compat.lightning import arguments as old_arguments
from fulmen.compat.lightning import attributes, checkpoints, hooks, positions, versions
from fulmen.compat.lightning.adapter import LightningAdapter
from fulmen.compat.lightning.calls import called_today
from fulmen.compat.lightning.constructors import CONSTRUCTORS, name_of_checkpoint
from fulmen.compat.lightning.habits import (
    asks_whether,
    habits_of,
    is_ours,
    logs_by_returning,
    say_what_counts_otherwise,
    words_of,
)
from fulmen.compat.lightning.logged import refused_slot
from fulmen.compat.lightning.module_methods import METHODS
from fulmen.compat.lightning.precision import NUMBERS, PrecisionName
from fulmen.compat.spelling import say_modern
from fulmen.core.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule, run_of
from fulmen.engine.states import TrainerState
from fulmen.errors import NotAttachedError, UsageError
from fulmen.trainer import Trainer
from fulmen.trainer.loops import FitLoopView

TABLES = (
    (Trainer, attributes.BY_NAME),
    (FitLoopView, attributes.OF_FIT_LOOP_BY_NAME),
    (LightningDataModule, attributes.OF_DATAMODULE_BY_NAME),
)
"""By kind of owner: the attributes that are gone."""


class Lent:
    """An attribute of modules or callbacks that gives way to whatever a user's has under its name."""

    def __init__(self, name: str, show: Callable[[Any], Any]) -> None:
        self._name = name
        self._show = show

    def __get__(self, module: Any, owner: type) -> Any:
        if module is None:
            return self
        for kind in ("_parameters", "_buffers", "_modules"):
            own = vars(module).get(kind, {})
            if self._name in own:
                return own[self._name]
        if sys._getframe(1).f_globals.get("__name__", "").startswith(("torch.", "inspect")):
            raise AttributeError(self._name)  # who goes through all attributes is not to meet these
        try:
            return self._show(module)
        except NotAttachedError as error:  # as `hasattr` has it, which torch asks
            raise AttributeError(str(error)) from error

    def __call__(self, module: Any, *args: Any, **kwargs: Any) -> Any:
        """A method that is called on the class: `LightningModule.on_epoch_end(self)`."""
        return self._show(module)(*args, **kwargs)


class LightningInterpreter(Interpreter):
    """Knows what Lightning's versions have called things."""

    def __init__(self) -> None:
        for attribute in attributes.OF_MODULE:
            setattr(LentToModules, attribute.name, Lent(attribute.name, partial(_shown, attribute)))
        for name, method in METHODS.items():
            setattr(LentToModules, name, Lent(name, partial(MethodType, method)))
        for attribute in attributes.OF_CALLBACK:
            setattr(LentToCallbacks, attribute.name, Lent(attribute.name, partial(_shown, attribute)))
        for hook in hooks.GONE:  # for `super().on_epoch_end()`
            if hooks.MODULE in hook.owners and hook.is_called and not hasattr(LentToModules, hook.name):
                setattr(LentToModules, hook.name, Lent(hook.name, _do_nothing))
            if hooks.CALLBACK in hook.owners:
                setattr(LentToCallbacks, hook.name, Lent(hook.name, _do_nothing))

    def constructor(self, name: str, arguments: Arguments) -> Arguments:
        if name == "Trainer":
            given = dict(arguments.keywords)
            settings = old_arguments.translate_trainer(arguments.positional, given)
            is_number = given.get("precision") in NUMBERS
            return Arguments((), given, partial(_finish_trainer, settings, is_number))
        return CONSTRUCTORS[name](arguments) if name in CONSTRUCTORS else arguments

    def call(self, owner: Any, method: str, given: dict[str, Any], unknown: dict[str, Any]) -> dict[str, Any]:
        if method == "format_checkpoint_name":
            translated = name_of_checkpoint(unknown)
        else:
            translated = old_arguments.translate_call(owner, method, given, unknown)
        return super().call(owner, method, given, unknown) if translated is None else translated

    def hook(
        self, owner: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return called_today(owner, name, args, kwargs)

    def attribute(self, owner: Any, name: str) -> Any:
        table = next(table for kind, table in TABLES if isinstance(owner, kind))
        if name not in table:
            return super().attribute(owner, name)
        return _shown(table[name], owner)

    def class_attribute(self, owner: type, name: str) -> Any:
        if owner is TrainerState and name in attributes.OF_STATE_BY_NAME:
            return _shown(attributes.OF_STATE_BY_NAME[name], owner)
        if owner is TrainerState or name not in attributes.CLASS_METHODS:
            return super().class_attribute(owner, name)
        return partial(attributes.CLASS_METHODS[name], owner)

    def log_number(self, name: str, value: Any) -> Any:
        """The mean of several, as up to 1.6."""
        if not value.numel():
            return super().log_number(name, value)
        say_modern(f"self.log({name!r}, several values)", f"self.log({name!r}, values.mean())")
        return value.double().mean().to(value.dtype if value.is_floating_point() else torch.float32)

    def log_group(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        """Each under a name that starts with that of the dict, as up to 1.9 in TensorBoard."""
        say_modern(f"self.log({name!r}, {{...}})", "self.log_dict({...})")
        return {f"{name}/{key}": value for key, value in values.items()}

    def refused_slot(self, module: Any, name: str, hook: str, arguments: Any, reason: UsageError) -> Any:
        """Up to 1.4 such values went nowhere, or were shown at the next occasion."""
        run = None if module is None else run_of(module)
        adapter: Any = None if run is None else run.adapter
        if run is not None and adapter is not None and adapter.era.logs_anywhere:
            slot = refused_slot(run, name, hook, arguments)
            if slot is not None:
                return slot
        return super().refused_slot(module, name, hook, arguments, reason)

    def loaders(self, owner: Any, kind: str) -> Any:
        """A module was given those of the caller, or of the datamodule, up to 1.4."""
        run = run_of(owner) if isinstance(owner, LightningModule) else None
        source = None if run is None else run.sources.get(kind)
        if source is None or not source.exists or (source.given is None and source.provider is owner):
            return None
        say_modern(f"self.{kind}_dataloader() of others' loaders", f"self.trainer.{kind}_dataloader")
        return source.request()

    def no_trainer(self, owner: Any) -> None:
        """None, as up to 1.6, for who asks whether there is one."""
        if not asks_whether(sys._getframe(2)):
            super().no_trainer(owner)

    def set_hparams(self, owner: Any, hparams: Any) -> None:
        """Keep a dict or a Namespace as the hyperparameters, as `save_hyperparameters` does."""
        if not isinstance(hparams, (Mapping, Namespace)):
            super().set_hparams(owner, hparams)
        say_modern("self.hparams = hparams", "self.save_hyperparameters(hparams)")
        owner.hparams.clear()
        frame = inspect.currentframe()
        while frame is not None and frame.f_globals["__name__"].startswith(("fulmen.", "torch.")):
            frame = frame.f_back
        owner.save_hyperparameters(hparams, frame=frame)

    def migrate(self, checkpoint: dict[str, Any], path: Any) -> dict[str, Any]:
        return checkpoints.migrate(checkpoint, path)

    def place(self, run: Any, saved: dict[str, Any]) -> None:
        is_found = False
        notes_updates_alone = checkpoints.notes_updates_alone(saved)
        if notes_updates_alone:
            is_found = positions.find_position(run, saved["epoch"], saved["global_step"])
        else:
            super().place(run, saved)
        positions.recount_updates(run, counted_each=not notes_updates_alone)
        positions.step_late_schedulers(run, checkpoints.scores(saved), all_kinds=is_found)

    def adapter(self, run: Any) -> LightningAdapter | None:
        """An adapter where the run's classes define anything that is not called as it stands."""
        owners = [run.module, *run.callbacks, *([] if run.datamodule is None else [run.datamodule])]
        by_owner = [(owner, spelling) for owner in owners for spelling in hooks.old_spellings(owner)]
        settings = old_arguments.settings_of(run.trainer)
        habits = habits_of(run, settings)
        declared = settings.version or versions.declared()
        arguments: list[versions.Spelling] = [
            a for a in old_arguments.OF_TRAINER if a.name in settings.given and a.name != "compat"
        ]
        arguments += [spelling for owner in owners for spelling in vars(owner).get("old_spellings", ())]
        arguments += settings.spellings
        shown = attributes.BY_NAME["progress_bar_dict"]
        arguments += [shown for owner in owners if shown.name in words_of(type(owner))]
        if not (by_owner or habits or arguments or declared or logs_by_returning(type(run.module))):
            return None
        for habit in habits:
            say_modern(f"{habit.name} in `{type(run.module).__name__}`", habit.modern)
        for owner, spelling in by_owner:
            if spelling.last == versions.NEWEST:  # right with several loaders, and understood with one
                continue
            say_modern(f"`{type(owner).__name__}.{spelling.name}`", spelling.modern)
        found = [*(spelling for _, spelling in by_owner), *habits, *arguments]
        version = declared or versions.newest_that_understands(found)
        for owner in owners:
            if not is_ours(type(owner)):
                say_what_counts_otherwise(owner, version)
        return LightningAdapter(run, versions.era(version), settings)


def _do_nothing(owner: Any) -> Callable[..., None]:
    return lambda *args, **kwargs: None


def _shown(attribute: attributes.OldAttribute, owner: Any) -> Any:
    kind = owner if isinstance(owner, type) else type(owner)
    shown = attribute.shows(owner)
    say_modern(f"{kind.__name__}.{attribute.name}", attribute.modern)
    return shown


def _finish_trainer(settings: old_arguments.OldSettings, has_numbered_precision: bool, trainer: Any) -> None:
    if settings != old_arguments.OldSettings():
        trainer.old_settings = settings
    if settings.given or has_numbered_precision:
        trainer.precision_plugin.name = PrecisionName(trainer.precision)
    if settings.weights_save_path is not None:
        for callback in trainer.checkpoint_callbacks:
            if getattr(callback, "dirpath", "") is None:
                callback.dirpath = settings.weights_save_path
    for name in ("on_init_start", "on_init_end"):
        for callback in trainer.callbacks:
            if isinstance(callback, Callback) and hooks.defines(callback, name):
                getattr(callback, name)(trainer)


INTERPRETER = LightningInterpreter()
