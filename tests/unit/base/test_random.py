"""One seed for everything; the state of every generator as a value."""

from __future__ import annotations

import os
import pickle
import random
from contextlib import suppress
from typing import Any

import numpy
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import fulmen
from fulmen.base.generators import RandomState, isolate_rng
from fulmen.base.random import SeedWorker, derive_seed, workers_are_seeded
from fulmen.errors import ConfigError

Draw = tuple[float, float, float]


def draw() -> Draw:
    """A number from each generator."""
    return random.random(), float(numpy.random.rand()), float(torch.rand(()))


# -------------------------------------------------------------------------------------------- seed_everything


def test_every_generator_is_seeded() -> None:
    assert fulmen.seed_everything(7, verbose=False) == 7
    first = draw()
    assert draw() != first
    fulmen.seed_everything(7, verbose=False)
    assert draw() == first
    fulmen.seed_everything(8, verbose=False)
    assert all(one != other for one, other in zip(draw(), first, strict=True))


def test_the_numbers_are_those_of_the_libraries_own_seeding() -> None:
    fulmen.seed_everything(3, verbose=False)
    expected = random.Random(3).random(), float(numpy.random.RandomState(3).rand())
    assert draw()[:2] == expected
    assert torch.initial_seed() == 3


def test_the_seed_goes_to_the_processes_that_this_one_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    assert fulmen.seed_everything(verbose=False) == 0
    fulmen.seed_everything(42, workers=True, verbose=False)
    assert (os.environ["PL_GLOBAL_SEED"], os.environ["PL_SEED_WORKERS"]) == ("42", "1")
    assert workers_are_seeded()
    assert fulmen.seed_everything(verbose=False) == 42
    assert os.environ["PL_SEED_WORKERS"] == "0"
    assert not workers_are_seeded()


@pytest.mark.parametrize(
    ("given", "expected"), [("5", 5), (numpy.int64(5), 5), (0, 0), (2**32 - 1, 2**32 - 1)]
)
def test_seeds_that_can_be_used(given: Any, expected: int) -> None:
    assert fulmen.seed_everything(given, verbose=False) == expected


@pytest.mark.parametrize("seed", [-1, 2**32, "x", "", [], 1j])
def test_seeds_that_cannot(seed: Any) -> None:
    before = os.environ.get("PL_GLOBAL_SEED"), random.getstate()
    with pytest.raises(ConfigError, match=r"The seed is (out of range|not a whole number)"):
        fulmen.seed_everything(seed, verbose=False)
    assert (os.environ.get("PL_GLOBAL_SEED"), random.getstate()) == before


def test_a_wrong_seed_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "many")
    with pytest.raises(ConfigError, match="received: 'many'"):
        fulmen.seed_everything(verbose=False)


def test_the_seed_is_told_unless_it_shall_not_be(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        fulmen.seed_everything(1, verbose=False)
        assert not caplog.messages
        fulmen.seed_everything(1)
    assert caplog.messages == ["Seed set to 1"]


# ------------------------------------------------------------------------------------------------ derive_seed


def test_derived_seeds_are_stable_and_differ_where_any_part_does() -> None:
    assert derive_seed(1, 2) == derive_seed(1, 2)
    seeds = {derive_seed(a, b) for a in range(30) for b in range(30)} | {derive_seed(a) for a in range(30)}
    assert len(seeds) == 930
    assert derive_seed(1, 23) != derive_seed(12, 3)
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert max(seeds) > 2**60


def test_derived_seeds_are_the_same_in_every_process_and_version() -> None:
    """Resumed runs rely on it."""
    assert derive_seed(0) == 5263075011782779848
    assert derive_seed(1, 2, 3) == 5809300636878265108


# ------------------------------------------------------------------------------------------------- SeedWorker


class Draws(Dataset[list[float]]):
    """What the generators of the process that fetches give."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> list[float]:
        return list(draw())


def drawn_by_workers(rank: int, *, seed: int = 0, epochs: int = 1) -> list[Draw]:
    loader = DataLoader(
        Draws(), num_workers=2, worker_init_fn=SeedWorker(rank), collate_fn=lambda batch: batch[0]
    )
    torch.manual_seed(seed)
    return [tuple(numbers) for _ in range(epochs) for numbers in loader]


def test_each_worker_of_each_rank_has_streams_of_its_own() -> None:
    """Over workers, ranks and epochs, no generator gives a number twice."""
    numbers = drawn_by_workers(0, epochs=2) + drawn_by_workers(1)
    for column in zip(*numbers, strict=True):
        assert len(set(column)) == len(numbers)


def test_workers_draw_the_same_numbers_again_from_the_same_seed() -> None:
    assert drawn_by_workers(0) == drawn_by_workers(0)
    assert drawn_by_workers(0) != drawn_by_workers(0, seed=1)


# ------------------------------------------------------------------------------------------------ RandomState


def test_a_state_can_be_taken_up_again_and_again() -> None:
    state = RandomState.capture()
    numbers = draw()
    for _ in range(2):
        assert draw() != numbers
        state.restore()
        assert draw() == numbers


def test_a_state_is_plain_data() -> None:
    state = pickle.loads(pickle.dumps(RandomState.capture()))
    numbers = draw()
    state.restore()
    assert draw() == numbers


def test_what_is_drawn_in_isolation_is_not_seen_outside() -> None:
    with isolate_rng():
        inside = draw()
    assert draw() == inside  # the next numbers are those that were drawn inside


def test_an_error_in_isolation_is_not_seen_outside_either() -> None:
    state = RandomState.capture()
    numbers = draw()
    state.restore()
    with suppress(KeyError), isolate_rng():
        draw()
        raise KeyError
    assert draw() == numbers
