"""Lightning's imports in a whole program: in this process, and in all that it starts."""

from __future__ import annotations

import os

from fulmen.base import environ
from fulmen.compat.lightning import finder

STARTUP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "startup")
"""A folder with a `sitecustomize`, which Python runs first wherever the folder is on its path."""

PATH_VARIABLE = "PYTHONPATH"


def install() -> None:
    """As `fulmen.compat.lightning.install`."""
    finder.install()
    prepare_processes()


def uninstall() -> None:
    """As `fulmen.compat.lightning.uninstall`."""
    finder.uninstall()
    environ.write(PATH_VARIABLE, os.pathsep.join(_other_folders()) or None)


def prepare_processes() -> None:
    """Let the Python processes that are started from now on find fulmen under Lightning's names."""
    environ.write(PATH_VARIABLE, os.pathsep.join([STARTUP, *_other_folders()]))


def _other_folders() -> list[str]:
    given = environ.read(PATH_VARIABLE)
    return [folder for folder in given.split(os.pathsep) if folder != STARTUP] if given else []
