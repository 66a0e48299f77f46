"""When a rank asks the others for batches, and what it does with the answers; the others are played."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from torch.utils.data import DataLoader

from fulmen.engine.data import END
from fulmen.engine.replay import Start
from fulmen.engine.sharding import Counts, samples_in, shard
from fulmen.engine.shared_stream import SharedStream
from fulmen.runtime.collectives import Alone
from fulmen.runtime.world import World
from fulmen.strategies import SingleDeviceStrategy


class Talk(Alone):
    """Another rank that has so many batches; notes when it is asked, and when its answer is waited for."""

    def __init__(self, batches_of_other: int, notes: list[str]) -> None:
        self.batches_of_other, self.notes, self.asked = batches_of_other, notes, 0

    def begin_gather(self, number: int) -> Callable[[], list[int]]:
        about, self.asked = self.asked, self.asked + 1
        self.notes.append(f"ask {about}")

        def wait() -> list[int]:
            self.notes.append(f"hear {about}")
            return [number, int(about < self.batches_of_other)]

        return wait


class Pair(SingleDeviceStrategy):
    """The first of two ranks."""

    def __init__(self, batches_of_other: int, *, joins: bool) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.collectives = Talk(batches_of_other, self.notes)
        self.world = World(size=2)
        self.joins = joins
        self.weights: list[float] = []

    def weigh(self, weight: float) -> None:
        self.weights.append(weight)


class Numbers:
    """A loader without a length."""

    def __init__(self, length: int, notes: list[str] | None = None) -> None:
        self.length, self.notes = length, notes if notes is not None else []

    def __iter__(self) -> Iterator[int]:
        for number in range(self.length):
            self.notes.append(f"fetch {number}")
            yield number


def taken_from(stream: SharedStream, notes: list[str] | None = None) -> list[Any]:
    """What a loop gets, with whether it is the last."""
    found: list[Any] = []
    while (batch := stream.take()) is not END:
        found.append((batch, stream.is_last))
        if notes is not None:
            notes.append(f"compute {batch}")
    return found


def stream_of(own: int, strategy: Pair, counts: Counts | None = None, **options: Any) -> SharedStream:
    length = float("inf") if counts is None else max(counts.batches)
    return SharedStream(
        Numbers(own, strategy.notes), length, Start(), strategy=strategy, counts=counts, **options
    )


def test_the_next_batch_but_one_is_asked_for_while_a_batch_computes() -> None:
    strategy = Pair(4, joins=False)
    taken_from(stream_of(4, strategy), strategy.notes)
    notes = [note for note in strategy.notes if not note.startswith("fetch")]
    assert notes == [
        "ask 0", "hear 0", "ask 1", "hear 1",  # nothing computes yet
        "ask 2", "compute 0", "hear 2",
        "ask 3", "compute 1", "hear 3",
        "ask 4", "compute 2", "hear 4",
        "compute 3",
    ]  # fmt: skip


@pytest.mark.parametrize(("own", "other"), [(3, 3), (5, 3), (3, 5), (1, 4), (4, 1), (0, 2), (2, 0)])
def test_an_epoch_is_as_long_as_all_have_batches(own: int, other: int) -> None:
    shortest = min(own, other)
    expected = [(number, number == shortest - 1) for number in range(shortest)]
    assert taken_from(stream_of(own, Pair(other, joins=False))) == expected


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize(("own", "other"), [(3, 3), (5, 3), (3, 5), (1, 4), (4, 1), (0, 2), (2, 0)])
def test_where_ranks_join_an_epoch_is_as_long_as_any_has_batches(own: int, other: int, counted: bool) -> None:
    strategy = Pair(other, joins=True)
    counts = Counts([own, other], [0, 0], [0, 0]) if counted else None
    stream = stream_of(own, strategy, counts)
    longest = max(own, other)
    expected = [(number if number < own else None, number == longest - 1) for number in range(longest)]
    assert taken_from(stream) == expected
    assert strategy.weights == [0.0 if n >= own else 1.0 if n < other else 2.0 for n in range(longest)]
    assert bool(strategy.collectives.asked) is not counted  # pyright: ignore[reportAttributeAccessIssue]


def test_samples_count_the_same_where_batches_were_divided() -> None:
    strategy = Pair(0, joins=True)
    stream = stream_of(2, strategy, Counts([2, 2], [7, 5], [4, 4]))
    taken_from(stream)
    assert strategy.weights == [1.0, 2 * 3 / 4]


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize(
    ("length", "size", "drops"), [(23, 4, False), (24, 4, False), (26, 4, True), (1, 4, False)]
)
def test_samples_are_counted_as_they_come(length: int, size: int, drops: bool, rank: int) -> None:
    world = World(rank=rank, local_rank=rank, size=3)
    data: Any = range(length)
    loader = shard(DataLoader(data, size, drop_last=drops), world, training=True, pads=False)
    batches = [len(batch) for batch in loader]
    samples, batch_size = samples_in(loader)
    counts = Counts([len(batches)], [samples], [batch_size])
    assert [counts.at(number)[0] for number in range(len(batches) + 1)] == [*batches, 0]


def test_a_rank_that_had_its_last_batch_takes_part_again_after_a_resume() -> None:
    strategy = Pair(5, joins=True)
    stream = stream_of(3, strategy)
    for _ in range(4):
        stream.take()
    assert stream.own_length == 3
    resumed = SharedStream(
        Numbers(3), float("inf"), Start(skip=3, done=True), strategy=Pair(1, joins=True), counts=None, done=4,
        has_ended=True,
    )  # fmt: skip
    assert taken_from(resumed) == [(None, True)]
    assert resumed.taken == 5
    assert resumed.own_length == 3
