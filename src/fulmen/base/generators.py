"""The generators of random numbers of this process, as values that can be kept, exchanged and put back."""

from __future__ import annotations

import _random
import inspect
import random
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch

from fulmen.base.extras import available, require
from fulmen.base.tree import map_leaves
from fulmen.errors import CheckpointError

_LARGEST_NUMPY_SEED = 2**32 - 1


@dataclass(frozen=True)
class RandomState:
    """The state of the global generators, and of others; NumPy's is None where it was never imported."""

    python: tuple[Any, ...]
    numpy: Any
    torch: torch.Tensor
    cuda: list[torch.Tensor]
    others: list[Any] = field(default_factory=list)

    @classmethod
    def capture(cls, others: Iterable[Any] = ()) -> RandomState:
        """Read the state of every global generator, and of `others`, for which `is_generator` holds."""
        numpy = sys.modules.get("numpy")
        return cls(
            python=random.getstate(),
            numpy=None if numpy is None else numpy.random.get_state(False),  # as a dict, of whatever kind
            torch=torch.get_rng_state(),
            cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
            others=[_state_of(generator) for generator in others],
        )

    def restore(self, others: Iterable[Any] = ()) -> None:
        """Put every generator back to this state; `others` are the counterparts of those captured."""
        random.setstate(self.python)
        if self.numpy is not None:
            _set_numpy_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)
        self.restore_others(others)

    def restore_others(self, others: Iterable[Any]) -> None:
        """Put only these back, the counterparts of those captured."""
        for generator, state in zip(others, self.others, strict=False):  # there may be others than there were
            _set_state(generator, state)

    def state_dict(self) -> dict[str, Any]:
        """The same as plain data and tensors."""
        return {
            "python": _pack_python(self.python),
            "numpy": _pack_arrays(self.numpy),
            "torch": self.torch,
            "cuda": self.cuda,
            "others": self.others,
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> RandomState:
        """From what `state_dict` gave, perhaps in a process without NumPy or with fewer devices."""
        numpy_state = _unpack_numpy(state["numpy"]) if available("numpy") else None
        devices = torch.cuda.device_count() if state["cuda"] else 0
        python = _unpack_python(state["python"])
        return cls(python, numpy_state, state["torch"], state["cuda"][:devices], state["others"])


def _pack_python(state: tuple[Any, ...]) -> list[Any]:
    version, words, gauss = state  # of 32 bits; a tensor is read in no time, and 625 numbers are not
    return [version, torch.tensor(words).to(torch.int32), gauss]


def _unpack_python(state: Any) -> tuple[Any, ...]:
    version, words, gauss = state
    if isinstance(words, torch.Tensor):
        words = (words.to(torch.int64) & 0xFFFFFFFF).tolist()
    return version, tuple(words), gauss


def _pack_arrays(state: Any) -> Any:
    """The state of a generator of NumPy's, with tensors for its arrays."""
    if state is None:
        return None
    numpy: Any = sys.modules["numpy"]
    return map_leaves(
        state,
        numpy.ndarray,
        lambda array: {"dtype": str(array.dtype), "bytes": _as_tensor(array.tobytes())},
    )


def _as_tensor(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _unpack_numpy(state: Any) -> Any:
    """What `_pack_arrays` was given; also of files with lists of numbers, as they were written before."""
    if isinstance(state, dict):
        if "dtype" in state:
            numpy: Any = require("numpy", extra="numpy")
            packed = state.get("bytes")
            if packed is None:
                return numpy.array(state["values"], dtype=state["dtype"])
            return numpy.frombuffer(bytes(packed.tolist()), dtype=state["dtype"])
        return {name: _unpack_numpy(part) for name, part in state.items()}
    return tuple(state) if isinstance(state, list) else state


_MERSENNE_TWISTER = "MT19937"
_BIT_GENERATORS = (_MERSENNE_TWISTER, "PCG64", "PCG64DXSM", "Philox", "SFC64")


def _set_numpy_state(state: Any) -> None:
    """Put NumPy's global generator to a state, which may be one of another kind of bits."""
    numpy: Any = require("numpy", extra="numpy")
    kind = state["bit_generator"] if isinstance(state, dict) else state[0]
    if type(numpy.random.get_bit_generator()).__name__ != kind:
        if kind not in _BIT_GENERATORS:
            raise CheckpointError(
                "The state of NumPy's global generator is of a kind that is not there.",
                received=kind,
                expected=", ".join(_BIT_GENERATORS),
                fix="call numpy.random.set_bit_generator with one of that kind before",
            )
        numpy.random.set_bit_generator(getattr(numpy.random, kind)())
    numpy.random.set_state(state)


def is_generator(value: object) -> bool:
    """Whether it is a generator of random numbers: torch's, Python's, NumPy's new one or its old one."""
    if isinstance(value, random.SystemRandom):  # which has no state
        return False
    if isinstance(value, (torch.Generator, random.Random)):
        return True
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.random.Generator, numpy.random.RandomState))


