"""State that users keep where nobody would look for it: in samplers, transforms, functions and workers."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler, Subset, get_worker_info

from . import feeds
from .feeds import BATCH_SIZE, SAMPLES, Sample, make_sample
from .law import Case, Moment, after, assert_law

of_this_module = np.random.default_rng(5)


def noise_of_this_module() -> float:
    return of_this_module.random()


class Made(Dataset[Sample]):
    """Asks for a number for each sample, in one way or another."""

    rng: Any = None

    def __init__(self, how: str) -> None:
        self.how = how
        self.transforms = [Chain([Shifts(np.random.default_rng(3))])] if how == "nested" else []

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> Sample:
        if self.how == "lazily" and self.rng is None:
            self.rng = np.random.default_rng(torch.initial_seed() % 2**32)
        drawn = self.rng.random() if self.rng is not None else 0.0
        if self.how == "a function":
            drawn = noise_of_this_module()
        for transform in self.transforms:
            drawn = transform(drawn)
        return make_sample(index, drawn)


class Chain:
    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def __call__(self, value: float) -> float:
        return functools.reduce(lambda found, part: part(found), self.parts, value)


class Shifts:
    def __init__(self, rng: Any) -> None:
        self.rng = rng

    def __call__(self, value: float) -> float:
        return value + self.rng.random()


def give_generator(worker_id: int) -> None:
    """What NumPy's users are told to do."""
    worker: Any = get_worker_info()
    assert isinstance(worker.dataset, Made)
    assert len(worker.dataset) == SAMPLES
    worker.dataset.rng = np.random.default_rng(worker.seed % 2**32)


class Collator:
    def __init__(self) -> None:
        self.rng = np.random.default_rng(6)

    def collate(self, samples: list[Sample]) -> Any:
        return noisy(samples, self.rng)


def noisy(samples: list[Sample], rng: Any) -> Any:
    batch = torch.utils.data.default_collate(samples)
    return batch | {"x": batch["x"] + rng.random()}


class Lazy(dict[str, Any]):
    """A sample in a list that is another one each time it is looked at."""

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        return value + feeds.from_all() if key == "x" else value


def lazy_samples() -> list[Any]:
    return [Lazy(make_sample(index, 0.0)) for index in range(SAMPLES)]


class CountsItsPasses(Sampler[int]):
    """Nobody tells it which epoch it is."""

    def __init__(self) -> None:
        self.passes = 0

    def __len__(self) -> int:
        return SAMPLES

    def __iter__(self) -> Iterator[int]:
        order = list(range(SAMPLES))
        random.Random(self.passes).shuffle(order)
        self.passes += 1
        return iter(order)


class Shares(feeds.OwnNoise):
    """Draws from a generator that the sampler draws from as well."""


def sharing() -> DataLoader:
    data = Shares("torch")
    sampler = RandomSampler(range(80), replacement=True, num_samples=80, generator=data.generator)
    return feeds.loader(Subset(data, [index % SAMPLES for index in range(80)]), sampler=sampler)


def in_batches(dataset: Any, **options: Any) -> DataLoader:
    return DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, **options)


CASES = [
    Case("made lazily", lambda: in_batches(Made("lazily"))),
    Case("made lazily in workers", lambda: in_batches(Made("lazily"), num_workers=2)),
    Case("given to workers", lambda: in_batches(Made(""), num_workers=2, worker_init_fn=give_generator)),
    Case("deep in transforms", lambda: in_batches(Subset(Made("nested"), range(SAMPLES)))),
    Case("of a module", lambda: in_batches(Made("a function"))),
    Case("of a collator", lambda: in_batches(feeds.steady(), collate_fn=Collator().collate)),
    Case(
        "of a partial function",
        lambda: in_batches(feeds.steady(), collate_fn=functools.partial(noisy, rng=np.random.default_rng(7))),
    ),
    Case("of samples in a list", lambda: in_batches(lazy_samples())),
    Case("of samples in a list in workers", lambda: in_batches(lazy_samples(), num_workers=2)),
    Case("a sampler that counts", lambda: feeds.loader(sampler=CountsItsPasses())),
    Case("shared with the sampler", sharing, options=lambda: {"limit_train_batches": 5}),
]


@pytest.mark.parametrize("moment", [after(3), Moment("on_train_epoch_end", 5), after(7)], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_is_taken_up(case: Case, moment: Moment) -> None:
    assert_law(case, moment)
