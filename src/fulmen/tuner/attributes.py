"""Where a module or a datamodule keeps a number that is to be found out."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from fulmen.engine.rehearsal import Rehearsal
from fulmen.errors import ConfigError


def find_attribute(rehearsal: Rehearsal, names: Sequence[str], argument: str) -> str:
    """The first of these names under which the module, the datamodule or their hyperparameters have one."""
    for name in names:
        if _holders(rehearsal, name):
            return name
    fields = " or ".join(f"`{name}`" for name in names)
    raise ConfigError(
        f"Neither the module nor the datamodule has {fields}, as an attribute or as a hyperparameter.",
        fix=f"self.{names[0]} = {names[0]} in __init__, or {argument}= with the name that it has",
    )


def read_attribute(rehearsal: Rehearsal, name: str) -> Any:
    """Its value."""
    return _holders(rehearsal, name)[0][name]


def set_attribute(rehearsal: Rehearsal, name: str, value: Any) -> None:
    """Change it wherever it is kept."""
    for holder in _holders(rehearsal, name):
        holder[name] = value


class _Attributes:
    """An object's attributes, as entries."""

    def __init__(self, owner: object) -> None:
        self._owner = owner

    def __contains__(self, name: str) -> bool:
        return inspect.getattr_static(self._owner, name, None) is not None  # what it has itself

    def __getitem__(self, name: str) -> Any:
        return getattr(self._owner, name)

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self._owner, name, value)


def _holders(rehearsal: Rehearsal, name: str) -> list[Any]:
    owners = [owner for owner in (rehearsal.module, rehearsal.datamodule) if owner is not None]
    holders = [holder for owner in owners for holder in (_Attributes(owner), owner.hparams)]
    return [holder for holder in holders if name in holder]
