"""What a run tells the user: one logger, warnings that are said once, and which of the processes speaks."""

from __future__ import annotations

import functools
import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any


class FulmenWarning(UserWarning):
    """Something that works, but probably not as the user thinks."""


def _print_to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


class _ConsoleHandler(logging.Handler):
    """Prints messages to stderr, unless the application has set up logging itself."""

    print_line: Callable[[str], Any] = staticmethod(_print_to_stderr)

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            self.print_line(self.format(record))


log = logging.getLogger("fulmen")
log.setLevel(logging.INFO)
_console = _ConsoleHandler()
log.addHandler(_console)


def print_messages_with(print_line: Callable[[str], Any] | None) -> None:
    """Hand messages to `print_line` while something is on the screen that they would tear; None ends it."""
    _console.print_line = print_line or _print_to_stderr


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
