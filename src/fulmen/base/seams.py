"""Where what is not understood here is shown to the outermost floor, which may know other spellings.

Nobody below that floor knows what those are. `connect` names the object that does; it is imported when it is
first asked.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from abc import ABCMeta
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from fulmen.base.report import warn
from fulmen.errors import NotAttachedError, UsageError


@dataclass
class Arguments:
    """What a constructor was given, and what there is to do once it has run."""

    positional: tuple[Any, ...]
    keywords: dict[str, Any]
    finish: Callable[[Any], None] | None = None


class Interpreter:
    """Takes everything as it is."""

    def constructor(self, name: str, arguments: Arguments) -> Arguments:
        """What the constructor of the class `name` takes, of what it was given."""
        return arguments

    def call(self, owner: Any, method: str, given: dict[str, Any], unknown: dict[str, Any]) -> dict[str, Any]:
        """What `method` of `owner` is to be given, instead of that and of keywords that it does not know."""
        raise TypeError(
            f"{type(owner).__name__}.{method}() got an unexpected keyword argument {next(iter(unknown))!r}"
        )

    def hook(
        self, owner: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What a hook's own version takes, of what code gives it that overrides it and calls it."""
        return args, kwargs

    def attribute(self, owner: Any, name: str) -> Any:
        """An attribute that the object `owner` does not have."""
        raise AttributeError(f"{type(owner).__name__!r} object has no attribute {name!r}")

    def class_attribute(self, owner: type, name: str) -> Any:
        """An attribute that the class `owner` does not have."""
        raise AttributeError(f"type object {owner.__name__!r} has no attribute {name!r}")

    def log_number(self, name: str, value: Any) -> Any:
        """The number to log, of something that is none."""
        raise UsageError(
            f"`self.log({name!r})` takes a single number.",
            received=f"a tensor of shape {tuple(value.shape)}",
            fix=f"self.log({name!r}, value.mean())",
        )

    def log_group(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        """What to log, by name, of a dict."""
        raise UsageError(
            f"`self.log({name!r})` takes a number, a tensor or a metric.",
            received="dict",
            fix="self.log_dict(values) logs a dict",
        )

    def refused_slot(self, module: Any, name: str, hook: str, arguments: Any, reason: UsageError) -> Any:
        """What takes the values that `module` logs in `hook`, in a way that is an error here."""
        raise reason

    def loaders(self, owner: Any, kind: str) -> Any:
        """The loaders of a kind for a module or datamodule that defines none; None where there are none."""
        return None

    def no_trainer(self, owner: Any) -> None:
        """What `trainer` of a module is that has none."""
        raise NotAttachedError(
            f"{type(owner).__name__} is not attached to a Trainer.",
            fix="read `self.trainer` in hooks and steps, not in __init__",
        )

    def set_hparams(self, owner: Any, hparams: Any) -> None:
        """What assigning to `hparams` does."""
        raise AttributeError(f"`hparams` of {type(owner).__name__} is set by `save_hyperparameters`")

    def adapter(self, run: Any) -> Any:
        """How this run calls what its user's classes define; None for: as it stands there."""
        return None

    def place(self, run: Any, saved: dict[str, Any]) -> None:
        """Put `run` to where somebody else's checkpoint was saved; `saved` is all of it but its tensors."""
        if "loops" not in saved:
            epoch = run.progress.epoch
            warn(f"{run.ckpt_path} does not say where training stood; it goes on at epoch {epoch}.")

    def migrate(self, checkpoint: dict[str, Any], path: Any) -> dict[str, Any]:
        """A checkpoint as it is written now, of one that may have been written otherwise."""
        return checkpoint


_connected: list[Any] = [Interpreter()]


def connect(name: str) -> None:
    """Ask the object `name`, as in "package.module:object", from now on."""
    _connected[0] = name


def outer() -> Interpreter:
    """Who is asked."""
    found = _connected[0]
    if isinstance(found, str):
        module, _, name = found.partition(":")
        found = _connected[0] = getattr(importlib.import_module(module), name)
    return found


class AsksOutside(ABCMeta):
    """Of classes whose missing attributes the outermost floor may know; abstract ones may be mixed in."""

    if not TYPE_CHECKING:

        def __getattr__(cls, name: str) -> Any:
            if name.startswith("_"):  # what the interpreter and libraries look for
                raise AttributeError(name)
            return outer().class_attribute(cls, name)


class LentToModules:
    """A base of modules that the outermost floor may put attributes into.

    Asking for what is missing, as other classes do, would cost each look at a layer something.
    """


class LentToCallbacks:
    """A base of callbacks that the outermost floor may put attributes into, which `super()` finds there."""


def respelled(method: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call with other spellings replaced.

    `parameters` are the `locals()` of a method that takes `**otherwise`, before it has any others.
    """
    given = {name: value for name, value in parameters.items() if name not in ("self", "otherwise")}
    return outer().call(parameters["self"], method, given, parameters["otherwise"])


def understood(init: Callable[..., None]) -> Callable[..., None]:
    """Decorate a constructor to have other spellings of its arguments understood."""
    owner = init.__qualname__.split(".")[0]

    @functools.wraps(init)
    def understanding(self: Any, *args: Any, **kwargs: Any) -> None:
        arguments = outer().constructor(owner, Arguments(args, kwargs))
        init(self, *arguments.positional, **arguments.keywords)
        if arguments.finish is not None:
            arguments.finish(self)

    return understanding


Hook = TypeVar("Hook", bound=Callable[..., Any])


def understood_hook(hook: Hook) -> Hook:
    """Decorate a hook that overrides may call with other arguments than it takes."""
    parameters = [p for p in inspect.signature(hook).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    most = len(parameters) - 1
    least = sum(parameter.default is parameter.empty for parameter in parameters) - 1

    @functools.wraps(hook)
    def understanding(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs or not least <= len(args) <= most:
            args, kwargs = outer().hook(self, hook.__name__, args, kwargs)
        return hook(self, *args, **kwargs)

    return cast("Hook", understanding)
