"""A precision by its name of today, which equals the number that stood for it up to 1.9 as well."""

from __future__ import annotations

from typing import Any

from fulmen.compat.spelling import say_modern

FORMER: dict[str, tuple[Any, ...]] = {
    "16-mixed": (16, "16"),
    "bf16-mixed": ("bf16",),
    "32-true": (32, "32"),
    "64-true": (64, "64"),
}
"""What `trainer.precision` was, by what it is."""

NUMBERS = tuple(value for values in FORMER.values() for value in values)
"""All that was."""


class PrecisionName(str):
    """`trainer.precision` of a Trainer that was made with old arguments."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PrecisionName) or other not in FORMER.get(str(self), ()):
            return str.__eq__(self, other)
        say_modern(f"trainer.precision == {other!r}", f"trainer.precision == {str(self)!r}")
        return True

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__
