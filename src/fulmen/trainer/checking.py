"""What goes before the Trainer looks at its arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from fulmen import build
from fulmen.errors import ConfigError, UnknownArgumentError, did_you_mean


def checked(init: Callable[..., None]) -> Callable[..., None]:
    """Refuse arguments that nobody knows or that contradict one another, and let the environment set others.

    `PL_TRAINER_<NAME>` variables set the arguments that are not passed.
    """
    names = [name for name in inspect.signature(init).parameters if name != "self"]

    @functools.wraps(init)
    def checked_init(self: Any, **arguments: Any) -> None:
        for name in arguments:
            if name not in names:
                raise UnknownArgumentError(
                    "Trainer got an unknown argument.", received=name, fix=did_you_mean(name, names)
                )
        arguments = build.arguments_from_environment(names) | arguments
        if arguments.get("model_registry") is not None:
            raise ConfigError(
                "`model_registry` names a registry, and this version uploads to none.",
                received=repr(arguments["model_registry"]),
                fix="a callback that uploads the checkpoints",
            )
        if arguments.get("barebones"):
            build.refuse_in_barebones(arguments)
        init(self, **arguments)

    return checked_init
