"""What `predict` returns, and which samples it says a prediction is of."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

import fulmen as pl

from .small import Given, TrainsOnly, batches, callback, make_trainer, stream

DATA: Any = torch.arange(5.0)


class Predicts(TrainsOnly):
    def predict_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return batch.tolist()


def predicted(root: Path, loader: Any, **arguments: Any) -> tuple[Any, list[Any], list[Any]]:
    """Predictions, the indices of each batch as a callback saw them, and all of them afterwards."""
    seen: list[Any] = []
    look = callback(
        on_predict_batch_end=lambda self, trainer, *args: seen.append(
            trainer.predict_loop.current_batch_indices
        )
    )
    trainer = make_trainer(root, callbacks=[look])
    predictions = trainer.predict(Predicts(), loader, **arguments)
    return predictions, seen, trainer.predict_loop.epoch_batch_indices


@pytest.mark.parametrize("workers", [0, 2])
def test_indices_in_order(tmp_path: Path, workers: int) -> None:
    predictions, seen, of_epoch = predicted(tmp_path, DataLoader(DATA, batch_size=2, num_workers=workers))
    assert predictions == [[0, 1], [2, 3], [4]]
    assert seen == [[0, 1], [2, 3], [4]]
    assert of_epoch == [seen]


@pytest.mark.parametrize("workers", [0, 2])
def test_indices_of_shuffled_samples(tmp_path: Path, workers: int) -> None:
    """Each value is its own index: what was predicted for sample i is said to be of sample i."""
    generator = torch.Generator().manual_seed(1)
    loader = DataLoader(DATA, batch_size=2, shuffle=True, generator=generator, num_workers=workers)
    predictions, seen, _ = predicted(tmp_path, loader)
    assert seen == predictions
    assert sorted(itertools.chain(*seen)) == [0, 1, 2, 3, 4]
    assert seen != [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(
    "options",
    [
        {"batch_sampler": [[3, 1], [4], [0, 0]]},
        {"sampler": [3, 1, 4], "batch_size": 2},
        {"sampler": RandomSampler(range(5), num_samples=3), "batch_size": 2},
        {"batch_size": 2, "drop_last": True},
    ],
    ids=["batch sampler", "sampler", "random sampler", "drop_last"],
)
def test_indices_by_other_samplers(tmp_path: Path, options: dict[str, Any]) -> None:
    predictions, seen, _ = predicted(tmp_path, DataLoader(DATA, **options))
    assert seen == predictions


def test_indices_are_of_the_batches_that_count(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, limit_predict_batches=1)
    trainer.predict(Predicts(), DataLoader(DATA, batch_size=2))
    assert trainer.predict_loop.epoch_batch_indices == [[[0, 1]]]


@pytest.mark.parametrize("loader", [Given([DATA]), stream(2), DataLoader(DATA, batch_size=None)])
def test_loaders_that_do_not_tell_indices(tmp_path: Path, loader: Any) -> None:
    _, seen, of_epoch = predicted(tmp_path, loader)
    assert of_epoch == [[]]
    assert all(indices == [] for indices in seen)


def test_several_loaders(tmp_path: Path) -> None:
    loaders = [DataLoader(DATA, batch_size=3), DataLoader(DATA[:2], batch_size=1)]
    predictions, _, of_epoch = predicted(tmp_path, loaders)
    assert predictions == [[[0, 1, 2], [3, 4]], [[0], [1]]]
    assert of_epoch == [[[0, 1, 2], [3, 4]], [[0], [1]]]


def test_one_loader_in_a_list_gives_a_flat_list(tmp_path: Path) -> None:
    assert make_trainer(tmp_path).predict(Predicts(), [batches(2)]) == [[1], [2]]


@pytest.mark.parametrize("loader", [batches(2), [batches(2), batches(2)]], ids=["one", "two"])
def test_predictions_that_nobody_wants(tmp_path: Path, loader: Any) -> None:
    trainer = make_trainer(tmp_path)
    assert trainer.predict(Predicts(), loader, return_predictions=False) is None
    assert not any(trainer.predict_loop.predictions)


def test_indices_are_told_though_nobody_wants_the_predictions(tmp_path: Path) -> None:
    """A callback that writes them needs both."""
    predictions, seen, of_epoch = predicted(
        tmp_path, DataLoader(DATA, batch_size=3), return_predictions=False
    )
    assert predictions is None
    assert seen == [[0, 1, 2], [3, 4]]
    assert of_epoch == [seen]


def test_predictions_are_there_for_callbacks(tmp_path: Path) -> None:
    seen: list[Any] = []
    look = callback(
        on_predict_end=lambda self, trainer, module: seen.append(trainer.predict_loop.predictions)
    )
    trainer = make_trainer(tmp_path, callbacks=[look])
    trainer.predict(Predicts(), batches(2))
    assert seen == [[[[1], [2]]]]


def test_predictions_of_one_run_do_not_enter_the_next(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    for _ in range(2):
        assert trainer.predict(Predicts(), batches(2)) == [[1], [2]]


def test_default_is_what_forward_gives(tmp_path: Path) -> None:
    class Forwards(TrainsOnly):
        predict_step = pl.LightningModule.predict_step

        def forward(self, batch: Tensor) -> Any:
            return (2 * batch).tolist()

    assert make_trainer(tmp_path).predict(Forwards(), batches(2)) == [[2], [4]]


@pytest.mark.parametrize("inference_mode", [True, False])
def test_gradients_are_off(tmp_path: Path, inference_mode: bool) -> None:
    class Looks(TrainsOnly):
        def predict_step(self, batch: Tensor, batch_idx: int) -> Any:
            return self(batch)

    trainer = make_trainer(tmp_path, inference_mode=inference_mode)
    predictions: Any = trainer.predict(Looks(), batches(1))
    (prediction,) = predictions
    assert prediction.requires_grad is False
    assert prediction.is_inference() is inference_mode
