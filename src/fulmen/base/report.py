"""What a run tells the user: one logger, warnings that are said once, and which of the processes speaks."""

from __future__ import annotations

import functools
import logging
import sys
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

from fulmen.base import environ

RANK_VARIABLE = "FULMEN_RANK"
"""Which of its processes this one is, where a script was started once more for each of its devices."""


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


# A public name of old; set when a World is known, and before that in a process that another one has started.
rank_zero_only.rank = int(environ.read(RANK_VARIABLE) or 0)  # pyright: ignore[reportFunctionMemberAccess]


def own_rank() -> int:
    """This process's rank among all that were started together, as far as that is known yet."""
    return rank_zero_only.rank  # pyright: ignore[reportFunctionMemberAccess]


@rank_zero_only
def info(message: str) -> None:
    """Tell the user something, once for all processes."""
    log.info(message)


@rank_zero_only
def warn(message: str, category: type[Warning] = FulmenWarning, *, stacklevel: int = 2) -> None:
    """Warn the user, once for all processes."""
    warnings.warn(message, category, stacklevel=stacklevel + 2)


def leave_to_others(error: BaseException, hint: str | None = None) -> None:
    """Should nobody catch it, print only the hint of an error that another process prints for all."""
    before = sys.excepthook

    def hook(kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        if value is not error:
            before(kind, value, traceback)
        elif hint is not None:
            log.error(hint)

    sys.excepthook = hook


_said: set[str] = set()


def warn_once(message: str, category: type[Warning] = FulmenWarning, *, stacklevel: int = 2) -> None:
    """Warn the first time that this message is given in this process."""
    if message not in _said:
        _said.add(message)
        warn(message, category, stacklevel=stacklevel + 1)


def forget_warnings() -> None:
    """Let `warn_once` say everything again."""
    _said.clear()
