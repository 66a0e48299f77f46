"""What travels between processes together; the others are played by collectives that know what they send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fulmen.runtime.collectives import Alone, Collectives
from fulmen.runtime.packing import GATHER, Part, combine


class Recorder(Collectives):
    """Alone, and counting."""

    size = 1

    def __init__(self) -> None:
        self.calls: list[tuple[str, torch.dtype]] = []

    def all_reduce(self, tensor: Tensor, op: str) -> Tensor:
        self.calls.append((op, tensor.dtype))
        return tensor.clone()

    def all_gather(self, tensor: Tensor) -> Tensor:
        self.calls.append(("gather", tensor.dtype))
        return tensor.unsqueeze(0)

    def broadcast(self, value: Any, source: int = 0) -> Any:
        raise NotImplementedError

    def all_gather_with_gradients(self, tensor: Tensor) -> Tensor:
        raise NotImplementedError

    def broadcast_tensor(self, tensor: Tensor, source: int = 0) -> Tensor:
        raise NotImplementedError

    def gather_objects(self, value: Any) -> list[Any]:
        raise NotImplementedError

    def begin_gather(self, number: int) -> Callable[[], list[int]]:
        raise NotImplementedError

    def barrier(self, name: str | None = None) -> None:
        raise NotImplementedError


EVERYTHING = [
    Part([torch.tensor(3)], "sum"),
    Part([torch.tensor([1.5, -2.0], dtype=torch.float16)], "sum"),
    Part([torch.tensor(True)], "max"),
    Part([torch.tensor([[2**62, -1]])], "max"),
    Part([torch.tensor(0.1)], "min"),
    Part(
        [torch.randn(2, 3), torch.zeros(0, 4, dtype=torch.bfloat16), torch.tensor(7, dtype=torch.uint8)],
        GATHER,
    ),
    Part([], GATHER),
    Part([torch.tensor([True, False])], GATHER),
]


def test_alone_everything_comes_back_as_it_was() -> None:
    for part, ranks in zip(EVERYTHING, combine(EVERYTHING, Alone()), strict=True):
        assert len(ranks) == 1
        assert len(ranks[0]) == len(part.tensors)
        for tensor, sent in zip(ranks[0], part.tensors, strict=True):
            assert (tensor.dtype, tensor.shape) == (sent.dtype, sent.shape)
            assert torch.equal(tensor, sent)


def test_one_collective_per_operation() -> None:
    recorder = Recorder()
    combine(EVERYTHING * 5, recorder)
    assert sorted(recorder.calls, key=str) == sorted(
        [
            ("sum", torch.float64),
            ("max", torch.int64),
            ("min", torch.float64),
            ("gather", torch.int64),  # how many bytes there are
            ("gather", torch.uint8),
        ],
        key=str,
    )


@pytest.mark.parametrize("operation", ["sum", "max", "min", GATHER])
def test_nothing_to_combine_needs_no_collective(operation: str) -> None:
    recorder = Recorder()
    assert combine([], recorder) == []
    assert recorder.calls == []
