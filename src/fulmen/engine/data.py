"""Where batches come from: loaders, how many of their batches count, the stream a loop takes them from."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler

from fulmen.base.generators import RandomState, isolate_rng
from fulmen.base.overrides import is_overridden
from fulmen.base.random import SeedWorker, workers_are_seeded
from fulmen.base.report import warn
from fulmen.base.tree import leaves, map_leaves, move
from fulmen.core.data_hooks import DataHooks
from fulmen.engine.combined_loader import CombinedLoader, length_of, rebuild
from fulmen.engine.loaders import Attributes, can_be_remade, remake, sampler_attributes
from fulmen.engine.replay import Start, draws_freely, has_states, make_exact, open_pass, states_of
from fulmen.engine.sharding import Counts, shard
from fulmen.errors import ConfigError, UsageError
from fulmen.runtime.world import World

Limit = int | float


@dataclass
class DataSource:
    """Who provides loaders of one kind: the caller of the Trainer, else the datamodule, else the module."""

    kind: str
    """train, val, test or predict."""
    given: Any
    owners: tuple[DataHooks, ...]

    @property
    def provider(self) -> DataHooks | None:
        """Whoever defines the loader hook."""
        name = f"{self.kind}_dataloader"
        return next((owner for owner in self.owners if is_overridden(name, owner, DataHooks)), None)

    @property
    def exists(self) -> bool:
        """Whether anybody provides loaders."""
        return self.given is not None or self.provider is not None

    def request(self) -> Any:
        """The loaders; raises `UsageError` where nobody provides any."""
        if self.given is not None:
            return self.given
        if self.provider is None:
            raise UsageError(
                f"There is no {self.kind} loader.",
                fix=f"hand one to the Trainer's method, or define `{self.kind}_dataloader` "
                "in the module or datamodule",
            )
        loaders = getattr(self.provider, f"{self.kind}_dataloader")()
        if loaders is None:
            raise UsageError(f"`{type(self.provider).__name__}.{self.kind}_dataloader` returned None.")
        return loaders


@dataclass
class Loaders:
    """The loaders of one kind, ready for use."""

    given: Any = None
    """What the user provided, as `trainer.train_dataloader` shows it."""
    loaders: list[Any] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)
    """How many batches count, of each loader; infinite where nobody knows."""
    are_shares: bool = False
    """Whether other processes have the rest of the batches."""
    are_counted: bool = True
    """Whether all processes know how many batches they have."""
    counts: Counts | None = None
    """How many each of them has, where they need not have equally many."""
    loaded_at_epoch: int | None = None
    attributes_when_loaded: Attributes = field(default_factory=list)
    """What the user's own samplers kept before they were used."""

    @property
    def are_empty(self) -> bool:
        """Whether it is known that there is no batch in any process."""
        return not (any(self.lengths) or (self.are_shares and self.loaders))


def prepare_train_loaders(
    given: Any,
    *,
    limit: Limit,
    overfit: Limit,
    world: World,
    shards: bool,
    seeds_data: bool,
    pads: bool = True,
) -> Loaders:
    """What to train on, as one loader; unless it `pads`, it may be empty where others are not."""
    several = isinstance(given, (dict, list, tuple))
    loader = CombinedLoader(given, mode="max_size_cycle") if several else given
    prepare = partial(_prepare, kind="train", overfit=overfit, world=world, shards=shards, pads=pads)
    loader = _with_parts(loader, prepare)
    given = loader.iterables if several else loader
    loader = _with_parts(loader, partial(make_exact, seeds_data=seeds_data))
    length = length_of(loader)
    if length == 0 and pads:
        raise ConfigError("The train loader is empty.", received=f"{type(loader).__name__} of length 0")
    lengths = [_limited(limit, length, "limit_train_batches")]
    return Loaders(given, [loader], lengths, attributes_when_loaded=sampler_attributes([loader]))


def prepare_evaluation_loaders(
    given: Any, kind: str, *, limit: Limit, overfit: Limit, world: World, shards: bool, seeds_data: bool
) -> Loaders:
    """What to validate, test or predict on: loaders to be taken one after the other."""
    is_combined = isinstance(given, CombinedLoader)
    combined = given if is_combined else CombinedLoader(given, mode="sequential")
    prepare = partial(_prepare, kind=kind, overfit=overfit, world=world, shards=shards)
    combined = _with_parts(combined, prepare)
    given = combined if is_combined else combined.iterables
    loaders = combined.flattened if combined.mode == "sequential" else [combined]
    are_shares = shards and world.size > 1
    if kind != "predict" and (seeds_data or are_shares):
        with isolate_rng():  # a seed for persistent workers is nothing that training should notice
            loaders = [_with_parts(loader, partial(make_exact, seeds_data=seeds_data)) for loader in loaders]
    lengths = [_limited(limit, length_of(loader), f"limit_{kind}_batches") for loader in loaders]
    if limit and not any(lengths) and not are_shares:
        raise ConfigError(f"The {kind} loader is empty.", received=f"{type(given).__name__} without a batch")
    for index, length in enumerate(lengths):
        if limit and not length and not are_shares:
            warn(f"The {kind} loader {index} is empty.")
    return Loaders(given, loaders, lengths, are_shares)


