"""Which methods a user's class really overrides, and what a callable accepts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial


def is_overridden(name: str, obj: object, base: type) -> bool:
    """Whether `obj` has its own `name` instead of the one that `base` defines.

    Methods set on the instance, wrapped by decorators or by `functools.partial` count as overridden.
    """
    found = getattr(obj, name, None)
    if found is None:
        return False
    while isinstance(found, partial):
        found = found.func
    return getattr(found, "__func__", found) is not getattr(base, name, None)


def accepts(call: Callable, name: str) -> bool:
    """Whether `call` takes an argument called `name`, by name or through `**kwargs`."""
    parameters = inspect.signature(call).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def positional_capacity(call: Callable) -> float:
    """How many positional arguments `call` takes; infinite with `*args`."""
    kinds = [p.kind for p in inspect.signature(call).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return float("inf")
    return sum(
        k in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for k in kinds
    )
