"""Data to train on: samples that say who they are and what was drawn for them, in every order there is."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    WeightedRandomSampler,
)

import fulmen as pl

FEATURES = 4
SAMPLES = 14
BATCH_SIZE = 3  # so five batches, the last one of two samples; no accumulation but by five leaves no rest
BATCHES = 5

Sample = dict[str, Any]
Draw = Callable[[], float]

GLOBAL: dict[str, Draw] = {
    "torch": lambda: float(torch.rand((), dtype=torch.float64)),
    "numpy": lambda: float(np.random.rand()),
    "python": random.random,
}
"""A number from each of the generators that belong to the process."""


def normal() -> float:
    """NumPy draws two of them at a time, and keeps the second one."""
    return abs(float(np.random.normal())) % 1


def from_all() -> float:
    """A number that changes when any of the three generators stands elsewhere."""
    return sum(draw() for draw in GLOBAL.values())


def make_sample(index: int, drawn: float) -> Sample:
    """The sample of this index, with noise that depends on what was drawn for it."""
    x = torch.sin(torch.arange(FEATURES) * 1.7 + index) + 0.1 * drawn
    y = torch.cos(torch.tensor([index * 0.9]))
    return {"id": torch.tensor(index), "x": x, "y": y, "drawn": torch.tensor(drawn, dtype=torch.float64)}


class Samples(Dataset[Sample]):
    """As many samples, each changed by what `draw` gives; counts how many were fetched in this process."""

    def __init__(self, count: int = SAMPLES, draw: Draw = from_all, first: int = 0) -> None:
        self.count, self.draw, self.first = count, draw, first
        self.fetched = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        self.fetched += 1
        return make_sample(self.first + int(index), self.draw())


def steady(count: int = SAMPLES, first: int = 0) -> Samples:
    """Samples without noise."""
    return Samples(count, lambda: 0.0, first)


class OwnNoise(Dataset[Sample]):
    """Draws from a generator that the data set holds."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.generator: Any = {
            "numpy": lambda: np.random.default_rng(5),
            "python": lambda: random.Random(5),
            "torch": lambda: torch.Generator().manual_seed(5),
        }[kind]()

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> Sample:
        if self.kind == "torch":
            drawn = float(torch.rand((), generator=self.generator, dtype=torch.float64))
        else:
            drawn = self.generator.random()
        return make_sample(index, drawn)


def noisy_collate(samples: Sequence[Sample]) -> Any:
    """The default batch with noise of its own."""
    batch = torch.utils.data.default_collate(list(samples))
    drawn = from_all()
    return batch | {"x": batch["x"] + drawn, "drawn": batch["drawn"] + drawn}


# ------------------------------------------------------------------------------------------------- samplers


class DrawnAtStart(Sampler[int]):
    """An order that is drawn when a pass begins."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw

    def __len__(self) -> int:
        return SAMPLES

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(range(SAMPLES), key=lambda _: self.draw()))


class DrawnOneByOne(Sampler[int]):
    """Each index is drawn when it is asked for, from those that are left."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw

    def __len__(self) -> int:
        return SAMPLES

    def __iter__(self) -> Iterator[int]:
        left = list(range(SAMPLES))
        while left:
            yield left.pop(int(self.draw() * len(left)) % len(left))


class OwnGenerator(Sampler[int]):
    """An order from a generator that the sampler holds; it goes on from epoch to epoch."""

    def __init__(self, generator: Any) -> None:
        self.generator = generator

    def __len__(self) -> int:
        return SAMPLES

    def __iter__(self) -> Iterator[int]:
        if isinstance(self.generator, torch.Generator):
            return iter(torch.randperm(SAMPLES, generator=self.generator).tolist())
        order = list(range(SAMPLES))
        self.generator.shuffle(order)
        return iter(order)


class EpochSeeded(Sampler[int]):
    """An order that follows from the epoch it was told of."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return SAMPLES

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(self.epoch)).tolist())


class OwnBatches(Sampler[list[int]]):
    """A batch sampler of one's own: batches of an order that another sampler draws."""

    def __init__(self, sampler: Sampler[int]) -> None:
        self.inner = sampler

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.inner:
            batch.append(index)
            if len(batch) == BATCH_SIZE:
                yield batch
                batch = []
        if batch:
            yield batch


# -------------------------------------------------------------------------------------- data without indices


