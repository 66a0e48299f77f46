"""What travels between processes together; the others are played by collectives that know what they send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fulmen.runtime.collectives import Alone, Collectives
from fulmen.runtime.packing import GATHER, Part, combine, combine_alike


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


class Beside(Recorder):
    """Beside another rank, of whom it is known what it sends."""

    size = 2

    def __init__(self, sent_by_other: list[Tensor]) -> None:
        super().__init__()
        self.sent: list[Tensor] = []
        self._others = iter(sent_by_other)

    def all_reduce(self, tensor: Tensor, op: str) -> Tensor:
        self.sent.append(tensor.clone())
        other = next(self._others, torch.zeros_like(tensor))
        return {"sum": torch.add, "max": torch.maximum}[op](tensor, other)


def sent_by(parts: list[Part], mark: int) -> list[Tensor]:
    """What a rank sends if the others are as it is."""
    sent: list[Tensor] = []
    for _ in range(3):  # each time, it hears of one answer more
        rank = Beside(sent)
        combine_alike(parts, rank, mark)
        sent = rank.sent
    return sent


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


def test_ranks_with_one_mark_combine_sums_in_one_message() -> None:
    theirs = [Part([torch.tensor(value)], "sum") for value in (0.5, 0.25)]
    ours = [Part([torch.tensor(value)], "sum") for value in (1.0, 2.0)]
    theirs.append(Part([torch.tensor([1, 2])], "sum"))
    ours.append(Part([torch.tensor([10, 20])], "sum"))
    theirs += [Part([torch.tensor(1.0)], "mean"), Part([torch.tensor(float("nan"))], "mean")]
    ours += [Part([torch.tensor(2.0)], "mean"), Part([torch.tensor(1.0)], "mean")]
    rank = Beside(sent_by(theirs, 0xDEADBEEF))
    combined = combine_alike(ours, rank, 0xDEADBEEF)
    assert len(rank.sent) == 1
    assert combined is not None
    first, second, whole, mean, not_a_number = [tensor for [[tensor]] in combined]
    assert (first.item(), second.item(), mean.item()) == (1.5, 2.25, 1.5)
    assert whole.tolist() == [11, 22]
    assert whole.dtype is torch.int64
    assert (first.dtype, mean.dtype) == (torch.float32, torch.float32)
    assert not_a_number.isnan()


@pytest.mark.parametrize("mark", [0, 1, 0x10000, 0xFFFF0000, 0xFFFFFFFF])
@pytest.mark.parametrize("other", [0, 1, 0x10000, 0xFFFF0000, 0xFFFFFFFF])
def test_ranks_with_different_marks_find_out(mark: int, other: int) -> None:
    theirs = [Part([torch.tensor(1.0)], "sum")] * 100
    ours = [Part([torch.tensor(True)], "max")]
    parts = theirs if mark == other else ours
    combined = combine_alike(parts, Beside(sent_by(theirs, other)), mark)
    assert (combined is not None) == (mark == other)


def test_what_has_no_room_beside_the_mark_follows() -> None:
    theirs = [Part([torch.full((), float(i))], "sum") for i in range(200)]
    theirs[7:7] = [Part([torch.tensor(5)], "max"), Part([torch.arange(1000.0)], "sum")]
    rank = Beside(sent_by(theirs, 1))
    combined = combine_alike(theirs, rank, 1)
    assert len(rank.sent) == 3
    assert combined is not None
    [[most]], [[long]] = combined[7:9]
    assert most.item() == 5
    assert torch.equal(long, 2 * torch.arange(1000.0))
    numbers = [tensor.item() for [[tensor]] in combined[:7] + combined[9:]]
    assert numbers == [2.0 * i for i in range(200)]


def test_alone_a_mark_changes_nothing() -> None:
    combined = combine_alike(EVERYTHING, Alone(), 12345)
    assert combined is not None
    for part, [tensors] in zip(EVERYTHING, combined, strict=True):
        assert all(map(torch.equal, tensors, part.tensors))
