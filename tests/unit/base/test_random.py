"""One seed for everything; the state of every generator as a value."""

from __future__ import annotations

import io
import os
import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import fulmen
from fulmen.base.generators import RandomState, isolate_rng, reseed, reseed_generator
from fulmen.base.random import SeedWorker, derive_seed, workers_are_seeded
from fulmen.errors import CheckpointError, ConfigError

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


def saved_and_read(state: RandomState) -> RandomState:
    """As a checkpoint does it, which is read without trust."""
    file = io.BytesIO()
    torch.save(state.state_dict(), file)
    file.seek(0)
    return RandomState.from_state_dict(torch.load(file, weights_only=True))


OTHERS: dict[str, Callable[[], Any]] = {
    "torch": lambda: torch.Generator().manual_seed(3),
    "Python": lambda: random.Random(3),
    "NumPy": lambda: numpy.random.default_rng(3),
    "NumPy, Philox": lambda: numpy.random.Generator(numpy.random.Philox(3)),
    "NumPy, MT19937": lambda: numpy.random.Generator(numpy.random.MT19937(3)),
    "NumPy, old": lambda: numpy.random.RandomState(3),
    "NumPy, old, of new bits": lambda: numpy.random.RandomState(numpy.random.PCG64(3)),
}


def draw_from(generator: Any) -> float:
    """A normal number: of two that are drawn together, the second one may be kept back."""
    if isinstance(generator, torch.Generator):
        return float(torch.randn((), generator=generator))
    return generator.gauss() if isinstance(generator, random.Random) else float(generator.normal())


@pytest.mark.parametrize("kind", OTHERS)
def test_generators_of_others_are_saved_as_well(kind: str) -> None:
    generator, another = OTHERS[kind](), OTHERS[kind]()
    draw_from(generator)
    state = saved_and_read(RandomState.capture([generator]))
    numbers = [draw_from(generator) for _ in range(3)]
    for one in (generator, another):
        state.restore([one])
        assert [draw_from(one) for _ in range(3)] == numbers


@pytest.mark.parametrize("kind", OTHERS)
def test_a_generator_can_begin_anew_at_any_seed(kind: str) -> None:
    generator = OTHERS[kind]()
    numbers = []
    for seed in (2**63 + 5, 2**63 + 5, 7):
        reseed_generator(generator, seed)
        numbers.append([draw_from(generator) for _ in range(3)])
    assert numbers[0] == numbers[1] != numbers[2]


NUMPY: Any = numpy.random  # whose stubs leave something out
BITS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")


@pytest.fixture
def use_bits() -> Iterator[Callable[[str], None]]:
    """Lets NumPy's global generator have its bits from another kind."""
    before = NUMPY.get_bit_generator()
    yield lambda kind: NUMPY.set_bit_generator(getattr(NUMPY, kind)(11))
    NUMPY.set_bit_generator(before)


@pytest.mark.parametrize("kind", BITS)
@pytest.mark.parametrize("other", BITS)
def test_a_state_is_of_any_kind_of_bits(kind: str, other: str, use_bits: Callable[[str], None]) -> None:
    """In the process that goes on, too, whose generator may be another one."""
    use_bits(kind)
    numpy.random.normal()
    state = saved_and_read(RandomState.capture())
    numbers = [numpy.random.normal() for _ in range(3)]
    use_bits(other)
    state.restore()
    assert [numpy.random.normal() for _ in range(3)] == numbers


def test_a_kind_of_bits_that_is_not_numpys(use_bits: Callable[[str], None]) -> None:
    state = RandomState.capture().state_dict()
    state["numpy"]["bit_generator"] = "default_rng"  # is there, and is no bit generator
    with pytest.raises(CheckpointError, match="received: default_rng"):
        RandomState.from_state_dict(state).restore()


@pytest.mark.parametrize("kind", BITS)
def test_a_seed_is_for_any_kind_of_bits(kind: str, use_bits: Callable[[str], None]) -> None:
    """A number that was drawn before and kept back is forgotten."""
    use_bits(kind)
    numbers = []
    for seed in (2**63 + 5, 2**63 + 5, 7):
        reseed(seed)
        numbers.append([numpy.random.normal(), random.gauss(), float(torch.randn(()))])
    assert numbers[0] == numbers[1]
    assert all(one != other for one, other in zip(numbers[0], numbers[2], strict=True))
    assert type(NUMPY.get_bit_generator()).__name__ == kind


def test_a_saved_state_keeps_its_numbers_in_tensors() -> None:
    """Of single numbers each takes as long to read as a whole tensor."""
    others = [make() for make in OTHERS.values()]
    assert longest_in(RandomState.capture(others).state_dict()) <= len(others)


def longest_in(state: Any) -> int:
    if not isinstance(state, (dict, list, tuple)):
        return 0
    parts = list(state.values()) if isinstance(state, dict) else list(state)
    return max([len(parts), *map(longest_in, parts)])


def test_states_of_single_numbers_can_be_read() -> None:
    """As they were written before."""
    old, new = numpy.random.RandomState(3), numpy.random.Generator(numpy.random.Philox(3))
    own, torchs = random.Random(3), torch.Generator().manual_seed(3)
    state: Any = old.get_state()
    name, keys, *rest = state
    philox: Any = new.bit_generator.state
    for part in (philox, philox["state"]):
        for key, value in part.items():
            if isinstance(value, numpy.ndarray):
                part[key] = {"dtype": str(value.dtype), "values": value.tolist()}
    state = {
        "python": own.getstate(),
        "numpy": [name, keys.tolist(), *rest],
        "torch": torchs.get_state(),
        "cuda": [],
        "others": [[name, keys.tolist(), *rest], philox, own.getstate(), torchs.get_state()],
    }
    expected = [draw_from(generator) for generator in (own, old, torchs, new)]
    others = [numpy.random.RandomState(), numpy.random.Generator(numpy.random.Philox()), random.Random()]
    with isolate_rng():
        RandomState.from_state_dict(state).restore([*others, torch.Generator()])
        found = [random.gauss(), numpy.random.normal(), float(torch.randn(()))]
    assert found == expected[:3]
    assert [draw_from(other) for other in others] == [expected[1], expected[3], expected[0]]
