"""Functions over nested collections."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from fulmen.compat.lightning import trees
from fulmen.errors import UsageError

Pair = namedtuple("Pair", "a b")


@dataclass
class Sample:
    x: Any
    name: str


def test_every_leaf_of_the_type_goes_through_the_function() -> None:
    data = {"a": 1, "b": [2.0, 3], "c": Pair(4, "x"), "d": OrderedDict(e=5), "f": Sample(6, "y"), "g": (7,)}

    assert trees.apply_to_collection(data, int, lambda x, y, z=0: x + y + z, 10, z=100) == {
        "a": 111, "b": [2.0, 113], "c": Pair(114, "x"), "d": OrderedDict(e=115), "f": Sample(116, "y"),
        "g": (117,),
    }  # fmt: skip
    assert trees.apply_to_collection(3, int, str) == "3"


def test_leaves_of_the_wrong_type_stay() -> None:
    data = [1, True, "a"]

    assert trees.apply_to_collection(data, int, lambda x: x + 1, wrong_dtype=bool) == [2, True, "a"]


def test_none_can_be_left_out() -> None:
    data = {"a": 1, "b": [None, 2.0, "x"], "c": (1, 2)}

    assert trees.apply_to_collection(data, int, lambda x: None) == {
        "a": None, "b": [None, 2.0, "x"], "c": (None, None),
    }  # fmt: skip
    assert trees.apply_to_collection(data, int, lambda x: None, include_none=False) == {
        "b": [2.0, "x"], "c": (),
    }  # fmt: skip


def test_two_collections_leaf_by_leaf() -> None:
    def add(a: int, b: int = 0) -> int:
        return a + b

    assert trees.apply_to_collections([1, {"a": 2}, (3,)], [3, {"a": 4}, (5,)], int, add) == [
        4,
        {"a": 6},
        (8,),
    ]
    assert trees.apply_to_collections(None, [1], int, add) == [1]
    assert trees.apply_to_collections([1], None, int, add) == [1]
    with pytest.raises(ValueError, match="shorter"):
        trees.apply_to_collections([1, 2], [1], int, add)


class Batch:
    moved_to: torch.device | None = None

    def to(self, device: torch.device) -> Batch:
        self.moved_to = device
        return self


def test_data_are_sent_to_a_device() -> None:
    sent = trees.move_data_to_device({"x": torch.ones(2), "y": [Batch()], "z": "name"}, "meta")

    assert sent["x"].device.type == "meta"
    assert sent["y"][0].moved_to == torch.device("meta")
    assert sent["z"] == "name"


def test_numbers_and_arrays_become_tensors() -> None:
    data = trees.convert_to_tensors({"a": 1, "b": [2.5, np.ones(2)], "c": torch.zeros(1), "d": "x"}, "cpu")

    assert torch.equal(data["a"], torch.tensor(1))
    assert torch.equal(data["b"][0], torch.tensor(2.5))
    assert torch.equal(data["b"][1], torch.ones(2, dtype=torch.float64))
    assert torch.equal(data["c"], torch.zeros(1))
    assert data["d"] == "x"
    assert torch.equal(trees.to_dtype_tensor(1, torch.float16, "cpu"), torch.tensor(1.0, dtype=torch.float16))
    assert torch.equal(trees.from_numpy(np.arange(2), "cpu"), torch.arange(2))


def test_tensors_of_one_element_become_numbers() -> None:
    assert trees.metrics_to_scalars({"a": torch.tensor(1.5), "b": [torch.tensor([2])], "c": 3}) == {
        "a": 1.5, "b": [2], "c": 3,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"\(2,\)"):
        trees.metrics_to_scalars(torch.zeros(2))


def test_graphs_are_cut() -> None:
    leaf = torch.ones(1, requires_grad=True)
    cut = trees.recursive_detach({"a": leaf * 2, "b": [leaf * 3]}, to_cpu=True)

    assert not cut["a"].requires_grad
    assert not cut["b"][0].requires_grad


@pytest.mark.parametrize(
    ("batch", "size"),
    [(torch.zeros(3, 2), 3), ({"a": torch.zeros(4)}, 4), (torch.tensor(1.0), 1),
     ([torch.zeros(2), torch.zeros(2)], 2)],
)  # fmt: skip
def test_a_batch_shows_its_size(batch: Any, size: int) -> None:
    assert trees.extract_batch_size(batch) == size


def test_a_batch_without_tensors_does_not() -> None:
    with pytest.raises(UsageError, match="how many samples"):
        trees.extract_batch_size({"a": 1})
