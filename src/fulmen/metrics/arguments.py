"""Checks of what metrics are made with."""

from __future__ import annotations

from collections.abc import Sequence

from fulmen.errors import ConfigError


def check_among(name: str, value: object, known: Sequence[object]) -> None:
    """Raise unless an argument is one of those that are understood."""
    if value not in known:
        expected = f"one of {', '.join(map(repr, known))}"
        raise ConfigError(f"`{name}` is unknown.", received=repr(value), expected=expected)


def check_at_least(name: str, value: object, least: int) -> None:
    """Raise unless an argument is an integer that is high enough."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(
            f"`{name}` cannot be used.", received=repr(value), expected=f"an integer of at least {least}"
        )


def check_unit(name: str, value: float) -> None:
    """Raise unless an argument is from 0 to 1."""
    if not 0 <= value <= 1:
        raise ConfigError(f"`{name}` cannot be used.", received=repr(value), expected="a number from 0 to 1")
