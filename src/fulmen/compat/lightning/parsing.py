"""Arguments, hyperparameters and words, as users of Lightning know them."""

from __future__ import annotations

import inspect
import pickle
from argparse import Namespace
from collections.abc import Iterable, MutableMapping
from types import FrameType
from typing import Any, get_args, get_type_hints

from fulmen.base.report import warn
from fulmen.core.hparams import HyperparametersMixin
from fulmen.loggers.hparams import flatten

_TRUE = ("y", "yes", "t", "true", "on", "1")
_FALSE = ("n", "no", "f", "false", "off", "0")


def str_to_bool_or_str(val: str) -> str | bool:
    """True or False where the word says so, else the word."""
    word = val.lower()
    return True if word in _TRUE else False if word in _FALSE else val


def str_to_bool(val: str) -> bool:
    """True or False, as the word says; a `ValueError` where it does not."""
    value = str_to_bool_or_str(val)
    if isinstance(value, bool):
        return value
    raise ValueError(f"{val!r} says neither yes nor no")


def str_to_bool_or_int(val: str) -> bool | int | str:
    """True or False, or a number, else the word."""
    value = str_to_bool_or_str(val)
    if isinstance(value, bool):
        return value
    try:
        return int(val)
    except ValueError:
        return val


def is_picklable(obj: object) -> bool:
    """Whether `obj` can be pickled."""
    try:
        pickle.dumps(obj)
    except Exception:  # of any kind: it is the object's own code that runs
        return False
    return True


def clean_namespace(hparams: Any) -> None:
    """Remove what cannot be pickled."""
    content = vars(hparams) if isinstance(hparams, Namespace) else hparams
    for name in [name for name, value in content.items() if not is_picklable(value)]:
        warn(f"{name!r} cannot be pickled and is left out.")
        del content[name]


def flatten_dict(x: dict[str, Any], layers: dict[str, Any] | None = None) -> dict[str, Any]:
    """All entries of a dict of dicts in one, under their own names."""
    flat = {} if layers is None else layers
    for name, value in x.items():
        if isinstance(value, dict):
            flatten_dict(value, flat)
        else:
            flat[name] = value
    return flat


def _convert_params(params: Any) -> dict[str, Any]:
    if params is None:
        return {}
    return vars(params) if isinstance(params, Namespace) else params


def _flatten_dict(params: Any, delimiter: str = "/") -> dict[str, Any]:
    return flatten(_convert_params(params), separator=delimiter)


def _sanitize_callable_params(params: dict[str, Any]) -> dict[str, Any]:
    return {name: getattr(value, "__name__", value) for name, value in params.items()}


# ------------------------------------------------------------------------------------------ what __init__ got


def parse_class_init_keys(cls: type) -> tuple[str, str | None, str | None]:
    """How a class's `__init__` calls itself, its `*args` and its `**kwargs`."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())

    def named(kind: Any) -> str | None:
        return next((parameter.name for parameter in parameters if parameter.kind is kind), None)

    return parameters[0].name, named(inspect.Parameter.VAR_POSITIONAL), named(inspect.Parameter.VAR_KEYWORD)


def get_init_arguments_and_types(cls: type) -> list[tuple[str, tuple[Any, ...], Any]]:
    """The name, the types and the default of each argument of a class's `__init__`."""
    hints = get_type_hints(cls.__init__)
    return [
        (name, get_args(hints.get(name)) or (hints.get(name, parameter.annotation),), parameter.default)
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def get_init_args(frame: FrameType) -> dict[str, Any]:
    """The arguments of the `__init__` that runs in this frame, without `self` and `*args`."""
    values = inspect.getargvalues(frame)
    if "__class__" not in values.locals:
        return {}
    given = {name: values.locals[name] for name in values.args[1:]}
    return given | (values.locals[values.keywords] if values.keywords else {})


def collect_init_args(
    frame: FrameType, path_args: list[dict[str, Any]], inside: bool = False, classes: tuple[type, ...] = ()
) -> list[dict[str, Any]]:
    """The arguments of this `__init__`, and of those of subclasses that called it, the innermost first."""
    found = list(path_args)
    current: FrameType | None = frame
    while current is not None:
        owner = current.f_locals.get("__class__")
        if (
            isinstance(owner, type)
            and current.f_code.co_name == "__init__"
            and issubclass(owner, classes or object)
        ):
            found.append(get_init_args(current))
        elif found[len(path_args) :]:
            break
        current = current.f_back
    return found


def save_hyperparameters(
    obj: HyperparametersMixin,
    *args: Any,
    ignore: str | Iterable[str] | None = None,
    frame: FrameType | None = None,
    given_hparams: dict[str, Any] | None = None,
) -> None:
    """As the method of modules and datamodules."""
    caller = inspect.currentframe()
    frame = frame or (caller.f_back if caller else None)
    HyperparametersMixin.save_hyperparameters(obj, *args, ignore=ignore, frame=frame)
    if given_hparams:
        obj.hparams.update(given_hparams)


# --------------------------------------------------------------------------- an attribute, wherever it may be


def _holders(model: Any, attribute: str) -> list[Any]:
    """Which of the module, its hyperparameters, its datamodule and those of that one have the attribute."""
    trainer = getattr(model, "_trainer", None)
    datamodule = getattr(trainer, "datamodule", None)
    places = [model, getattr(model, "hparams", None), datamodule, getattr(datamodule, "hparams", None)]
    return [
        place
        for place in places
        if (attribute in place if isinstance(place, MutableMapping) else hasattr(place, attribute))
    ]


def lightning_hasattr(model: Any, attribute: str) -> bool:
    """Whether a module, its hyperparameters or its datamodule have the attribute."""
    return bool(_holders(model, attribute))


def lightning_getattr(model: Any, attribute: str) -> Any:
    """The attribute of the last of them that has it."""
    holder = _demand(model, attribute)[-1]
    return holder[attribute] if isinstance(holder, MutableMapping) else getattr(holder, attribute)


def lightning_setattr(model: Any, attribute: str, value: Any) -> None:
    """Set the attribute of all that have it."""
    for holder in _demand(model, attribute):
        if isinstance(holder, MutableMapping):
            holder[attribute] = value
        else:
            setattr(holder, attribute, value)


def _demand(model: Any, attribute: str) -> list[Any]:
    holders = _holders(model, attribute)
    if not holders:
        raise AttributeError(
            f"neither the module nor its hyperparameters nor its datamodule have {attribute!r}"
        )
    return holders
