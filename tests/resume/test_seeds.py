"""Each loader worker of each rank has random numbers of its own in each epoch, and so has each batch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

import fulmen as pl
from fulmen.base.random import SeedWorker

from .feeds import GLOBAL, loader
from .law import QUIET

SEEDS = (42, 123, 999)
RANKS, WORKERS, EPOCHS, BATCHES = 3, 2, 3, 4


def draws() -> list[float]:
    """The next number from each global generator."""
    return [draw() for draw in GLOBAL.values()]


class FirstDraws(IterableDataset[Any]):
    """What each worker draws first."""

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        yield torch.tensor([info.id if info else 0, *draws()], dtype=torch.float64)


class Draws(Dataset[Any]):
    """What is drawn for each sample."""

    def __len__(self) -> int:
        return BATCHES

    def __getitem__(self, index: int) -> Any:
        return torch.tensor([index, *draws()], dtype=torch.float64)


class Collects(pl.LightningModule):
    """Keeps all that comes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[float]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen += batch.tolist()
        return self.weight * 0

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def collect(seed: int, data: Any, folder: Path) -> list[list[float]]:
    pl.seed_everything(seed, workers=True, verbose=False)
    trainer = pl.Trainer(
        max_epochs=EPOCHS, logger=False, enable_checkpointing=False, default_root_dir=folder, **QUIET
    )
    module = Collects()
    trainer.fit(module, data())
    return module.seen


def assert_all_differ(values: list[list[float]], expected: int) -> None:
    """Of each generator, no number comes twice."""
    assert len(values) == expected
    for of_one_generator in zip(*values, strict=True):
        assert len(set(of_one_generator)) == expected


def test_each_worker_has_its_own_stream_in_each_epoch(tmp_path: Path) -> None:
    values: list[list[float]] = []
    for seed in SEEDS:
        seen = collect(seed, lambda: loader(FirstDraws(), batch_size=1, num_workers=WORKERS), tmp_path)
        assert sorted(row[0] for row in seen) == sorted([*range(WORKERS)] * EPOCHS)
        values += [row[1:] for row in seen]
    assert_all_differ(values, len(SEEDS) * WORKERS * EPOCHS)


def test_each_worker_of_each_rank_has_its_own_stream() -> None:
    values: list[list[float]] = []
    for seed in SEEDS:
        base_seeds = []
        pl.seed_everything(seed, workers=True, verbose=False)
        for _ in range(EPOCHS):
            base_seeds.append(int(torch.empty((), dtype=torch.int64).random_()))  # as a DataLoader draws them
        for base_seed, rank, worker in product(base_seeds, range(RANKS), range(WORKERS)):
            torch.manual_seed(base_seed + worker)  # which torch does before it calls a worker_init_fn
            np.random.seed(0)
            random.seed(0)
            SeedWorker(rank)(worker)
            values.append(draws())
    assert_all_differ(values, len(SEEDS) * EPOCHS * RANKS * WORKERS)


@pytest.mark.parametrize("workers", [0, 2])
def test_each_batch_has_its_own_stream(workers: int, tmp_path: Path) -> None:
    values: list[list[float]] = []
    for seed in SEEDS:
        values += [
            row[1:]
            for row in collect(seed, lambda: loader(Draws(), batch_size=1, num_workers=workers), tmp_path)
        ]
    assert_all_differ(values, len(SEEDS) * EPOCHS * BATCHES)


def test_samples_of_one_batch_differ(tmp_path: Path) -> None:
    values = collect(42, lambda: loader(Draws(), batch_size=BATCHES), tmp_path)
    assert_all_differ([row[1:] for row in values], EPOCHS * BATCHES)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_seed_decides_on_everything(workers: int, tmp_path: Path) -> None:
    def data() -> Any:
        return loader(Draws(), batch_size=2, shuffle=True, num_workers=workers)

    first, again, other = (collect(seed, data, tmp_path) for seed in (42, 42, 43))
    assert first == again
    assert first != other
