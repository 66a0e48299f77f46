"""The one door to the process's environment variables."""

from __future__ import annotations

import os


def read(name: str) -> str | None:
    """The variable's value, or None where it is not set."""
    return os.environ.get(name)


def read_prefixed(prefix: str) -> dict[str, str]:
    """Every variable whose name starts with `prefix`, the prefix removed."""
    return {name[len(prefix) :]: value for name, value in os.environ.items() if name.startswith(prefix)}


def write(name: str, value: str | None) -> None:
    """Set a variable, for this process and the ones it starts; None removes it."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
