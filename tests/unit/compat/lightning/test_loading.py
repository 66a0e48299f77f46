"""Loaders, their lengths and their random numbers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import fulmen
from fulmen.compat.lightning import loading


class Stream(IterableDataset):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


class LongStream(Stream):
    def __len__(self) -> int:
        return 3


@pytest.mark.parametrize(
    ("loader", "length", "streams"),
    [(DataLoader(range(4), batch_size=2), 2, False), (DataLoader(Stream()), None, True),  # pyright: ignore[reportArgumentType]
     (DataLoader(LongStream()), 3, True), ([1, 2], 2, False), (iter([1]), None, False)],
)  # fmt: skip
def test_lengths(loader: Any, length: int | None, streams: bool) -> None:
    assert loading.sized_len(loader) == length
    assert loading.has_len(loader) == loading.has_len_all_ranks(loader) == (length is not None)
    assert loading.get_len(loader) == (float("inf") if length is None else length)
    assert loading.has_iterable_dataset(loader) == streams


def test_loaders_are_combined_as_they_were() -> None:
    combined = loading.CombinedLoader({"a": range(1, 3), "b": range(3, 6)}, "max_size_cycle")

    assert list(combined) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}, {"a": 1, "b": 5}]
    assert combined.loaders == {"a": range(1, 3), "b": range(3, 6)}
    assert isinstance(combined, fulmen.CombinedLoader)
    assert list(loading.CombinedLoader(loaders=[range(1, 2), range(2, 3)])) == [[1, 2]]


def test_workers_have_cores_of_their_own() -> None:
    assert loading.suggested_max_num_workers(1) >= loading.suggested_max_num_workers(2) >= 1
    assert loading.suggested_max_num_workers(10_000) == 1


def draw() -> tuple[float, float]:
    return random.random(), torch.rand(1).item()


def test_what_is_drawn_inside_is_drawn_again() -> None:
    with loading.isolate_rng():
        inside = draw()
    with loading.isolate_rng(include_cuda=False):
        assert draw() == inside
    assert draw() == inside


def test_the_seed_is_set_again() -> None:
    fulmen.seed_everything(5, verbose=False)
    first = draw()
    assert draw() != first
    loading.reset_seed()
    assert draw() == first


def test_workers_draw_numbers_of_their_own() -> None:
    drawn = []
    for worker, rank in ((0, 0), (1, 0), (0, 1), (0, None)):
        torch.manual_seed(7 + worker)
        loading.pl_worker_init_function(worker, rank)
        drawn.append(draw())

    assert len(set(drawn)) == 3
    assert drawn[0] == drawn[3]
