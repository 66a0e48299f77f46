"""What prediction writers are given, and when; as in Lightning 2.6."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from fulmen.callbacks import BasePredictionWriter
from fulmen.callbacks.prediction_writer import WriteInterval
from fulmen.errors import ConfigError

from .scenarios import Scripted, batches, make_trainer


class Noting(BasePredictionWriter):
    """Notes what it is given."""

    def __init__(self, write_interval: str) -> None:
        super().__init__(write_interval)
        self.per_batch: list[tuple[Any, Any, int, int]] = []
        self.at_end: list[tuple[Any, Any]] = []

    def write_on_batch_end(
        self, trainer: Any, pl_module: Any, prediction: Any, batch_indices: Any, batch: Any, batch_idx: int,
        dataloader_idx: int,
    ) -> None:  # fmt: skip
        assert isinstance(batch[0], torch.Tensor)
        self.per_batch.append((prediction, list(batch_indices), batch_idx, dataloader_idx))

    def write_on_epoch_end(self, trainer: Any, pl_module: Any, predictions: Any, batch_indices: Any) -> None:
        self.at_end.append((predictions, batch_indices))


def predict(root: Path, interval: str, loaders: Any, **options: Any) -> Noting:
    writer = Noting(interval)
    make_trainer(root, writer).predict(Scripted(), loaders, **options)
    return writer


def test_each_batch(tmp_path: Path) -> None:
    writer = predict(tmp_path, "batch", batches(3))
    assert writer.per_batch == [(0, [0], 0, 0), (1, [1], 1, 0), (2, [2], 2, 0)]
    assert writer.at_end == []


def test_all_at_the_end(tmp_path: Path) -> None:
    writer = predict(tmp_path, "epoch", batches(3))
    assert writer.per_batch == []
    assert writer.at_end == [([0, 1, 2], [[[0], [1], [2]]])]


@pytest.mark.parametrize("kept", [True, False])
def test_both_with_several_loaders(kept: bool, tmp_path: Path) -> None:
    """Also where `predict` itself is to return nothing."""
    writer = predict(tmp_path, "batch_and_epoch", [batches(2), batches(1)], return_predictions=kept)
    assert writer.per_batch == [(0, [0], 0, 0), (1, [1], 1, 0), (10, [0], 0, 1)]
    assert writer.at_end == [([[0, 1], [10]], [[[0], [1]], [[0]]])]


def test_data_without_indices(tmp_path: Path) -> None:
    class Stream(IterableDataset):
        def __iter__(self) -> Iterator[torch.Tensor]:
            return iter([torch.zeros(2)])

    writer = predict(tmp_path, "batch", DataLoader(Stream(), collate_fn=lambda samples: samples))
    assert writer.per_batch == [(0, [], 0, 0)]


def test_a_method_that_is_needed_and_missing(tmp_path: Path) -> None:
    for interval, method in (("batch", "write_on_batch_end"), ("epoch", "write_on_epoch_end")):
        with pytest.raises(NotImplementedError, match=method):
            make_trainer(tmp_path, BasePredictionWriter(interval)).predict(Scripted(), batches(1))


def test_intervals() -> None:
    assert BasePredictionWriter().interval is WriteInterval.BATCH
    with pytest.raises(ConfigError, match="did you mean 'epoch'"):
        BasePredictionWriter("epochs")
