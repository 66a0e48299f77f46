"""Random numbers in the workers of a loader."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import fulmen as pl

from .small import TrainsOnly, make_trainer, small


class Draws(Dataset[tuple[float, float, float]]):
    """Each sample is drawn by all three generators."""

    def __getitem__(self, index: int) -> tuple[float, float, float]:
        return random.random(), float(numpy.random.rand()), torch.rand(()).item()

    def __len__(self) -> int:
        return 4


class Keeps(TrainsOnly):
    """Keeps what was drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[tuple[float, ...]] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.drawn.append(tuple(part.item() for part in batch))


@pytest.fixture(autouse=True)
def generators_as_before() -> Iterator[None]:
    states = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(states[0])
    numpy.random.set_state(states[1])
    torch.set_rng_state(states[2])


def drawn(root: Path, *, workers: bool, max_epochs: int = 1, **options: Any) -> list[tuple[float, ...]]:
    pl.seed_everything(3, workers=workers, verbose=False)
    module = Keeps()
    loader = DataLoader(Draws(), num_workers=2, **options)
    make_trainer(root, max_epochs=max_epochs).fit(module, loader)
    return module.drawn


def test_each_worker_has_numbers_of_its_own_and_a_seed_gives_them_again(tmp_path: Path) -> None:
    first = drawn(tmp_path, workers=True, max_epochs=2)
    assert len(first) == 8
    for generator in range(3):
        numbers = [sample[generator] for sample in first]
        assert len(set(numbers)) == 8  # all differ: between workers, samples and epochs
    assert drawn(tmp_path, workers=True, max_epochs=2) == first


def test_a_workers_own_preparation_stays(tmp_path: Path) -> None:
    """Whoever prepares workers by hand, and wants no seeds for each batch, knows what they do."""
    loader = DataLoader(Draws(), num_workers=1, worker_init_fn=_same_for_all)
    pl.seed_everything(3, workers=True, verbose=False)
    module = Keeps()
    make_trainer(tmp_path, exact_data=False).fit(module, loader)
    assert loader.worker_init_fn is _same_for_all
    random.seed(0)
    assert module.drawn[0][0] == random.random()


def _same_for_all(worker_id: int) -> None:
    random.seed(0)


def test_nobody_prepares_workers_unasked(tmp_path: Path) -> None:
    loader = DataLoader(Draws(), num_workers=1)
    pl.seed_everything(3, workers=False, verbose=False)
    make_trainer(tmp_path).fit(Keeps(), loader)
    assert loader.worker_init_fn is None


@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.parametrize("ends", ["at the end", "early", "with an error"])
def test_workers_are_gone_after_the_run(tmp_path: Path, persistent: bool, ends: str) -> None:
    """However it ended, and also where the loader is still there: nothing is left to wait for at the exit."""

    class Ends(Keeps):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if ends == "with an error":
                raise ValueError("scripted")

    loader = DataLoader(Draws(), num_workers=1, persistent_workers=persistent)
    trainer = make_trainer(tmp_path, max_epochs=2, max_steps=1 if ends == "early" else -1)
    with pytest.raises(ValueError, match="scripted") if ends == "with an error" else nullcontext():
        trainer.fit(Ends(), loader)
    for worker in multiprocessing.active_children():
        worker.join(1.0)  # one that was told to go is given the time
    assert multiprocessing.active_children() == []
    module = Keeps()
    make_trainer(tmp_path).fit(module, loader)  # it can be used again
    assert len(module.drawn) == 4


@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_workers_are_gone_after_an_evaluation(tmp_path: Path, method: str) -> None:
    loader = DataLoader(Draws(), num_workers=1, persistent_workers=True)
    module = small(predict_step=lambda self, batch, batch_idx: None)
    getattr(make_trainer(tmp_path), method)(module, loader)
    for worker in multiprocessing.active_children():
        worker.join(1.0)
    assert multiprocessing.active_children() == []
