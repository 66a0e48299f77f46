"""Passes over loaders that can begin anywhere, and give there what an uninterrupted pass gives.

A loader over a map-style data set goes over the indices of the batches that are done, and fetches none of
them. What its data set and its collate function draw at random is seeded by batch: it does not depend on who
fetches the batch, or when. A loader with a state is put into that state. Of anything else, the batches that
are done are drawn again and dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from fulmen.base.generators import (
    RandomState,
    SideStream,
    begun_at,
    isolate_rng,
    put_torch,
    reseed,
    reseed_generator,
    seeded,
)
from fulmen.base.random import derive_seed, seed_of
from fulmen.base.report import info
from fulmen.engine.combined_loader import CombinedLoader
from fulmen.engine.loaders import (
    StandIn,
    WrappingSampler,
    can_be_remade,
    generators_of,
    parts_of,
    sampler_generators,
)
from fulmen.engine.seeded_data import SeededData, draws_nothing
from fulmen.errors import UsageError


@dataclass(frozen=True)
class Start:
    """Where a pass begins, and what decides on the random numbers that are drawn in it."""

    seed: int | None = None
    """Without one they are drawn as in a plain loop: from the global generators, by whoever comes first."""
    order_seed: int | None = None
    """Where several processes go over the same order, what rank 0 has for a seed."""
    order_state: RandomState | None = None
    """What the generators of rank 0 are when it begins; None on rank 0, and alone."""
    skip: int = 0
    """Batches that are done."""
    states: Sequence[Any] = ()
    """Of each part of the loader, what `states_of` gave."""
    draws_at_once: bool = False
    """Whether the order is drawn before the first batch is asked for, as where batches are skipped."""
    done: bool = False
    """Whether no batch is left: states are taken up, and nothing is begun."""

    def of_part(self, index: int, turn: int, skip: int) -> Start:
        """Where a part of the loader begins, in its first turn or in one of those that follow."""
        seed, order_seed = (
            None if whole is None else derive_seed(whole, index, turn)
            for whole in (self.seed, self.order_seed)
        )
        return Start(seed, order_seed, self.order_state, skip)


# ------------------------------------------------------------------------------------------ map-style loaders


class Indices(WrappingSampler):
    """The indices that a sampler gives, from any batch on; with the batch's seed where data is seeded."""

    def __init__(self, wrapped: Any, *, with_seeds: bool) -> None:
        super().__init__(wrapped)
        self.with_seeds = with_seeds
        self._begin = partial(_IndexPass, wrapped, Start(), again=False, with_seeds=with_seeds)
        self.latest: _IndexPass | None = None
        """The iteration that was begun last."""

    def begin(self, start: Start, *, again: bool) -> None:
        """Say what the next iteration is; `again`, if it does not begin when the pass over all data does."""
        self._begin = partial(_IndexPass, self.wrapped, start, again=again, with_seeds=self.with_seeds)

    def __iter__(self) -> Iterator[Any]:
        self.latest = self._begin()
        return iter(self.latest)


class _IndexPass:
    """One iteration over the indices of a sampler.

    It begins with the random numbers of the run, as in a plain loop; of several processes, with those of rank
    0. What a sampler draws later, and what it draws where this is not the first iteration of a pass, comes
    from a stream of its own: at those moments, the numbers of the run depend on how far training is.
    """

    def __init__(self, sampler: Any, start: Start, *, again: bool, with_seeds: bool) -> None:
        self._sampler, self._seed, self._skip = sampler, start.seed, start.skip
        self._order_seed = start.seed if start.order_seed is None else start.order_seed
        self._again = again
        self._with_seeds = with_seeds
        self._rest: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        if not self._with_seeds:
            yield from self.catch_up()
            return
        seed = self._seed or 0
        for number, index in enumerate(self.catch_up(), start=self._skip):
            yield index, seed_of(seed, number)

    def catch_up(self) -> Iterator[Any]:
        """Go over the indices that are to be skipped; returns the rest."""
        if self._rest is None:
            self._rest = self._after_those_skipped()
        return self._rest

    def _after_those_skipped(self) -> Iterator[Any]:
        indices = iter(self._sampler)
        if self._order_seed is None:
            return _without(indices, self._skip)
        stream = SideStream(derive_seed(self._order_seed, -1))
        with stream if self._again else nullcontext():
            first = list(islice(indices, 1))
        if _draws_at_first(self._sampler):
            return _without(chain(first, indices), self._skip)
        if not self._skip:
            return chain(first, _drawn_in(stream, indices))
        with stream:
            for _ in range(self._skip - 1):
                _without(indices, 1)
                stream.pause()  # in an uninterrupted run, each index is drawn on its own
        return _drawn_in(stream, indices)


