"""Several loaders as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from functools import partial
from typing import Any

from fulmen.base.tree import leaves
from fulmen.errors import ConfigError, did_you_mean

Open = Callable[[int, int, int], Iterator[Any]]
"""Begins to iterate loader number `index`, after `skip` batches.

`turn` is 0 where that happens when the pass begins, and otherwise tells its later beginnings apart.
"""

MODES = ("min_size", "max_size_cycle", "max_size", "sequential")


class CombinedLoader(Iterable[Any]):
    """Iterates over a nested collection of loaders; yields (batch, batch_idx, dataloader_idx).

    `min_size` ends with the shortest loader, `max_size_cycle` with the longest while the others start again,
    `max_size` with the longest while the others give None; in these modes a batch is a collection like that
    of the loaders. `sequential` takes one loader after the other.
    """

    def __init__(self, iterables: Any, mode: str = "min_size") -> None:
        if mode not in MODES:
            raise ConfigError(
                "Unknown mode of CombinedLoader.",
                received=repr(mode),
                expected=", ".join(MODES),
                fix=did_you_mean(str(mode), MODES),
            )
        self.iterables = iterables
        self.mode = mode
        self.limits: list[float] | None = None
        """In sequential mode, the most batches to take from each loader."""

    @property
    def flattened(self) -> list[Any]:
        """The loaders, in order."""
        return list(leaves(self.iterables))

    @flattened.setter
    def flattened(self, loaders: list[Any]) -> None:
        present = len(self.flattened)
        if len(loaders) != present:
            raise ConfigError(
                "`flattened` takes as many loaders as there are.", received=len(loaders), expected=present
            )
        self.iterables = rebuild(self.iterables, iter(loaders))

    def __iter__(self) -> Iterator[tuple[Any, int, int]]:
        loaders = self.flattened
        return self.iterate(lambda index, turn, skip: iter(loaders[index]))

    def iterate(self, open_loader: Open, skip: int = 0) -> Iterator[tuple[Any, int, int]]:
        """What `__iter__` gives, but for the first `skip` batches; `open_loader` begins with one loader.

        The loaders that give the first batch are opened at once.
        """
        return _ITERATIONS[self.mode](self, open_loader, skip)

    def __len__(self) -> int:
        lengths = [length_of(loader) for loader in self.flattened]
        if self.mode == "sequential":
            limits = self.limits or [float("inf")] * len(lengths)
            length = sum(min(length, limit) for length, limit in zip(lengths, limits, strict=True))
        else:
            length = (min if self.mode == "min_size" else max)(lengths, default=0)
        if length == float("inf"):
            raise TypeError("CombinedLoader has no length: a loader in it has none")
        return int(length)

    def reset(self) -> None:
        """There is nothing to reset: each iteration starts anew."""


def length_of(loader: Any) -> float:
    """Number of batches; infinite where the loader cannot tell."""
    if not isinstance(loader, Sized):
        return float("inf")
    try:
        return len(loader)
    except (
        TypeError,
        NotImplementedError,
    ):  # a DataLoader over an iterable data set has `__len__`, but no length
        return float("inf")


def rebuild(structure: Any, values: Iterator[Any]) -> Any:
    """A collection like `structure` with the next of `values` at each leaf."""
    if isinstance(structure, Mapping):
        return {key: rebuild(item, values) for key, item in structure.items()}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(rebuild(item, values) for item in structure))
    if isinstance(structure, (list, tuple)):
        return type(structure)(rebuild(item, values) for item in structure)
    if dataclasses.is_dataclass(structure) and not isinstance(structure, type):
        made = {f.name: rebuild(getattr(structure, f.name), values) for f in dataclasses.fields(structure)}
        return dataclasses.replace(structure, **made)
    return next(values)


def _sequential(combined: CombinedLoader, open_loader: Open, skip: int) -> Iterator[tuple[Any, int, int]]:
    loaders = combined.flattened
    limits = combined.limits or [float("inf")] * len(loaders)
    lengths = [max(min(length_of(loaders[i]), limits[i]), 0) for i in range(len(loaders))]
    first = 0
    while first < len(loaders) and lengths[first] <= skip:
        skip -= int(lengths[first])
        first += 1
    if first == len(loaders):
        return iter(())
    opened = open_loader(first, int(first > 0), skip)

    def one_after_the_other() -> Iterator[tuple[Any, int, int]]:
        for index in range(first, len(loaders)):
            if not lengths[index]:
                continue
            batches = opened if index == first else open_loader(index, 1, 0)
            for batch_idx, batch in enumerate(batches, start=skip if index == first else 0):
                yield batch, batch_idx, index
                if batch_idx + 1 >= limits[index]:
                    break

    return one_after_the_other()


def _min_size(combined: CombinedLoader, open_loader: Open, skip: int) -> Iterator[tuple[Any, int, int]]:
    opened = [open_loader(index, 0, skip) for index in range(len(combined.flattened))]
    return (
        (rebuild(combined.iterables, iter(batches)), batch_idx, 0)
        for batch_idx, batches in enumerate(zip(*opened, strict=False), start=skip)
    )


def _max_size(combined: CombinedLoader, open_loader: Open, skip: int) -> Iterator[tuple[Any, int, int]]:
    return _to_the_longest(combined, open_loader, skip, cycles=False)


def _max_size_cycle(combined: CombinedLoader, open_loader: Open, skip: int) -> Iterator[tuple[Any, int, int]]:
    return _to_the_longest(combined, open_loader, skip, cycles=True)


_EXHAUSTED = object()


class _Part:
    """One of several loaders that are iterated together to the end of the longest."""

    def __init__(
        self, open_loader: Callable[[int, int], Iterator[Any]], length: float, *, cycles: bool
    ) -> None:
        self._open = open_loader
        self._cycles = cycles
        self._length = length
        self._turn = 0
        self._iterator: Iterator[Any] = iter(())
        self.exhausted = False
        """Whether the loader has come to its end once."""

    def start(self, skip: int) -> None:
        """Begin, after so many batches."""
        self._iterator = self._open(0, int(min(skip, self._length)))
        self.exhausted = skip > self._length
        self._skip = skip

    def start_turn(self) -> None:
        """Go on to the turn that the batches which are skipped lead to."""
        if self.exhausted and self._cycles:
            self._turn, skip = divmod(self._skip, int(self._length))
            self._iterator = self._open(self._turn, skip)

    def take(self) -> Any:
        """The next batch, or `_EXHAUSTED`."""
        batch = next(self._iterator, _EXHAUSTED)
        self.exhausted = self.exhausted or batch is _EXHAUSTED
        return batch

    def take_again(self) -> Any:
        """The batch in place of one that is missing: of the loader's next turn, or None."""
        if not self._cycles:
            return None
        self._turn += 1
        self._iterator = self._open(self._turn, 0)
        return next(self._iterator, None)


