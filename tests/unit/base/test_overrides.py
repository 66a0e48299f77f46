"""Which methods a class really overrides, and what a callable accepts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest

from fulmen.base.overrides import accepts, is_overridden, positional_capacity


class Base:
    def hook(self, batch: Any = None) -> None:
        pass


class Silent(Base):
    pass


class Own(Base):
    def hook(self, batch: Any = None) -> None:
        pass


class Inherits(Own):
    pass


class CallsSuper(Base):
    def hook(self, batch: Any = None) -> None:
        super().hook(batch)


class Mixin:
    def hook(self, batch: Any = None) -> None:
        pass


class Mixed(Mixin, Base):
    pass


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Decorated(Base):
    @logged
    def hook(self, batch: Any = None) -> None:
        pass


class DecoratedBase(Base):
    """The wrapper is the class's own, though what it wraps is not."""

    hook = logged(Base.hook)


class Static(Base):
    @staticmethod
    def hook(batch: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        pass


class OfTheClass(Base):
    @classmethod
    def hook(cls, batch: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        pass


class Assigned(Base):
    def __init__(self) -> None:
        self.hook = lambda batch=None: None  # pyright: ignore[reportIncompatibleMethodOverride]


class AssignedPartial(Base):
    def __init__(self) -> None:
        self.hook = functools.partial(self.own, 1)  # pyright: ignore[reportIncompatibleMethodOverride]

    def own(self, number: int, batch: Any = None) -> None:
        pass


class AssignedItself(Base):
    def __init__(self) -> None:
        self.hook = self.hook  # pyright: ignore[reportIncompatibleMethodOverride]


class Replaced(Base):
    hook = Mock()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Base, False),
        (Silent, False),
        (AssignedItself, False),
        (Own, True),
        (Inherits, True),
        (CallsSuper, True),
        (Mixed, True),
        (Decorated, True),
        (DecoratedBase, True),
        (Static, True),
        (OfTheClass, True),
        (Assigned, True),
        (AssignedPartial, True),
        (Replaced, True),
    ],
)
def test_is_overridden(kind: type[Base], expected: bool) -> None:
    assert is_overridden("hook", kind(), Base) is expected


def test_what_is_not_there_is_not_overridden() -> None:
    assert not is_overridden("no_such_hook", Own(), Base)


def test_what_the_base_does_not_have_is_overridden_by_whoever_has_it() -> None:
    assert is_overridden("own", AssignedPartial(), Base)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda batch: None, True),
        (lambda *, batch: None, True),
        (lambda **options: None, True),
        (lambda other: None, False),
        (lambda *args: None, False),
        (Own().hook, True),
        (Decorated().hook, True),
        (functools.partial(lambda batch, other: None, other=1), True),
    ],
)
def test_accepts(call: Callable[..., Any], expected: bool) -> None:
    assert accepts(call, "batch") is expected


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: None, 0),
        (lambda a, b=1: None, 2),
        (lambda a, /, b: None, 2),
        (lambda a, *, b: None, 1),
        (lambda a, **options: None, 1),
        (lambda a, *rest: None, float("inf")),
        (Own().hook, 1),
        (Decorated().hook, 1),
        (functools.partial(lambda a, b, c: None, 1), 2),
    ],
)
def test_positional_capacity(call: Callable[..., Any], expected: float) -> None:
    assert positional_capacity(call) == expected