def _state_of(generator: Any) -> Any:
    """The state of a generator as plain data and tensors."""
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        return _pack_python(generator.getstate())
    if _is_old(generator):
        return _pack_arrays(generator.get_state(False))
    return _pack_arrays(generator.bit_generator.state)


def _is_old(generator: Any) -> bool:
    return isinstance(generator, sys.modules["numpy"].random.RandomState)


def _set_state(generator: Any, state: Any) -> None:
    """Take up what `_state_of` gave for a generator of the same kind."""
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, random.Random):
        generator.setstate(_unpack_python(state))
    elif _is_old(generator):
        generator.set_state(_unpack_numpy(state))
    else:
        generator.bit_generator.state = _unpack_numpy(state)


def reseed_generator(generator: Any, seed: int) -> None:
    """Let one generator, for which `is_generator` holds, begin at a seed of 64 bits."""
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, random.Random):
        generator.seed(seed)
    elif _is_old(generator):
        _reseed_old(generator, seed)
    else:
        generator.bit_generator.state = type(generator.bit_generator)(seed).state


@contextmanager
def isolate_rng(others: Iterable[Any] = ()) -> Iterator[RandomState]:
    """Whatever is drawn inside leaves the global generators, and `others`, as they were."""
    others = list(others)
    state = RandomState.capture(others)
    try:
        yield state
    finally:
        state.restore(others)


@contextmanager
def begun_at(state: RandomState) -> Iterator[None]:
    """Inside, the global generators go on from `state`; afterwards they are as before."""
    with isolate_rng():
        state.restore()
        yield


class SideStream:
    """Random numbers of their own: inside, the global generators give them; afterwards, they are as before.

    Entered for the first time it begins at `seed`, then it goes on from where it was left. Cheaper than to
    capture and restore everything, so that it can be done for each batch. Only the second of two normal
    numbers, which NumPy draws at a time, is forgotten on either side.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._left: _Generators | None = None

    def __enter__(self) -> None:
        self._outer = _take()
        if self._left is None:
            reseed(self._seed)
        else:
            _put(self._left)

    def __exit__(self, *_: object) -> None:
        self._left = _take()
        _put(self._outer)

    @staticmethod
    def pause() -> None:
        """Inside: the same as to leave it and to enter it again, in no time."""
        _put_bits(_take_bits())


class seeded:
    """Inside, the global generators begin at `seed`; afterwards they are as before, as with `SideStream`."""

    __slots__ = ("_outer", "_seed")

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __enter__(self) -> None:
        self._outer = _take()
        reseed(self._seed)

    def __exit__(self, *_: object) -> None:
        _put(self._outer)


_Generators = tuple[Any, torch.Tensor, Any, list[torch.Tensor]]
"""Python's, torch's, NumPy's and CUDA's at one moment, in the form that is exchanged the fastest."""


def _take() -> _Generators:
    """What they are now; NumPy goes on with another one, which has to be seeded or put in its place."""
    return random.getstate(), torch.default_generator.get_state(), _take_bits(), _take_cuda()


def _put(taken: _Generators) -> None:
    """Let them be what they were when they were taken; once."""
    python, cpu, bits, cuda = taken
    random.setstate(python)
    torch.default_generator.set_state(cpu)
    _put_bits(bits)
    if cuda:
        _put_cuda(cuda)


def _take_cuda() -> list[torch.Tensor]:
    if not torch.cuda.is_initialized():
        return []
    return [generator.get_state() for generator in torch.cuda.default_generators]


def _put_cuda(states: list[torch.Tensor]) -> None:
    for generator, state in zip(torch.cuda.default_generators, states, strict=True):
        generator.set_state(state)


def _take_bits() -> Any:
    """Where NumPy has its bits from: its state takes 70 µs to read and write, to replace it 1 µs."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    bits = numpy.random.get_bit_generator()
    numpy.random.set_bit_generator(_spare.pop() if _spare else numpy.random.MT19937())
    return bits