def _to_the_longest(
    combined: CombinedLoader, open_loader: Open, skip: int, *, cycles: bool
) -> Iterator[tuple[Any, int, int]]:
    """Until every loader was exhausted once."""
    parts = [
        _Part(partial(open_loader, index), length_of(loader), cycles=cycles)
        for index, loader in enumerate(combined.flattened)
    ]
    for part in parts:
        part.start(skip)
    return _taken_together(combined.iterables, parts, skip)


def _taken_together(structure: Any, parts: list[_Part], batch_idx: int) -> Iterator[tuple[Any, int, int]]:
    for part in parts:
        part.start_turn()
    while parts:
        batches = []
        for part in parts:
            batches.append(part.take())
            if part.exhausted and all(part.exhausted for part in parts):
                return
        # Only now, for a loader that starts again may draw random numbers.
        batches = [
            part.take_again() if batch is _EXHAUSTED else batch
            for part, batch in zip(parts, batches, strict=True)
        ]
        yield rebuild(structure, iter(batches)), batch_idx, 0
        batch_idx += 1


_ITERATIONS: dict[str, Callable[[CombinedLoader, Open, int], Iterator[tuple[Any, int, int]]]] = {
    "min_size": _min_size,
    "max_size_cycle": _max_size_cycle,
    "max_size": _max_size,
    "sequential": _sequential,
}
