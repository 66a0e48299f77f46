"""How a run calls what its user's classes define, where that is not as the catalogue of hooks has it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fulmen.core.callback import Callback
    from fulmen.core.hooks import Hook
    from fulmen.core.logger import Logger
    from fulmen.engine.step import Step

Call = Callable[..., Any]


class Adapter(ABC):
    """Made for one run by the outermost floor, for classes that were written for other hooks than these."""

    @abstractmethod
    def method(self, owner: Any, name: str) -> Call:
        """`owner`'s method, as something that takes what the hook or the step of this name is given."""

    @abstractmethod
    def event(self, hook: Hook, callbacks: list[Callback], calls: list[Call]) -> list[Call]:
        """The listeners of an event, in order; `calls` are those that the catalogue knows."""

    @abstractmethod
    def main_logger(self, loggers: list[Logger]) -> Logger:
        """What stands for several loggers where one is asked for."""

    @abstractmethod
    def shown_loaders(self, kind: str, given: Any) -> Any:
        """What was given to train or evaluate on, as the Trainer shows it."""

    @abstractmethod
    def make_step(self) -> Step | None:
        """How a batch becomes an update; None for: as ever."""
