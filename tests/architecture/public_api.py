"""The public API as text, a line per name: what users can call, and how.

After a change that is meant:  python tests/architecture/public_api.py > tests/architecture/public_api.txt
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from fulmen.base.seams import LentToCallbacks, LentToModules

PACKAGES = (
    "fulmen",
    "fulmen.callbacks",
    "fulmen.loggers",
    "fulmen.metrics",
    "fulmen.metrics.functional",
    "fulmen.profilers",
    "fulmen.strategies",
    "fulmen.tuner",
)


def lines() -> list[str]:
    """Every public name, each class followed by the members that its public bases do not have like that."""
    packages = [importlib.import_module(name) for name in PACKAGES]
    things = {
        f"{package.__name__}.{name}": getattr(package, name)
        for package in packages
        for name in package.__all__
    }
    classes = {thing for thing in things.values() if inspect.isclass(thing)}
    described: dict[Any, str] = {}
    found: list[str] = []
    for path, thing in sorted(things.items()):
        if isinstance(thing, ModuleType):
            continue
        if thing in described:
            found.append(f"{path} = {described[thing]}")
            continue
        described[thing] = path
        found.append(_signed(path, thing))
        if inspect.isclass(thing):
            bases = [base for base in thing.__mro__[1:] if base in classes]
            inherited = {line for base in bases for line in _members(base)}
            found += [f"    {line}" for line in _members(thing) if line not in inherited]
    return found


def _members(kind: type) -> Iterator[str]:
    """The public members, but for those from other packages, and for those that are lent."""
    for name in sorted(name for name in dir(kind) if not name.startswith("_")):
        owner = next(base for base in kind.__mro__ if name in vars(base))
        if owner.__module__.partition(".")[0] == "fulmen" and owner not in (LentToCallbacks, LentToModules):
            member = vars(owner)[name]
            if isinstance(member, property):
                yield f"{name}: property" + (", can be set" if member.fset else "")
            else:
                yield _signed(name, getattr(kind, name))


def _signed(name: str, thing: Any) -> str:
    """Names, kinds and defaults of the arguments; a type put more precisely changes nothing for callers."""
    if not callable(thing) or inspect.isbuiltin(thing):
        return f"{name}: {type(thing).__name__}"
    signature = inspect.signature(thing)
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name != "self"]
    written = str(signature.replace(parameters=parameters, return_annotation=signature.empty))
    return name + re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", written)


if __name__ == "__main__":
    print("\n".join(lines()))
