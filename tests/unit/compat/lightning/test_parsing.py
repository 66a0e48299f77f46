"""Arguments, hyperparameters and words."""

from __future__ import annotations

import inspect
from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import pytest

from fulmen import LightningDataModule, LightningModule
from fulmen.base.report import FulmenWarning
from fulmen.compat.lightning import parsing


@pytest.mark.parametrize(
    ("word", "bool_or_word", "bool_or_number"),
    [("y", True, True), ("On", True, True), ("1", True, True), ("no", False, False), ("F", False, False),
     ("0", False, False), ("12", "12", 12), ("maybe", "maybe", "maybe")],
)  # fmt: skip
def test_words_that_say_yes_or_no(word: str, bool_or_word: Any, bool_or_number: Any) -> None:
    assert parsing.str_to_bool_or_str(word) == bool_or_word
    assert parsing.str_to_bool_or_int(word) == bool_or_number
    assert type(parsing.str_to_bool_or_int(word)) is type(bool_or_number)
    if isinstance(bool_or_word, bool):
        assert parsing.str_to_bool(word) is bool_or_word
    else:
        with pytest.raises(ValueError, match=word):
            parsing.str_to_bool(word)


def test_what_cannot_be_pickled_is_left_out() -> None:
    assert parsing.is_picklable([1])
    assert not parsing.is_picklable(lambda: None)

    for hparams in (Namespace(a=1, f=lambda: None), {"a": 1, "f": lambda: None}):
        with pytest.warns(FulmenWarning, match="'f' cannot be pickled"):
            parsing.clean_namespace(hparams)
        assert (vars(hparams) if isinstance(hparams, Namespace) else hparams) == {"a": 1}


def test_dicts_of_dicts_are_made_flat() -> None:
    nested = {"a": 1, "b": {"c": 2, "d": {"e": [3]}}}

    assert parsing.flatten_dict(nested) == {"a": 1, "c": 2, "e": [3]}
    assert parsing._flatten_dict(nested) == {"a": 1, "b/c": 2, "b/d/e": "[3]"}
    assert parsing._convert_params(None) == {}
    assert parsing._convert_params(Namespace(a=1)) == {"a": 1}


class Module(LightningModule):
    def __init__(self, a: int = 1, *args: Any, b: int = 2, **kw: Any) -> None:
        super().__init__()
        parsing.save_hyperparameters(self, "a", "b")
        frame = inspect.currentframe()
        assert frame is not None
        self.own = parsing.get_init_args(frame)
        self.all = parsing.collect_init_args(frame, [])


class Child(Module):
    def __init__(self, c: int = 3, **kw: Any) -> None:
        super().__init__(**kw)


def test_what_a_constructor_was_given() -> None:
    module = Child(c=5, b=7, z=1)

    assert module.own == {"a": 1, "b": 7, "z": 1}
    assert module.all == [{"a": 1, "b": 7, "z": 1}, {"c": 5, "b": 7, "z": 1}]
    assert module.hparams == {"a": 1, "b": 7}
    assert parsing.parse_class_init_keys(Module) == ("self", "args", "kw")
    assert parsing.parse_class_init_keys(Child) == ("self", None, "kw")
    assert parsing.get_init_arguments_and_types(Module) == [("a", (int,), 1), ("b", (int,), 2)]


def test_an_attribute_is_found_wherever_it_is() -> None:
    module: Any = Module()
    datamodule = LightningDataModule()
    module.__dict__["_trainer"] = SimpleNamespace(datamodule=datamodule)
    module.lr = 3
    module.hparams.lr = 4
    datamodule.size = 8  # pyright: ignore[reportAttributeAccessIssue]

    assert parsing.lightning_hasattr(module, "lr")
    assert (parsing.lightning_getattr(module, "lr"), parsing.lightning_getattr(module, "size")) == (4, 8)
    parsing.lightning_setattr(module, "lr", 9)
    assert (module.lr, module.hparams.lr) == (9, 9)

    assert not parsing.lightning_hasattr(module, "nothing")
    with pytest.raises(AttributeError, match="nothing"):
        parsing.lightning_getattr(module, "nothing")
    with pytest.raises(AttributeError, match="nothing"):
        parsing.lightning_setattr(module, "nothing", 1)
