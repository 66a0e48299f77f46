"""The warning that names the modern spelling of something old."""

from __future__ import annotations

import sys

from fulmen.base import environ
from fulmen.base.report import warn_once

_NOT_THE_USERS = ("fulmen.", "torch.", "contextlib", "functools")

QUIET_VARIABLE = "FULMEN_QUIET"
"""Set where nothing is to be said about old spellings: here, and in the processes that are started here."""


class OldSpelling(UserWarning):
    """Something was spelled as older versions had it: it works, and the message says how it is spelled now.

    `warnings.simplefilter("ignore", fulmen.compat.OldSpelling)` turns all of them off.
    """


def say_modern(old: str, modern: str) -> None:
    """Warn, once for each `old`, that it is spelled `modern` now."""
    if environ.read(QUIET_VARIABLE) is None:
        warn_once(f"{old} is an old spelling. Now: {modern}", OldSpelling, stacklevel=_levels_to_user())


def _levels_to_user() -> int:
    """How many callers away the line of the user's is that led here."""
    levels, frame = 2, sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_NOT_THE_USERS):
        levels, frame = levels + 1, frame.f_back
    return levels


def be_quiet() -> None:
    """Say nothing about old spellings from now on, in this process and those that it starts."""
    environ.write(QUIET_VARIABLE, "1")
