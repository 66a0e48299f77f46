"""Random numbers: one seed for everything, and the state of every generator as a value."""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from fulmen.base import environ
from fulmen.base.extras import available, require
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
        numpy.random.seed(seed & _LARGEST_SEED)


def _whole_number(seed: object) -> int:
    try:
        return int(seed)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        raise ConfigError("The seed is not a whole number.", received=repr(seed)) from None


def derive_seed(*parts: int) -> int:
    """A seed of 64 bits from any number of integers; parts that differ anywhere give unrelated streams."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


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


@dataclass(frozen=True)
class RandomState:
    """The state of the global generators, and of others; NumPy's is None where it was never imported."""

    python: tuple[Any, ...]
    numpy: tuple[Any, ...] | None
    torch: torch.Tensor
    cuda: list[torch.Tensor]
    others: list[torch.Tensor] = field(default_factory=list)

    @classmethod
    def capture(cls, others: Iterable[torch.Generator] = ()) -> RandomState:
        """Read the state of every global generator, and of `others`."""
        numpy = sys.modules.get("numpy")
        return cls(
            python=random.getstate(),
            numpy=None if numpy is None else numpy.random.get_state(),
            torch=torch.get_rng_state(),
            cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
            others=[generator.get_state() for generator in others],
        )

    def restore(self, others: Iterable[torch.Generator] = ()) -> None:
        """Put every generator back to this state; `others` are the counterparts of those captured."""
        random.setstate(self.python)
        if self.numpy is not None:
            numpy: Any = require("numpy", extra="numpy")
            numpy.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)
        for generator, state in zip(others, self.others, strict=False):  # there may be others than there were
            generator.set_state(state)

    def state_dict(self) -> dict[str, Any]:
        """The same as plain data and tensors."""
        state: dict[str, Any] = asdict(self)
        if self.numpy is not None:
            name, keys, *rest = self.numpy
            state["numpy"] = [name, keys.tolist(), *rest]
        return state

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> RandomState:
        """From what `state_dict` gave, perhaps in a process without NumPy or with fewer devices."""
        version, keys, gauss = state["python"]
        numpy_state = state["numpy"] if available("numpy") else None
        if numpy_state is not None:
            numpy: Any = require("numpy", extra="numpy")
            name, numpy_keys, *rest = numpy_state
            numpy_state = (name, numpy.array(numpy_keys, dtype=numpy.uint32), *rest)
        devices = torch.cuda.device_count() if state["cuda"] else 0
        python = (version, tuple(keys), gauss)
        return cls(python, numpy_state, state["torch"], state["cuda"][:devices], state["others"])


@contextmanager
def isolate_rng(others: Iterable[torch.Generator] = ()) -> Iterator[None]:
    """Whatever is drawn inside leaves the global generators, and `others`, as they were."""
    others = list(others)
    state = RandomState.capture(others)
    try:
        yield
    finally:
        state.restore(others)