def _with_parts(loader: Any, change: Callable[[Any], Any]) -> Any:
    """A loader whose parts are changed; the user's own one stays as it is, and is returned where none is."""
    if not isinstance(loader, CombinedLoader):
        return change(loader)
    parts = loader.flattened
    changed = list(map(change, parts))
    if all(one is other for one, other in zip(parts, changed, strict=True)):
        return loader
    combined = CombinedLoader(rebuild(loader.iterables, iter(changed)), loader.mode)
    combined.limits = loader.limits
    return combined


def _prepare(loader: Any, kind: str, *, overfit: Limit, world: World, shards: bool, pads: bool = True) -> Any:
    if not isinstance(loader, Iterable):
        raise ConfigError(
            f"The {kind} loader is not iterable.",
            received=type(loader).__name__,
            expected="a DataLoader or any iterable",
        )
    if isinstance(loader, DataLoader):
        if loader.num_workers and loader.worker_init_fn is None and workers_are_seeded():
            loader.worker_init_fn = SeedWorker(world.rank)
        if overfit:
            loader = _without_shuffling(loader)
        if shards:
            loader = shard(loader, world, training=kind == "train", pads=pads)
    return loader


def _without_shuffling(loader: DataLoader) -> DataLoader:
    """The same loader in the data set's own order, so that the first batches are always the same."""
    if isinstance(loader.sampler, SequentialSampler) or isinstance(loader.dataset, IterableDataset):
        return loader
    random = isinstance(loader.sampler, RandomSampler) and type(loader.batch_sampler) is BatchSampler
    if not (random and can_be_remade(loader)):
        warn("overfit_batches keeps your own sampler; see to it that it gives the same batches each time.")
        return loader
    sampler = BatchSampler(SequentialSampler(loader.dataset), loader.batch_size or 1, loader.drop_last)  # pyright: ignore[reportArgumentType]
    return remake(loader, batch_sampler=sampler)


def _limited(limit: Limit, length: float, name: str) -> float:
    """How many batches count: a number of them, or a fraction of what there is."""
    if isinstance(limit, int):
        return min(limit, length)
    if limit == 1.0 or length == 0:
        return length
    if length == float("inf"):
        if limit == 0.0:
            return 0
        raise ConfigError(
            f"`{name}` is a fraction, and the loader has no length.", received=limit, fix=f"{name}=<int>"
        )
    count = math.floor(round(limit * length, 6))  # 0.29 of 100 is 29, whatever binary fractions make of it
    if count == 0 and limit > 0:
        raise ConfigError(
            f"`{name}` leaves no batch.",
            received=f"{limit} of {int(length)} batches",
            expected=f"at least {1 / length:.3g}, or a whole number",
        )
    return count


class _End:
    """What a stream gives when it is exhausted."""


END = _End()


class Ahead(NamedTuple):
    """A batch that was fetched and is not taken, and what things were like before it was fetched."""

    batch: Any
    states: list[Any]
    """Of the loader's parts, where they have any."""
    random: RandomState | None
    """Of the global generators, where they may be drawn from."""