class Stream(IterableDataset[Sample]):
    """Samples one after the other, shared among workers, each changed by a number drawn on the way."""

    def __iter__(self) -> Iterator[Sample]:
        info = torch.utils.data.get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return (make_sample(index, from_all()) for index in range(first, SAMPLES, step))


class StatefulStream(IterableDataset[Sample]):
    """Knows where it stands, and says so."""

    def __init__(self) -> None:
        self.next = 0
        self.generator = torch.Generator().manual_seed(8)
        self.made: list[int] = []
        """The indices of the samples that were made in this process."""

    def __iter__(self) -> Iterator[Sample]:
        self.next = self.next % SAMPLES  # at the end, a new pass begins
        while self.next < SAMPLES:
            index, self.next = self.next, self.next + 1
            self.made.append(index)
            yield make_sample(index, float(torch.rand((), generator=self.generator, dtype=torch.float64)))

    def state_dict(self) -> dict[str, Any]:
        return {"next": self.next, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.next = state["next"]
        self.generator.set_state(state["generator"])


class NoisyStatefulStream(StatefulStream):
    """Draws from the global generators as well."""

    def __iter__(self) -> Iterator[Sample]:
        return (
            make_sample(int(sample["id"]), float(sample["drawn"]) + from_all())
            for sample in StatefulStream.__iter__(self)
        )


class StatefulBatches:
    """A loader of one's own that knows where it stands."""

    def __init__(self) -> None:
        self.stream = StatefulStream()

    def __iter__(self) -> Iterator[Any]:
        samples: list[Sample] = []
        for sample in self.stream:
            samples.append(sample)
            if len(samples) == BATCH_SIZE or sample["id"] == SAMPLES - 1:
                yield torch.utils.data.default_collate(samples)
                samples = []

    def __len__(self) -> int:
        return BATCHES

    def state_dict(self) -> dict[str, Any]:
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stream.load_state_dict(state)


class OpaqueBatches:
    """An iterable that nobody can look into, with a length or without: each sample is drawn."""

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, SAMPLES, BATCH_SIZE):
            size = min(BATCH_SIZE, SAMPLES - start)
            chosen = [(int(from_all() * 1e6) % SAMPLES, from_all()) for _ in range(size)]
            yield torch.utils.data.default_collate([make_sample(index, drawn) for index, drawn in chosen])


class SizedOpaqueBatches(OpaqueBatches):
    def __len__(self) -> int:
        return BATCHES


# -------------------------------------------------------------------------------------------------- loaders


def loader(dataset: Any = None, **options: Any) -> DataLoader:
    """A DataLoader of batches of three."""
    if not {"batch_sampler", "batch_size"} & set(options):
        options["batch_size"] = BATCH_SIZE
    return DataLoader(Samples() if dataset is None else dataset, **options)


def shuffled(**options: Any) -> DataLoader:
    return loader(shuffle=True, **options)


def in_workers(workers: int = 2, **options: Any) -> DataLoader:
    return shuffled(num_workers=workers, **options)


def weighted() -> DataLoader:
    return loader(sampler=WeightedRandomSampler([1.0 + i % 4 for i in range(SAMPLES)], SAMPLES))


def with_own_generator(**options: Any) -> DataLoader:
    return shuffled(generator=torch.Generator().manual_seed(2), **options)


def batches_of(sampler: Sampler[int], **options: Any) -> DataLoader:
    return loader(batch_sampler=OwnBatches(sampler), **options)


def torchs_batches_of(sampler: Sampler[int], **options: Any) -> DataLoader:
    return loader(batch_sampler=BatchSampler(sampler, BATCH_SIZE, drop_last=False), **options)


def combined(mode: str, **options: Any) -> pl.CombinedLoader:
    """Two loaders of five and of two batches, in a dict."""
    both = {
        "long": shuffled(**options),
        "short": loader(Samples(6, first=100), shuffle=True, **options),
    }
    return pl.CombinedLoader(both, mode)


def validation_data(**options: Any) -> DataLoader:
    """Two batches, shuffled and with noise."""
    return loader(Samples(6, first=200), shuffle=True, **options)


def samples_of(batch: Any) -> list[dict[str, Tensor]]:
    """The batches of samples in whatever a loader gives."""
    if batch is None:
        return []
    if isinstance(batch, dict) and "id" in batch:
        return [batch]
    return [
        part for item in (batch.values() if isinstance(batch, dict) else batch) for part in samples_of(item)
    ]
