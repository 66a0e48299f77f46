"""Nested collections: their types are kept, their leaves are found."""

from __future__ import annotations

from collections import OrderedDict, UserDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from fulmen.base import tree

Point = namedtuple("Point", "x y")  # the old form, too
ONE = torch.tensor(1.0)


class Names(list):
    pass


@dataclass
class Batch:
    inputs: Any
    kept: str = "text"


@dataclass(frozen=True)
class FrozenBatch:
    inputs: Any
    derived: Any = field(init=False, default=ONE)


def double(value: Any) -> Any:
    return tree.map_leaves(value, Tensor, lambda leaf: leaf * 2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (ONE, 2 * ONE),
        ([ONE, "a", 3], [2 * ONE, "a", 3]),
        ((ONE, (ONE,)), (2 * ONE, (2 * ONE,))),
        ({"a": ONE, "b": [ONE]}, {"a": 2 * ONE, "b": [2 * ONE]}),
        (OrderedDict(b=ONE, a=1), OrderedDict(b=2 * ONE, a=1)),
        (UserDict(a=ONE), UserDict(a=2 * ONE)),
        (Point(ONE, None), Point(2 * ONE, None)),
        (Names([ONE]), Names([2 * ONE])),
        (Batch([ONE]), Batch([2 * ONE])),
        ([], []),
        ((), ()),
        (None, None),
        ("text", "text"),
        (torch.Size([2, 3]), torch.Size([2, 3])),
        (range(3), range(3)),
        ({1, 2}, {1, 2}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_map_leaves_keeps_the_types(given: Any, expected: Any) -> None:
    mapped = double(given)
    assert type(mapped) is type(expected)
    assert mapped == expected


def test_a_default_dict_keeps_its_default() -> None:
    mapped = double(defaultdict(list, a=ONE))
    assert mapped["a"] == 2
    assert mapped["b"] == []


def test_a_frozen_dataclass_with_a_derived_field() -> None:
    mapped = double(FrozenBatch(ONE))
    assert (mapped.inputs, mapped.derived) == (2, 2)


def test_what_was_given_is_left_as_it_was() -> None:
    for given in ({"a": ONE}, OrderedDict(a=ONE), UserDict(a=ONE)):
        double(given)
        assert given["a"] is ONE
    batch = Batch(ONE)
    double(batch)
    assert batch.inputs is ONE


def test_classes_are_no_collections() -> None:
    assert double(Batch) is Batch
    assert list(tree.leaves(Batch)) == [Batch]


def test_several_types_may_be_wanted() -> None:
    assert tree.map_leaves([1, "a", 2.0], (int, str), repr) == ["1", "'a'", 2.0]


def test_leaves_come_in_order() -> None:
    nested = {"a": [1, (2,)], "b": Point(3, Batch(4)), "c": MappingProxyType({"d": 5})}
    assert list(tree.leaves(nested)) == [1, 2, 3, 4, "text", 5]
    assert list(tree.leaves([])) == []


def test_detach() -> None:
    leaf = torch.ones(2, requires_grad=True)
    detached = tree.detach({"loss": leaf * 2, "kept": 1})
    assert not detached["loss"].requires_grad
    assert detached["kept"] == 1


# ------------------------------------------------------------------------------------------------------- move


class MovesToNew:
    """As batches of other libraries: `to` gives another object."""

    def __init__(self, device: Any = None) -> None:
        self.device = device

    def to(self, device: Any) -> MovesToNew:
        return MovesToNew(device)


class MovesInPlace:
    """`to` gives nothing."""

    device: Any = None

    def to(self, device: Any) -> None:
        self.device = device


META = torch.device("meta")


def test_everything_that_can_be_moved_is_moved() -> None:
    in_place = MovesInPlace()
    given = {"tensor": ONE, "other": [MovesToNew()], "place": in_place, "text": "a", "number": 1}
    moved = tree.move(given, META)
    assert moved["tensor"].device == META
    assert moved["other"][0].device == META
    assert moved["place"] is in_place
    assert in_place.device == META
    assert (moved["text"], moved["number"]) == ("a", 1)


def test_a_packed_sequence_moves_as_a_whole() -> None:
    packed = pack_sequence([torch.ones(3), torch.ones(2)])
    moved = tree.move([packed], torch.device("cpu"))[0]
    assert isinstance(moved, PackedSequence)
    assert moved.data.equal(packed.data)


def test_a_module_moves_in_place() -> None:
    module = nn.Linear(1, 1)
    assert tree.move([module], META)[0] is module
    assert module.weight.device == META


@pytest.mark.parametrize("non_blocking", [False, True])
def test_what_is_there_already_is_not_copied(non_blocking: bool) -> None:
    assert tree.move(ONE, torch.device("cpu"), non_blocking=non_blocking) is ONE


class RecordsTo(Tensor):
    """Remembers how it was asked to move."""

    calls: list[dict[str, Any]] = []  # noqa: RUF012

    def to(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(kwargs)
        return self


@pytest.mark.parametrize(("device", "expected"), [("cpu", False), ("meta", True)])
def test_only_copies_to_accelerators_may_be_asynchronous(device: str, expected: bool) -> None:
    RecordsTo.calls.clear()
    tree.move(torch.ones(1).as_subclass(RecordsTo), torch.device(device), non_blocking=True)
    assert RecordsTo.calls == [{"non_blocking": expected}]


# ------------------------------------------------------------------------------------------------- batch_size


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (torch.zeros(5, 2), 5),
        (torch.zeros(()), 1),
        (torch.zeros(0, 3), 0),
        ([torch.zeros(3), torch.zeros(4)], 3),
        ((torch.zeros(3), 1), 3),
        ({"text": "a", "ids": torch.zeros(7, 2)}, 7),
        ([{"a": torch.zeros(2)}], 2),
        (Batch(torch.zeros(6)), 6),
        (UserDict(a=torch.zeros(4)), 4),
        (["a", "b", "c"], 3),
        (("a", "b"), 2),
        ([1, torch.zeros(2)], 2),
        ([], None),
        (None, None),
        (3, None),
        ("text", None),
        ({"a": 1}, None),
    ],
    ids=repr,
)
def test_batch_size(batch: Any, expected: int | None) -> None:
    assert tree.batch_size(batch) == expected
