"""What a run tells the user: one logger, warnings that are said once, and who speaks among several processes."""

from __future__ import annotations

import functools
import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any


class FulmenWarning(UserWarning):
    """Something that works, but probably not as the user thinks."""


class _ConsoleHandler(logging.Handler):
    """Prints messages to stderr, unless the application has set up logging itself."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            print(self.format(record), file=sys.stderr)


log = logging.getLogger("fulmen")
log.setLevel(logging.INFO)
log.addHandler(_ConsoleHandler())


def rank_zero_only(call: Callable) -> Callable:
    """Decorate a function so that it runs in the process of global rank 0 only; elsewhere it returns None."""

    @functools.wraps(call)
    def on_rank_zero(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs) if rank_zero_only.rank == 0 else None

    return on_rank_zero


rank_zero_only.rank = 0  # pyright: ignore[reportFunctionMemberAccess]  # public name of old; set when a World is known


@rank_zero_only
def info(message: str) -> None:
    """Tell the user something, once for all processes."""
    log.info(message)


@rank_zero_only
def warn(message: str, category: type[Warning] = FulmenWarning, *, stacklevel: int = 2) -> None:
    """Warn the user, once for all processes."""
    warnings.warn(message, category, stacklevel=stacklevel + 2)


_said: set[str] = set()


def warn_once(message: str, category: type[Warning] = FulmenWarning, *, stacklevel: int = 2) -> None:
    """Warn the first time that this message is given in this process."""
    if message not in _said:
        _said.add(message)
        warn(message, category, stacklevel=stacklevel + 1)


def forget_warnings() -> None:
    """Let `warn_once` say everything again."""
    _said.clear()
