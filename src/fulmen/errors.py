"""The errors that users see. Each says what happened, what was received and expected, how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FulmenError(Exception):
    """Base of every error that fulmen raises on purpose."""

    def __init__(
        self, what: str, *, received: object = None, expected: object = None, fix: str | None = None
    ) -> None:
        lines = [what]
        if received is not None:
            lines.append(f"  received: {received}")
        if expected is not None:
            lines.append(f"  expected: {expected}")
        if fix is not None:
            lines.append(f"  fix: {fix}")
        super().__init__("\n".join(lines))


class UsageError(FulmenError):
    """A user's code asks for something that has no meaning where it asks."""


class NotAttachedError(UsageError, RuntimeError):
    """Something of a run was asked for outside of one."""


class ConfigError(UsageError, ValueError):
    """An argument has a value that cannot be used, alone or together with another one."""


class UnknownArgumentError(ConfigError, TypeError):
    """A keyword argument that nothing understands."""


class MetricNotFoundError(UsageError, RuntimeError):
    """A monitored name that nobody logs."""


class CheckpointError(FulmenError, RuntimeError):
    """A checkpoint could not be written, or cannot be read into this run."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no such checkpoint; scripts that resume "if there is one" catch a FileNotFoundError."""


class DistributedError(FulmenError, RuntimeError):
    """Processes disagree, or one is missing."""


class MissingExtra(FulmenError, ImportError):
    """An optional package is needed and not installed."""


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A sentence that names the known word nearest to `word`, or None."""
    near = difflib.get_close_matches(word, [str(k) for k in known], n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else None