def _without(indices: Iterator[Any], count: int) -> Iterator[Any]:
    """Go over so many of them; returns the others."""
    if count and next(islice(indices, count - 1, count), _END) is _END:
        raise UsageError(
            "The sampler gives fewer batches than were done when the checkpoint was saved.",
            expected=f"more than {count} batches, of which the first {count} are skipped",
            fix="leave it to the Trainer to skip what is done: do not move the sampler forward",
        )
    return indices


def _drawn_in(stream: SideStream, indices: Iterator[Any]) -> Iterator[Any]:
    while True:
        with stream:
            index = next(indices, _END)
        if index is _END:
            return
        yield index


_END = object()


def _draws_at_first(sampler: Any) -> bool:
    """Whether a sampler is known to draw from the global generators at its first index only, if at all."""
    if type(sampler) is BatchSampler:
        return _draws_at_first(sampler.sampler)
    if isinstance(sampler, WrappingSampler):
        return _draws_at_first(sampler.wrapped)
    known = (SequentialSampler, RandomSampler, SubsetRandomSampler, WeightedRandomSampler, DistributedSampler)
    return type(sampler) in (*known, list, tuple, range)


def _as_it_is(batch: Any) -> Any:
    return batch


def make_exact(loader: Any, *, seeds_data: bool) -> Any:
    """A loader like this that `open_pass` can begin anywhere; where that is impossible, the loader itself."""
    if not can_be_remade(loader) or _stateful(loader) is not None:
        return loader
    changed: dict[str, Any] = {}
    if seeds_data and loader.persistent_workers:
        # Torch draws a seed for workers when it starts them: for persistent ones once in a process, and how
        # often in a run depends on how often that was taken up. So it is drawn here, and not again there.
        seed = torch.empty((), dtype=torch.int64).random_(generator=loader.generator).item()
        changed["generator"] = torch.Generator().manual_seed(int(seed))
    batched = loader.batch_sampler is not None
    sampler = loader.batch_sampler if batched else loader.sampler
    with_seeds = seeds_data and not draws_nothing(loader.dataset, loader.collate_fn)
    if with_seeds:
        changed["dataset"] = SeededData(
            loader.dataset, loader.collate_fn, auto_collation=batched, others=sampler_generators(loader)
        )
        changed["collate_fn"] = _as_it_is
    indices = Indices(sampler, with_seeds=with_seeds)
    if batched and not with_seeds:
        return StandIn(loader, batch_sampler=indices, **changed)
    return StandIn(loader, sampler=indices, batch_size=None, **changed)


def _indices_of(loader: Any) -> Indices | None:
    if not isinstance(loader, StandIn):
        return None
    sampler = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    return sampler if isinstance(sampler, Indices) else None


# ------------------------------------------------------------------------------------------------ any loaders


@runtime_checkable
class Stateful(Protocol):
    """What can be put to where it was: torchdata's loaders, and data sets and iterables that keep count."""

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, as plain data and tensors."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Go on from there."""


def _stateful(loader: Any) -> Stateful | None:
    """What knows where a loader stands: itself or, without workers, its iterable data set."""
    if isinstance(loader, Stateful):
        return loader
    if isinstance(loader, DataLoader) and isinstance(loader.dataset, IterableDataset):
        dataset: Any = loader.dataset
        return dataset if loader.num_workers == 0 and isinstance(dataset, Stateful) else None
    return None


def has_states(loader: Any) -> bool:
    """Whether any part of a loader knows where it stands."""
    return any(_stateful(part) is not None for part in parts_of(loader))


def states_of(loader: Any) -> list[Any]:
    """The state of each part of a loader; None for parts that have none."""
    found = [_stateful(part) for part in parts_of(loader)]
    return [None if part is None else part.state_dict() for part in found]


def leave_pass(loader: Any, states: Sequence[Any]) -> None:
    """Let a loader be as after a pass that was over before the loader was: the next one begins anew."""
    with isolate_rng(generators_of([loader])):
        for part, state in zip(parts_of(loader), states, strict=False):
            stateful = _stateful(part)
            if stateful is not None and state is not None:
                stateful.load_state_dict(state)
                iter(part)  # goes on from the state; an iterator that comes after it does not