def _put_bits(bits: Any) -> None:
    if bits is not None:
        numpy: Any = sys.modules["numpy"]
        _spare.append(numpy.random.get_bit_generator())
        numpy.random.set_bit_generator(bits)


_spare: list[Any] = []
"""NumPy's generators that nobody draws from at present: a new one would take 90 µs."""


_HAS_CUDA = torch.backends.cuda.is_built()
_TorchState = tuple[torch.Tensor, list[torch.Tensor]]


def reseed(seed: int) -> _TorchState:
    """Let the global generators begin at a seed of 64 bits; as `seed_everything`, in a tenth of its time.

    Returns what torch's were, which models draw from, for `put_torch`. To put Python's and NumPy's back takes
    longer than all else together; around a batch they are left as they are. What training draws from them
    follows what was drawn for the batch, then, and depends on nothing else.
    """
    cpu = torch.default_generator.get_state()
    cuda = _take_cuda() if _HAS_CUDA else []
    torch.default_generator.manual_seed(seed)
    if cuda:
        for generator in torch.cuda.default_generators:
            generator.manual_seed(seed)
    _random.Random.seed(_PYTHON, seed)  # what `random.seed` comes to for whole numbers
    _PYTHON.gauss_next = None
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        _reseed_old(numpy.random.mtrand._rand, seed)  # the one of which the functions there are methods
    return cpu, cuda


def put_torch(before: _TorchState) -> None:
    """Let torch's generators be what they were when `reseed` was called."""
    cpu, cuda = before
    torch.default_generator.set_state(cpu)
    if cuda:
        _put_cuda(cuda)


_PYTHON: Any = random.random.__self__  # the one of which the functions of `random` are methods


def _reseed_old(generator: Any, seed: int) -> None:
    try:
        generator.seed(seed & _LARGEST_NUMPY_SEED)
    except TypeError:  # it has its bits from a generator of another kind
        fresh = type(generator._bit_generator)(seed).state
        generator.set_state(fresh | {"has_gauss": 0, "gauss": 0.0})


def generators_in(*owners: Any, stop: tuple[type, ...] = ()) -> list[Any]:
    """The generators that objects hold, themselves or in their parts, and that their functions refer to.

    What is of a type in `stop` is not looked into.
    """
    found: list[Any] = []
    seen: set[int] = set()
    queue = deque((owner, 0) for owner in owners)
    while queue:
        value, depth = queue.popleft()
        if id(value) in seen or isinstance(value, (type, ModuleType, torch.Tensor, *stop)):
            continue
        seen.add(id(value))
        if is_generator(value):
            found.append(value)
        elif depth < _DEEPEST:
            queue.extend((part, depth + 1) for part in _parts_of(value))
    return found


_DEEPEST = 10
_MOST_PARTS = 100
"""Looked at in a collection: one of more parts holds samples."""
_FETCHING = ("__getitem__", "__getitems__", "__iter__", "__call__", "forward")


def _parts_of(value: Any) -> list[Any]:
    """What an object consists of or refers to; nothing that its class defines is called to find out."""
    if isinstance(value, list):
        return list.__getitem__(value, slice(_MOST_PARTS))
    if isinstance(value, tuple):
        return list(tuple.__getitem__(value, slice(_MOST_PARTS)))
    if isinstance(value, dict):
        return list(islice(dict.values(value), _MOST_PARTS))
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, FunctionType):
        globals_used = (value.__globals__.get(name) for name in value.__code__.co_names)
        own = [part for part in globals_used if isinstance(part, FunctionType) or is_generator(part)]
        return [*own, *inspect.getclosurevars(value).nonlocals.values(), *(value.__defaults__ or ())]
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return []
    functions = [f for name in _FETCHING if isinstance(f := getattr(type(value), name, None), FunctionType)]
    return [*islice(dict.values(attributes), _MOST_PARTS), *functions]