class BatchStream:
    """The batches of one pass over one loader.

    A batch is fetched when it is taken, or before, by `prefetch`: on accelerators the next batch is on its
    way while the device computes. Where the loader has no length, one batch is fetched ahead to know which
    one is the last.
    """

    is_absent = False
    """Whether the batch taken last is one that only other processes have."""
    own_length: int | None = None
    """How many batches this process has in the epoch, where others may have more and that is known."""

    def __init__(
        self, loader: Any, length: float, start: Start | None = None, *, send_to: torch.device | None = None
    ) -> None:
        start = start or Start()
        batches = open_pass(loader, start)
        natural_length = length_of(loader)
        # Without a limit the loader comes to its own end, as in a `for` loop: some draw random numbers there.
        self._limited = length < natural_length
        self._batches = islice(batches, max(0, int(length) - start.skip)) if self._limited else batches
        self._loader = loader
        self._length = length
        self._sized = natural_length != float("inf")
        self._mover = SideStreamMover(send_to) if send_to is not None and send_to.type == "cuda" else None
        self.prefetches = self._mover is not None
        """Whether there is a device to which the next batch can be sent while it computes."""
        self._ahead: deque[Ahead] = deque()
        self.has_states = has_states(loader)
        self.draws_freely = draws_freely(loader, start)
        """Whether the global generators may be drawn from wherever a batch is fetched."""
        self.taken = start.skip
        """Batches that were taken or are skipped."""
        self.is_last = start.done

    def take(self) -> Any:
        """The next batch, or `END`."""
        is_at_hand = self._mover is None and not self._ahead
        batch = next(self._batches, END) if is_at_hand else self._give()
        if batch is END:
            return END
        self.taken += 1
        if self._sized:
            self.is_last = self.taken >= self._length
        else:
            self.is_last = self.is_empty()
        return batch

    def _give(self) -> Any:
        """The next batch, which is not ahead any more."""
        batch = self._ahead.popleft().batch if self._ahead else self._fetch()
        return batch if self._mover is None or batch is END else self._mover.receive(batch)

    def prefetch(self) -> None:
        """Fetch the next batch and send it to the device, which computes meanwhile."""
        if not self.is_last:
            self.fetch_ahead()

    def fetch_ahead(self, count: int = 1) -> None:
        """Have so many batches fetched before they are taken."""
        while len(self._ahead) < count:
            states = states_of(self._loader) if self.has_states else []
            random = RandomState.capture() if self.draws_freely else None
            self._ahead.append(Ahead(self._fetch(), states, random))

    def is_empty(self) -> bool:
        """Whether there is no further batch; fetches one to know."""
        self.fetch_ahead()
        return self._ahead[0].batch is END

    @property
    def ahead(self) -> int:
        """How many batches were fetched that are not taken."""
        return len(self._ahead)

    @property
    def random_before_ahead(self) -> list[RandomState]:
        """What the global generators were before each of them was fetched, where they may be drawn from."""
        return [each.random for each in self._ahead if each.random is not None]

    def states(self) -> list[Any]:
        """The states of the loader's parts from which the next batch is the one that `take` would give."""
        if not self.has_states:
            return []
        return self._ahead[0].states if self._ahead else states_of(self._loader)

    @property
    def is_exhausted(self) -> bool:
        """Whether every part of the loader is known to have come to its end."""
        cut = self._limited and self.taken >= self._length
        return self.is_last and not cut and not isinstance(self._loader, CombinedLoader)

    def _fetch(self) -> Any:
        batch = next(self._batches, END)
        return batch if self._mover is None or batch is END else self._mover.send(batch)


class SideStreamMover:
    """Copies batches to a CUDA device on a stream of its own, so that copy and computation overlap."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def send(self, batch: Any) -> Any:
        """Begin to copy; from pinned memory, without which the host would wait for the copy."""
        with torch.cuda.stream(self.stream):
            return move(map_leaves(batch, Tensor, _pinned), self.device, non_blocking=True)

    def receive(self, batch: Any) -> Any:
        """Let the computation wait for the copy; the host does not."""
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self.stream)
        for leaf in leaves(batch):
            if isinstance(leaf, Tensor) and leaf.is_cuda:
                leaf.record_stream(current)  # the allocator must not give the memory away before it was used
        return batch


def _pinned(tensor: Tensor) -> Tensor:
    return tensor.pin_memory() if tensor.device.type == "cpu" and not tensor.is_pinned() else tensor


Transfer = Callable[[Any, int], Any]


def transfer_to(
    device: torch.device,
    owners: tuple[DataHooks, ...],
    convert: Callable[[Any], Any] | None,
    method: Callable[[Any, str], Callable[..., Any]] = getattr,
) -> Transfer | None:
    """How a batch that was taken reaches the device: through the hooks, where they are overridden.

    None where there is nothing left to do: on the host, or where the stream sends batches itself.
    """
    names = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
    found = [next((o for o in owners if is_overridden(name, o, DataHooks)), None) for name in names]
    if not any(found) and convert is None and device.type in ("cpu", "cuda"):
        return None
    before, send, after = (
        method(owner or owners[-1], name) for owner, name in zip(found, names, strict=True)
    )

    def transfer(batch: Any, dataloader_idx: int) -> Any:
        batch = before(batch, dataloader_idx)
        if convert is not None:
            batch = convert(batch)
        return after(send(batch, device, dataloader_idx), dataloader_idx)

    return transfer
