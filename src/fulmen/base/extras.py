"""Optional packages: imported where they are used, and a missing one says how to get it."""

from __future__ import annotations

import importlib
import importlib.util
import random
from functools import cache
from types import ModuleType

from fulmen.errors import MissingExtra


@cache
def available(package: str) -> bool:
    """Whether `package` can be imported; finding out does not import it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # a parent package of a dotted name is missing
        return False


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional module, or raise `MissingExtra` with the command that installs it."""
    package = module.partition(".")[0]
    if not available(package):
        raise MissingExtra(
            f"The package {package!r} is needed here and is not installed.",
            fix=f"pip install 'fulmen[{extra}]'",
        )
    state = random.getstate()  # some packages draw random numbers when they are imported
    try:
        return importlib.import_module(module)
    finally:
        random.setstate(state)
