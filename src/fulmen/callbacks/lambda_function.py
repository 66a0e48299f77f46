"""A callback made of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fulmen.base.seams import understood
from fulmen.core.callback import Callback
from fulmen.core.hooks import EVENTS
from fulmen.errors import ConfigError, UnknownArgumentError, did_you_mean

_HOOKS = tuple(hook.name for hook in EVENTS)


class LambdaCallback(Callback):
    """Calls the functions it is given: `LambdaCallback(on_train_start=lambda trainer, module: ...)`."""

    @understood
    def __init__(self, **hooks: Callable[..., Any] | None) -> None:
        for name, call in hooks.items():
            if name not in _HOOKS:
                raise UnknownArgumentError(
                    "LambdaCallback was given a hook that callbacks do not have.",
                    received=repr(name),
                    fix=did_you_mean(name, _HOOKS) or f"one of {', '.join(_HOOKS)}",
                )
            if call is None:
                continue
            if not callable(call):
                raise ConfigError("LambdaCallback needs something to call.", received=f"{name}={call!r}")
            setattr(self, name, call)
