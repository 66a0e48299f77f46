"""A launcher runs a function in every process of the world and hands back what rank 0 returned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any


class Launcher(ABC):
    """How the peers of this process come to life."""

    @abstractmethod
    def launch(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run `function(*args)` in every process; returns the result of rank 0."""


class InPlace(Launcher):
    """Runs in this process, which is already all that there is to be."""

    def launch(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)
