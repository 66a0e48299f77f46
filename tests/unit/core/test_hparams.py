"""Which arguments `save_hyperparameters` keeps, and how."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.core.hparams import AttributeDict
from fulmen.errors import UsageError


class Base(pl.LightningModule):
    def __init__(self, a: int, b: int = 2, *args: int, c: int = 3, **kwargs: Any) -> None:
        super().__init__()
        self.save_hyperparameters()


def test_all_arguments() -> None:
    """Given ones and defaults; keywords without a name of their own too, positions without one not."""
    assert dict(Base(1).hparams) == {"a": 1, "b": 2, "c": 3}
    assert dict(Base(1, 5, 6, 7, c=8, d=9).hparams) == {"a": 1, "b": 5, "c": 8, "d": 9}


def test_no_arguments() -> None:
    class Nothing(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters()

    assert dict(Nothing().hparams) == {}
    assert dict(pl.LightningModule().hparams) == dict(pl.LightningModule().hparams_initial) == {}


class Silent(Base):
    def __init__(self, d: int, e: int = 5) -> None:
        super().__init__(a=d + 1)


class Grandchild(Silent):
    def __init__(self, f: int) -> None:
        super().__init__(d=f)


class Saves(Base):
    def __init__(self, d: int, e: int = 5) -> None:
        super().__init__(a=d + 1)
        self.save_hyperparameters()


class SavesSome(Base):
    def __init__(self, d: int, e: int = 5) -> None:
        super().__init__(a=d + 1)
        self.save_hyperparameters("d")


class Ignores(Base):
    def __init__(self, d: int, e: int = 5) -> None:
        super().__init__(a=d + 1)
        self.save_hyperparameters(ignore="e")


class Overwrites(Base):
    def __init__(self, a: int, extra: int = 1) -> None:
        super().__init__(a + 1, c=extra)


class Mixin:
    def __init__(self, m: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class Mixed(Mixin, pl.LightningModule):
    def __init__(self, a: int, m: int = 4) -> None:
        super().__init__(m=m)
        self.save_hyperparameters()


OF_BASE = {"a": 11, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("module", "kept"),
    [
        (lambda: Silent(10), {**OF_BASE, "d": 10, "e": 5}),
        (lambda: Grandchild(10), {**OF_BASE, "d": 10, "e": 5, "f": 10}),
        (lambda: Saves(10), {**OF_BASE, "d": 10, "e": 5}),
        (lambda: SavesSome(10), {**OF_BASE, "d": 10, "e": 5}),
        (lambda: Ignores(10), {**OF_BASE, "d": 10}),
        (lambda: Overwrites(1), {"a": 1, "b": 2, "c": 1, "extra": 1}),
        (lambda: Mixed(1), {"a": 1, "m": 4}),
    ],
    ids=["silent", "grandchild", "saves", "saves some", "ignores", "overwrites", "mixin"],
)
def test_inheritance(module: Callable[[], pl.LightningModule], kept: dict[str, int]) -> None:
    """The arguments of the class, which is what has to be called again, and of its parents; its own win."""
    assert dict(module().hparams) == kept


def made_with(*args: Any, **kwargs: Any) -> type[pl.LightningModule]:
    """A class that saves with these arguments of `save_hyperparameters`; takes a, b and **rest."""

    class Made(pl.LightningModule):
        def __init__(self, a: Any = 1, b: Any = 2, **rest: Any) -> None:
            super().__init__()
            self.save_hyperparameters(*args, **kwargs)

    return Made


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ({"args": ["a"]}, {"a": 1}),
        ({"args": ["a", "b"]}, {"a": 1, "b": 2}),
        ({"ignore": "a"}, {"b": 2, "z": 3}),
        ({"ignore": ["a", "z"]}, {"b": 2}),
        ({"ignore": ("a", "nothing")}, {"b": 2, "z": 3}),
        ({"args": ["a", "z"], "ignore": "z"}, {"a": 1}),
        ({"args": [{"x": 1, "y": 2}], "ignore": "x"}, {"y": 2}),
        ({"args": [Namespace(x=1, y=[2])]}, {"x": 1, "y": [2]}),
        ({"args": [{"x": 1}]}, {"x": 1}),
        ({"args": [AttributeDict(x=1)]}, {"x": 1}),
    ],
    ids=str,
)
def test_forms(arguments: dict[str, Any], kept: dict[str, Any]) -> None:
    kind = made_with(*arguments.pop("args", []), **arguments)
    assert dict(kind(z=3).hparams) == kept


@dataclass
class Config:
    x: int = 1
    y: str = "why"


def test_dataclass_as_the_one_argument() -> None:
    assert dict(made_with(Config())().hparams) == {"x": 1, "y": "why"}


def test_names_beside_a_dict() -> None:
    """The dict wins, as it always has."""
    assert dict(made_with("a", {"x": 1})().hparams) == {"x": 1}


@pytest.mark.parametrize(
    ("args", "received"),
    [
        (({"x": 1}, {"y": 1}), "dict"),
        ((3,), "int"),
        ((None,), "NoneType"),
        ((["a", "b"],), "list"),
        ((Config,), "type"),
    ],
    ids=str,
)
def test_what_cannot_be_kept(args: tuple[Any, ...], received: str) -> None:
    with pytest.raises(UsageError, match=rf"(?s)save_hyperparameters.*{received}"):
        made_with(*args)()


def test_name_that_is_no_argument() -> None:
    class Misspelt(pl.LightningModule):
        def __init__(self, learning_rate: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters("leraning_rate")

    with pytest.raises(UsageError, match=r"(?s)'leraning_rate'.*did you mean 'learning_rate'"):
        Misspelt()


@dataclass
class AsDataclass(pl.LightningModule):
    a: int
    b: int = 2

    def __post_init__(self) -> None:
        super().__init__()
        self.save_hyperparameters()


def test_module_that_is_a_dataclass() -> None:
    assert dict(AsDataclass(1).hparams) == {"a": 1, "b": 2}  # pyright: ignore[reportCallIssue]


def test_before_the_base_class_is_initialized() -> None:
    class Early(pl.LightningModule):
        def __init__(self, a: int) -> None:
            self.save_hyperparameters()
            super().__init__()

    assert dict(Early(1).hparams) == {"a": 1}


def test_from_a_method_that_init_calls() -> None:
    class Helped(pl.LightningModule):
        def __init__(self, a: int) -> None:
            super().__init__()
            self.keep()

        def keep(self) -> None:
            self.save_hyperparameters()

    assert dict(Helped(1).hparams) == {"a": 1}


def test_frame_that_is_given() -> None:
    class Framed(pl.LightningModule):
        def __init__(self, a: int) -> None:
            super().__init__()
            frame = inspect.currentframe()
            (lambda: self.save_hyperparameters(frame=frame))()

    assert dict(Framed(1).hparams) == {"a": 1}


def test_decorated_init() -> None:
    def noisy(init: Any) -> Any:
        @functools.wraps(init)
        def wrapped(*args: Any, **kwargs: Any) -> None:
            init(*args, **kwargs)

        return wrapped

    class Decorated(pl.LightningModule):
        @noisy
        def __init__(self, a: int) -> None:
            super().__init__()
            self.save_hyperparameters()

    assert dict(Decorated(1).hparams) == {"a": 1}


def test_a_second_call_adds() -> None:
    class Twice(pl.LightningModule):
        def __init__(self, a: int) -> None:
            super().__init__()
            self.save_hyperparameters({"a": 0, "x": 1})
            self.save_hyperparameters()

    assert dict(Twice(5).hparams) == {"a": 5, "x": 1}


def test_module_among_them_is_pointed_out() -> None:
    class HasNet(pl.LightningModule):
        def __init__(self, net: torch.nn.Module) -> None:
            super().__init__()
            self.save_hyperparameters()

    with pytest.warns(UserWarning, match=r"'net'.*ignore=\['net'\]"):
        HasNet(torch.nn.Linear(1, 1))


def test_hparams_are_a_dict_with_attributes() -> None:
    hparams = Base(1).hparams
    assert (hparams.a, hparams["b"], hparams.get("nothing")) == (1, 2, None)
    hparams.a = 10
    hparams["new"] = 3
    assert (hparams["a"], hparams.new) == (10, 3)
    del hparams.new
    assert "new" not in hparams
    with pytest.raises(AttributeError, match="did you mean 'a'"):
        _ = AttributeDict(a=1).aa
    assert not hasattr(hparams, "nothing")


def test_hparams_cannot_be_replaced() -> None:
    with pytest.raises(AttributeError, match="save_hyperparameters"):
        Base(1).hparams = 3


def test_initial_values_stay_when_hparams_change() -> None:
    class HasList(pl.LightningModule):
        def __init__(self, sizes: list[int]) -> None:
            super().__init__()
            self.save_hyperparameters()

    module = HasList([1])
    module.hparams.sizes.append(2)
    module.hparams_initial.sizes.append(3)
    assert module.hparams.sizes == [1, 2]
    assert module.hparams_initial.sizes == [1]


def test_some_are_forgotten() -> None:
    module = Base(1)
    module.remove_ignored_hparams(["b", "nothing"])
    assert dict(module.hparams) == {"a": 1, "c": 3}


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_attribute_dict_can_be_copied(copied: Callable[[Any], Any]) -> None:
    again = copied(AttributeDict(a=1, b=[2]))
    assert type(again) is AttributeDict
    assert (again.a, again["b"]) == (1, [2])


def test_attribute_dict_shows_a_name_in_each_line() -> None:
    assert repr(AttributeDict(a=1, long=[2])) == '"a":    1\n"long": [2]'
    assert repr(AttributeDict()) == ""


def test_datamodules_keep_theirs_in_the_same_way() -> None:
    class Data(pl.LightningDataModule):
        def __init__(self, folder: str, size: int = 2, **rest: Any) -> None:
            super().__init__()
            self.save_hyperparameters(ignore="folder")

    data = Data("x", more=3)
    assert dict(data.hparams) == dict(data.hparams_initial) == {"size": 2, "more": 3}
