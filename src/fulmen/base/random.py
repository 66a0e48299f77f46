"""Random numbers: one seed for everything, and the seeds that follow from it."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import torch

from fulmen.base import environ
from fulmen.base.extras import available, require
from fulmen.base.generators import reseed_generator
from fulmen.base.report import info
from fulmen.errors import ConfigError

SEED_VARIABLE = "PL_GLOBAL_SEED"
SEED_WORKERS_VARIABLE = "PL_SEED_WORKERS"
_LARGEST_SEED = 2**32 - 1  # NumPy's global generator takes no more


def seed_everything(seed: int | None = None, workers: bool = False, verbose: bool = True) -> int:
    """Seed Python, NumPy and torch on every device; returns the seed.

    Without a seed, the one an earlier call left in the environment is used, else 0. With `workers`, the
    Trainer also gives each loader worker of each rank a stream of its own, derived from this seed.
    """
    if seed is None:
        inherited = environ.read(SEED_VARIABLE)
        seed = 0 if inherited is None else _whole_number(inherited)
    seed = _whole_number(seed)
    if not 0 <= seed <= _LARGEST_SEED:
        raise ConfigError("The seed is out of range.", received=seed, expected=f"0 to {_LARGEST_SEED}")
    if verbose:
        info(f"Seed set to {seed}")
    environ.write(SEED_VARIABLE, str(seed))
    environ.write(SEED_WORKERS_VARIABLE, str(int(workers)))
    _seed_generators(seed)
    return seed


def _seed_generators(seed: int) -> None:
    random.seed(seed)
    torch.manual_seed(seed)
    if available("numpy"):
        numpy: Any = require("numpy", extra="numpy")
        reseed_generator(numpy.random.mtrand._rand, seed)


def _whole_number(seed: object) -> int:
    try:
        return int(seed)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        raise ConfigError("The seed is not a whole number.", received=repr(seed)) from None


def derive_seed(*parts: int) -> int:
    """A seed of 64 bits from any number of integers; parts that differ anywhere give unrelated streams."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def seed_of(seed: int, number: int) -> int:
    """The `number`-th of the seeds that follow from a derived one: as `derive_seed`, in a third of its time.

    One round of the mixing function of splitmix64 (Steele, Lea and Flood, 2014).
    """
    mixed = (seed + number * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    return mixed ^ (mixed >> 27)


def seed_of_this_moment() -> int:
    """A seed that the state of torch's generator decides on; nothing is drawn."""
    state = bytes(torch.default_generator.get_state().tolist())
    return int.from_bytes(hashlib.blake2b(state, digest_size=8).digest(), "little")


def workers_are_seeded() -> bool:
    """Whether `seed_everything(workers=True)` was asked for, here or in the process that started this one."""
    return environ.read(SEED_WORKERS_VARIABLE) == "1"


class SeedWorker:
    """A `worker_init_fn` that gives each worker of each rank its own Python, NumPy and torch stream."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def __call__(self, worker_id: int) -> None:
        base_seed = torch.initial_seed() - worker_id  # torch gave this worker `base_seed + worker_id`
        _seed_generators(derive_seed(base_seed, self.rank, worker_id))