def open_pass(loader: Any, start: Start) -> Iterator[Any]:
    """The batches of one pass over a loader, from `start` on."""
    catch_up: list[Callable[[], object]] = []
    if start.done:
        for part, state in zip(parts_of(loader), start.states, strict=False):
            stateful = _stateful(part)
            if stateful is not None and state is not None:
                stateful.load_state_dict(state)
        return iter(())
    with begun_at(start.order_state) if start.order_state else nullcontext():
        if isinstance(loader, CombinedLoader):
            parts, states = loader.flattened, dict(enumerate(start.states))

            def open_one(index: int, turn: int, skip: int) -> Iterator[Any]:
                part = start.of_part(index, turn, skip)
                return _open_part(parts[index], part, states.pop(index, None), catch_up, again=turn > 0)

            batches = (batch for batch, _, _ in loader.iterate(open_one, start.skip))
        else:
            state = start.states[0] if start.states else None
            batches = _open_part(loader, start, state, catch_up)
        for go_over in catch_up:  # only now, for loaders draw random numbers when they are opened, too
            go_over()
    return batches


def _open_part(
    loader: Any, start: Start, state: Any, catch_up: list[Callable[[], object]], *, again: bool = False
) -> Iterator[Any]:
    """Open one loader; adds to `catch_up` what goes over the batches that are done."""
    seed, skip = start.seed, start.skip
    indices = _indices_of(loader)
    if indices is None:
        stateful = _stateful(loader)
        if stateful is not None and state is not None:
            stateful.load_state_dict(state)
        # How many random numbers are drawn to begin may depend on the state.
        with seeded(seed) if stateful is not None and seed is not None else nullcontext():
            batches = iter(loader)
        drops = skip if state is None else 0
        if seed is not None and isinstance(loader, DataLoader) and loader.num_workers == 0:
            batches = _seeded_one_by_one(batches, seed, skip - drops)
        if drops:
            catch_up.append(partial(_draw_and_drop, batches, drops, _name_of(loader)))
        return batches
    indices.begin(start, again=again)
    if seed is None or not again:
        batches = iter(loader)
        if (skip or start.order_state or start.draws_at_once) and indices.latest is not None:
            catch_up.append(indices.latest.catch_up)
        return batches
    order_seed = seed if start.order_seed is None else start.order_seed
    for number, generator in enumerate(generators_of([loader])):
        reseed_generator(generator, derive_seed(order_seed, number))
    with seeded(seed):
        return iter(loader)


def _draw_and_drop(batches: Iterator[Any], drops: int, name: str) -> None:
    info(
        f"{name} cannot begin in its middle: {drops} batches that are done are drawn and dropped. "
        "A DataLoader over a map-style data set, or a loader with a `state_dict`, spares that."
    )
    for _ in range(drops):
        next(batches, None)


def _seeded_one_by_one(batches: Iterator[Any], seed: int, first: int) -> Iterator[Any]:
    """The batches of a data set that runs in this process, each with random numbers of its own."""
    for number in count(first):
        before = reseed(seed_of(seed, number))
        try:
            batch = next(batches, _END)
        finally:
            put_torch(before)
        if batch is _END:
            return
        yield batch


def draws_freely(loader: Any, start: Start) -> bool:
    """Whether batches are fetched in this process, and with the random numbers of the run."""
    return any(_draws_freely(part, start) for part in parts_of(loader))


def _draws_freely(part: Any, start: Start) -> bool:
    if not isinstance(part, DataLoader):
        return True
    return not part.num_workers and (start.seed is None or (isinstance(part, StandIn) and _is_unseeded(part)))


def _is_unseeded(loader: StandIn) -> bool:
    """Whether random numbers may be drawn for a batch, and have no seed of their own."""
    indices = _indices_of(loader)
    return not (indices and indices.with_seeds) and not draws_nothing(loader.dataset, loader.collate_fn)


def obstacles(loaders: list[Any]) -> list[str]:
    """Why a run over these loaders cannot be resumed exactly; nothing where it can."""
    return [reason for loader in loaders for part in parts_of(loader) if (reason := _obstacle(part, loader))]


def _obstacle(loader: Any, whole: Any) -> str | None:
    if not isinstance(loader, StandIn):
        if _stateful(loader) is not None:
            if loader is whole:
                return None
            return f"the state of {_name_of(loader)} does not say what the loaders beside it have given"
        return f"{_name_of(loader)} is drawn again from its beginning, and may give other batches then"
    name = _name_of(loader.given)
    if loader.is_changed:
        return f"{name} has a collate_fn or worker_init_fn that was assigned to it during training"
    if loader.num_workers and not loader.in_order:
        return f"{name} gives its batches in no fixed order (in_order=False)"
    if loader.num_workers and _is_unseeded(loader):
        return f"{name} draws random numbers in workers, without a seed for each batch"
    return None


def _name_of(loader: Any) -> str:
    if isinstance(loader, DataLoader):
        kind = "iterable data set" if isinstance(loader.dataset, IterableDataset) else "data set"
        return f"{type(loader).__name__} over the {kind} {type(loader.dataset).__name__}"
    return f"The iterable {type(loader).__name__}"
