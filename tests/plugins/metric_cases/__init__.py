"""The cases of all metrics."""

from __future__ import annotations

import importlib
import pkgutil

from .case import Case

CASES: list[Case] = [
    case
    for module in pkgutil.iter_modules(__path__)
    if module.name not in ("case", "compare")
    for case in importlib.import_module(f"{__name__}.{module.name}").CASES
]
