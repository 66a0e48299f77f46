"""Copies of nested states: equal to the original, cut off from it, and made in the memory of the last one."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fulmen.strategies.host_copies import HostCopies


class Marked(Tensor):
    """A tensor class of a user's own."""


@dataclass
class Record:
    weight: Tensor
    names: list[str]


def with_attribute(kind: type[Tensor] = Tensor) -> Tensor:
    tensor = torch.ones(2).as_subclass(kind)
    tensor.note = "kept"  # pyright: ignore[reportAttributeAccessIssue]
    return tensor


TENSORS: dict[str, Callable[[], Tensor]] = {
    "plain": lambda: torch.randn(3, 4),
    "without dimensions": lambda: torch.tensor(3.5),
    "empty": lambda: torch.empty(0, 3, dtype=torch.int16),
    "bool": lambda: torch.tensor([True, False]),
    "bfloat16": lambda: torch.randn(3).bfloat16(),
    "complex": lambda: torch.randn(3, dtype=torch.complex64),
    "conjugated": lambda: torch.randn(3, dtype=torch.complex64).conj(),
    "negated": lambda: torch.randn(3, dtype=torch.complex64).conj().imag,
    "transposed": lambda: torch.randn(3, 4).T,
    "part of a larger one": lambda: torch.randn(10, 4)[3:5, 1:3],
    "expanded": lambda: torch.randn(1, 4).expand(3, 4),
    "channels last": lambda: torch.randn(1, 2, 3, 4).to(memory_format=torch.channels_last),
    "parameter": lambda: nn.Parameter(torch.randn(3)),
    "frozen parameter": lambda: nn.Parameter(torch.randn(3), requires_grad=False),
    "leaf of a graph": lambda: torch.randn(3, requires_grad=True),
    "result of a graph": lambda: torch.randn(3, requires_grad=True) * 2,
    "made for inference": lambda: torch.inference_mode()(torch.ones)(3),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "of a class of one's own": lambda: torch.randn(3).as_subclass(Marked),
    "with an attribute": with_attribute,
    "of a class of one's own, with an attribute": lambda: with_attribute(Marked),
    "meta": lambda: torch.empty(3, device="meta"),
}


@pytest.mark.parametrize("make", TENSORS.values(), ids=TENSORS.keys())
def test_a_copied_tensor_is_like_the_original(make: Callable[[], Tensor]) -> None:
    original = make()
    copied = HostCopies().take({"tensor": original})["tensor"]

    assert copied is not original
    assert type(copied) is type(original)
    assert (copied.dtype, copied.size(), copied.layout, copied.is_meta) == (
        (original.dtype, original.size(), original.layout, original.is_meta)
    )
    assert copied.requires_grad == original.requires_grad
    assert copied.is_leaf
    assert vars(copied) == vars(original)
    if original.is_meta:
        return
    assert copied.detach().to_dense().equal(original.detach().to_dense())
    if original.layout is torch.strided and not original.is_neg():
        assert copied.stride() == original.stride()
        assert not original.numel() or copied.data_ptr() != original.data_ptr()


def test_what_is_in_a_state_keeps_its_kind() -> None:
    weights = OrderedDict(a=torch.ones(2))
    weights._metadata = {"": {"version": 2}}  # pyright: ignore[reportAttributeAccessIssue]
    state = {"weights": weights, "record": Record(torch.ones(1), ["x"]), "betas": (0.9, [1, None]), 3: {"s"}}
    copied = HostCopies().take(state)

    assert list(map(type, copied.values())) == list(map(type, state.values()))
    assert copied["weights"]._metadata == {"": {"version": 2}}
    assert copied["record"].weight.equal(state["record"].weight)
    assert (copied["betas"], copied[3]) == (state["betas"], state[3])


def test_nothing_done_to_the_original_shows_in_the_copy() -> None:
    state: Any = {
        "a": torch.zeros(3),
        "record": Record(torch.zeros(2), ["x"]),
        "steps": [0, {"n": 0}],
        "names": {"s"},
    }
    copied = HostCopies().take(state)
    state["a"].fill_(1)
    state["record"].weight.fill_(1)
    state["record"].names.append("y")
    state["steps"][1]["n"] = 1
    state["names"].add("t")
    state["b"] = 1

    assert not copied["a"].any()
    assert not copied["record"].weight.any()
    assert copied["record"].names == ["x"]
    assert copied["steps"] == [0, {"n": 0}]
    assert copied["names"] == {"s"}
    assert "b" not in copied


def test_tensors_that_share_memory_share_it_in_the_copy() -> None:
    weight = nn.Parameter(torch.randn(64, 64))
    state = {
        "tied": weight,
        "to": weight,
        "detached": weight.detach(),
        "row": weight.data[3],
        "numbers": torch.from_numpy(weight.detach().numpy()),
    }
    copied = HostCopies().take(state)

    assert copied["tied"] is copied["to"]
    assert len({tensor.untyped_storage().data_ptr() for tensor in copied.values()}) == 1
    assert copied["row"].equal(weight.data[3])
    assert file_size(copied) < 2 * weight.nbytes


def test_empty_tensors_of_different_kinds_survive_a_file() -> None:
    state = {"a": torch.empty(0), "b": torch.empty(0, dtype=torch.int64), "c": torch.empty(0, 2).half()}
    loaded = torch.load(as_file(HostCopies().take(state)), weights_only=True)
    assert [(t.dtype, t.size()) for t in loaded.values()] == [(t.dtype, t.size()) for t in state.values()]


def test_the_memory_of_a_copy_is_taken_for_the_next_one() -> None:
    copies = HostCopies()
    state = {"a": torch.randn(5), "b": [torch.randn(7), torch.randn(7)]}
    first = set(addresses(copies.take(state)))
    assert len(first) == 3
    state["a"].add_(1)
    second = copies.take(state)
    assert set(addresses(second)) == first
    assert second["a"].equal(state["a"])
    assert second["b"][1].equal(state["b"][1])

    grown = copies.take({**state, "c": torch.randn(5), "d": torch.randn(9)})
    assert len(set(addresses(grown))) == 5
    assert first < set(addresses(grown))


def addresses(state: Any) -> Iterator[int]:
    for value in state.values():
        for tensor in value if isinstance(value, list) else [value]:
            yield tensor.untyped_storage().data_ptr()


def as_file(state: Any) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


def file_size(state: Any) -> int:
    return len(as_file(state).getbuffer())
