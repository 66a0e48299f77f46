"""Python runs this first in each process of a program that runs on fulmen under Lightning's names.

Nothing is imported here that a process may not need: fulmen comes when Lightning is asked for.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from typing import Any

_PACKAGES = ("pytorch_lightning", "lightning", "lightning_fabric", "lightning_lite")


class _Waiting:
    """Goes before all finders until Lightning is looked for, and then makes way for fulmen's."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname.partition(".")[0] not in _PACKAGES:
            return None
        finder = self._make_way()
        return None if finder is None else finder.find_spec(fullname, path, target)

    def find_distributions(self, context: Any = None) -> Any:
        name = re.sub("[-_.]+", "_", getattr(context, "name", None) or "").lower()
        finder = self._make_way() if name in _PACKAGES else None
        return () if finder is None else finder.find_distributions(context)

    def _make_way(self) -> Any:
        sys.meta_path.remove(self)
        try:
            found = importlib.import_module("fulmen.compat.lightning.finder")
        except ModuleNotFoundError as error:
            if error.name not in ("fulmen", "torch"):
                raise
            return None  # the Python of another environment
        found.install()
        return found.FINDER


def _run_next() -> None:
    """Run the `sitecustomize` that there would be without this one."""
    this = sys.modules.pop("sitecustomize")
    try:
        importlib.import_module("sitecustomize")
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        sys.modules.setdefault("sitecustomize", this)


if __name__ == "sitecustomize":
    sys.path[:] = [folder for folder in sys.path if folder != os.path.dirname(__file__)]
    sys.meta_path.insert(0, _Waiting())
    _run_next()
