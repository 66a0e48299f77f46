"""Hyperparameters: what a module or datamodule was made with, kept for loggers and checkpoints."""

from __future__ import annotations

import copy
import inspect
from argparse import Namespace
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from types import FrameType
from typing import Any

from torch import nn

from fulmen.base.report import warn_once
from fulmen.base.seams import outer
from fulmen.errors import UsageError, did_you_mean


class AttributeDict(dict[str, Any]):
    """A dict whose keys are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            near = did_you_mean(name, self)
            raise AttributeError(f"no hyperparameter {name!r}" + (f"; {near}" if near else "")) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __repr__(self) -> str:
        return "\n".join(
            f'"{name}":{" " * (1 + self._width() - len(name))}{value}' for name, value in self.items()
        )

    def _width(self) -> int:
        return max(map(len, self), default=0)


class HyperparametersMixin:
    """`save_hyperparameters` and what follows from it."""

    CHECKPOINT_HYPER_PARAMS_KEY = "hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME = "hparams_name"
    CHECKPOINT_HYPER_PARAMS_TYPE = "hparams_type"

    _log_hyperparams: bool = False

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: str | Iterable[str] | None = None,
        frame: FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Keep the arguments of `__init__` in `hparams`, in checkpoints and, with `logger`, in the loggers.

        Call it in `__init__`. Without `args`, all arguments of the class and of subclasses that called it;
        with names, only those; with one dict or Namespace, its content.
        """
        ignored = {ignore} if isinstance(ignore, str) else set(ignore or ())
        self.remove_ignored_hparams(ignored)  # what a base class kept
        frame = frame or _calling_frame()
        containers = [given for given in args if not isinstance(given, str)]
        if len(containers) > 1:
            raise UsageError(
                "`save_hyperparameters` takes one dict, Namespace or dataclass.",
                received=f"{len(containers)} of them",
                fix="merge them: save_hyperparameters({**a, **b})",
            )
        if containers:
            name, content = _name_of(containers[0], frame), _as_dict(containers[0])
        else:
            name, content = "kwargs", _named_arguments(self, frame, args)
        chosen = {key: value for key, value in content.items() if key not in ignored}
        for key, value in chosen.items():
            if isinstance(value, nn.Module):
                warn_once(
                    f"The hyperparameter {key!r} is a module, whose weights every checkpoint holds already; "
                    f"save_hyperparameters(ignore=[{key!r}]) leaves it out."
                )
        self._hparams_name = name
        self._log_hyperparams = logger
        self.hparams.update(chosen)  # a second call adds to what the first one kept
        self._hparams_initial = copy.deepcopy(self._hparams)

    def remove_ignored_hparams(self, ignore_list: Iterable[str]) -> None:
        """Forget these hyperparameters."""
        for key in ignore_list:
            self.hparams.pop(key, None)

    @property
    def hparams(self) -> AttributeDict:
        """What `save_hyperparameters` kept; changes show in the next checkpoint."""
        if "_hparams" not in self.__dict__:
            self._hparams = AttributeDict()
        return self._hparams

    @hparams.setter
    def hparams(self, hparams: Any) -> None:
        outer().set_hparams(self, hparams)

    @property
    def hparams_initial(self) -> AttributeDict:
        """The hyperparameters as they were when they were saved."""
        return copy.deepcopy(self.__dict__.get("_hparams_initial", AttributeDict()))

    def hparams_for_checkpoint(self) -> dict[str, Any]:
        """The entries that a checkpoint has for them; empty where there are none."""
        if not self.hparams:
            return {}
        return {
            self.CHECKPOINT_HYPER_PARAMS_NAME: self._hparams_name,
            self.CHECKPOINT_HYPER_PARAMS_KEY: dict(self.hparams),
        }


def _as_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, Namespace):
        return vars(value)
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    raise UsageError(
        "`save_hyperparameters` does not know how to keep this.",
        received=type(value).__name__,
        expected="names of arguments, or one dict, Namespace or dataclass",
    )


def _calling_frame() -> FrameType | None:
    frame = inspect.currentframe()  # this function, save_hyperparameters, its caller
    return frame.f_back.f_back if frame and frame.f_back else None


def _name_of(value: Any, frame: FrameType | None) -> str:
    """The `__init__` argument that holds `value`: `load_from_checkpoint` passes it under that name."""
    if frame is not None:
        names = inspect.getargvalues(frame).args
        for name in names:
            if frame.f_locals.get(name) is value:
                return name
    return "kwargs"


def _named_arguments(owner: Any, frame: FrameType | None, names: tuple[str, ...]) -> dict[str, Any]:
    given = _init_arguments(owner, frame)
    unknown = [name for name in names if name not in given]
    if unknown:
        raise UsageError(
            "`save_hyperparameters` was asked for what __init__ does not take.",
            received=unknown,
            expected=", ".join(given) or "no arguments",
            fix=did_you_mean(unknown[0], given),
        )
    return {name: given[name] for name in names or given}


def _init_arguments(owner: Any, frame: FrameType | None) -> dict[str, Any]:
    """Arguments of the `__init__` that is running, then of those of subclasses that called it."""
    if is_dataclass(owner) and frame is not None and frame.f_code.co_name == "__post_init__":
        return {field.name: getattr(owner, field.name) for field in fields(owner) if field.init}
    codes = {_code(kind) for kind in type(owner).__mro__}
    found: dict[str, Any] = {}
    while frame is not None and frame.f_code not in codes:
        frame = frame.f_back  # out of a method that __init__ called
    while frame is not None and frame.f_code in codes:
        values = inspect.getargvalues(frame)
        if values.locals.get(values.args[0] if values.args else "") is not owner:
            break
        found |= {name: values.locals[name] for name in values.args[1:] if name in values.locals}
        found |= values.locals.get(values.keywords, {}) if values.keywords else {}
        frame = frame.f_back
    return found


def _code(kind: type) -> Any:
    init = inspect.unwrap(kind.__dict__["__init__"]) if "__init__" in kind.__dict__ else None
    return getattr(init, "__code__", None)  # builtins have none


def arguments_from(
    cls: type,
    checkpoint: MutableMapping[str, Any],
    owner: type[HyperparametersMixin],
    overrides: dict[str, Any],
) -> dict[str, Any]:
    """What to call `cls` with to make it again as the checkpoint says; `overrides` win."""
    saved = checkpoint.get(owner.CHECKPOINT_HYPER_PARAMS_KEY) or {}
    hparams = dict(saved) | overrides
    parameters = inspect.signature(cls.__init__).parameters
    name = str(checkpoint.get(owner.CHECKPOINT_HYPER_PARAMS_NAME, "kwargs"))
    if name != "kwargs" and name in parameters and hparams:
        own = {key: value for key, value in overrides.items() if key in parameters}
        whole = AttributeDict({key: value for key, value in hparams.items() if key not in own})
        as_saved = type(saved) is not dict and own.keys() == overrides.keys()  # a container of another kind
        return {name: saved if as_saved else whole, **own}
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return hparams
    return {key: value for key, value in hparams.items() if key in parameters}
