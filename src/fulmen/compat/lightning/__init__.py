"""PyTorch Lightning, 1.0 to 2.6: names, arguments, hooks, ways of working and files."""

from __future__ import annotations

import importlib


def install() -> None:
    """Let imports of Lightning, by any path of any version, find fulmen: here and in processes started here.

    It goes before what is installed under these names. Raises `UsageError` where that was imported before.
    """
    importlib.import_module("fulmen.compat.lightning.run").install()


def uninstall() -> None:
    """Take `install` back; what was imported meanwhile stays what it is."""
    importlib.import_module("fulmen.compat.lightning.run").uninstall()
