"""Processes with unequal numbers of batches: they end an epoch together, and nobody waits for ever."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import fulmen as pl
from fulmen import SplitByRank

from .ranks import Ranks
from .test_ddp import FEATURES, QUIET, Numbered, Regression, Scores

Sample = tuple[torch.Tensor, torch.Tensor, int]


class Stream(IterableDataset[Sample]):
    """Samples one after the other; nobody knows how many."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def __iter__(self) -> Iterator[Sample]:
        for number in self.numbers:
            yield torch.full((FEATURES,), float(number)), torch.tensor(float(number)), number


def trained_on(rank: int, lengths: tuple[int, int], kind: str, options: dict[str, Any]) -> Any:
    pl.seed_everything(1, verbose=False)
    module = Regression()
    trainer = pl.Trainer(devices=2, max_epochs=2, use_distributed_sampler=False, **QUIET, **options)
    data: Any = Stream(*range(lengths[rank])) if kind == "stream" else Numbered(lengths[rank])
    trainer.fit(module, DataLoader(data, 2))
    return [epoch for epoch, _ in module.steps], module.weights().tolist()


@pytest.mark.filterwarnings("ignore:The processes have unequal numbers")
@pytest.mark.parametrize("kind", ["stream", "counted"])
@pytest.mark.parametrize("lengths", [(8, 4), (3, 10), (6, 6)], ids=str)
@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}, {"limit_train_batches": 2}], ids=str)
def test_an_epoch_ends_for_all_when_one_has_no_batch_left(
    kind: str, lengths: tuple[int, int], options: dict[str, Any], two_ranks: Ranks
) -> None:
    (first, weights), (second, others) = two_ranks(trained_on, lengths, kind, options)
    batches = min(min(-(-length // 2) for length in lengths), options.get("limit_train_batches", 99))
    assert first == second == [0] * batches + [1] * batches
    assert weights == others


def split(rank: int, workers: int, batch_size: int) -> Any:
    seen: list[int] = []

    class Sees(Regression):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            seen.extend(batch[2].tolist())
            return super().training_step(batch, batch_idx)

    data = SplitByRank(Stream(*range(24)))
    loader = DataLoader(data, batch_size, num_workers=workers)
    pl.Trainer(devices=2, max_epochs=1, **QUIET).fit(Sees(), loader)
    trainer = pl.Trainer(devices=2, **QUIET)
    (scores,) = trainer.validate(Scores(), DataLoader(data, batch_size, num_workers=workers), verbose=False)
    return sorted(seen), scores["count"]


@pytest.mark.filterwarnings("ignore:A class has no")
@pytest.mark.parametrize(("workers", "batch_size"), [(0, 3), (2, 2)])
def test_a_stream_is_divided_over_ranks_and_workers(workers: int, batch_size: int, two_ranks: Ranks) -> None:
    (first, count), (second, also) = two_ranks(split, workers, batch_size)
    assert not set(first) & set(second)
    assert sorted(first + second) == list(range(24))
    assert count == also == 24


def undivided(rank: int) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = pl.Trainer(devices=2, max_epochs=1, **QUIET)
        trainer.fit(Regression(), DataLoader(Stream(1, 2, 3), 1))
    return " ".join(str(warning.message) for warning in caught)


def test_a_plain_stream_is_said_to_be_gone_over_by_all(two_ranks: Ranks) -> None:
    said, _ = two_ranks(undivided)
    assert "fulmen.SplitByRank(Stream(...))" in said
