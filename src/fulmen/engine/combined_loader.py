"""Several loaders as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any

from fulmen.base.tree import leaves
from fulmen.errors import ConfigError, did_you_mean

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
        return _ITERATIONS[self.mode](self)

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


def _sequential(combined: CombinedLoader) -> Iterator[tuple[Any, int, int]]:
    loaders = combined.flattened
    limits = combined.limits or [float("inf")] * len(loaders)
    for dataloader_idx, (loader, limit) in enumerate(zip(loaders, limits, strict=True)):
        if limit <= 0:
            continue
        for batch_idx, batch in enumerate(loader):
            yield batch, batch_idx, dataloader_idx
            if batch_idx + 1 >= limit:
                break


def _min_size(combined: CombinedLoader) -> Iterator[tuple[Any, int, int]]:
    for batch_idx, batches in enumerate(zip(*combined.flattened, strict=False)):
        yield rebuild(combined.iterables, iter(batches)), batch_idx, 0


def _max_size(combined: CombinedLoader) -> Iterator[tuple[Any, int, int]]:
    return _to_the_longest(combined, again=lambda loader: iter(()))


def _max_size_cycle(combined: CombinedLoader) -> Iterator[tuple[Any, int, int]]:
    return _to_the_longest(combined, again=iter)


_EXHAUSTED = object()


def _to_the_longest(
    combined: CombinedLoader, again: Callable[[Any], Iterator[Any]]
) -> Iterator[tuple[Any, int, int]]:
    """Until every loader was exhausted once; `again` gives what follows on a loader that is."""
    loaders = combined.flattened
    iterators = [iter(loader) for loader in loaders]
    exhausted = [False] * len(loaders)
    batch_idx = 0
    while loaders:
        batches: list[Any] = []
        ended: list[int] = []
        for index, iterator in enumerate(iterators):
            batches.append(next(iterator, _EXHAUSTED))
            if batches[-1] is _EXHAUSTED:
                exhausted[index] = True
                ended.append(index)
                if all(exhausted):
                    return
        for index in ended:  # only now, for a loader that starts again may draw random numbers
            iterators[index] = again(loaders[index])
            batches[index] = next(iterators[index], None)
        yield rebuild(combined.iterables, iter(batches)), batch_idx, 0
        batch_idx += 1


_ITERATIONS: dict[str, Callable[[CombinedLoader], Iterator[tuple[Any, int, int]]]] = {
    "min_size": _min_size,
    "max_size_cycle": _max_size_cycle,
    "max_size": _max_size,
    "sequential": _sequential,
}
