"""The search for a batch size, with a memory that is made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.errors import ConfigError, UsageError
from fulmen.tuner import Tuner

from .models import Regression, make_trainer


class Greedy(Regression):
    """Needs more memory than there is for batches of more than `most` samples."""

    def __init__(self, most: float = float("inf"), samples: int = 10_000) -> None:
        super().__init__(samples=samples)
        self.most = most
        self.tried: list[int] = []

    def loss(self, batch: list[Tensor]) -> Tensor:
        size = len(batch[0])
        if self.tried[-1:] != [size]:
            self.tried.append(size)
        if size > self.most:
            raise torch.OutOfMemoryError("made up")
        return self.net(batch[0]).square().mean()

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.loss(batch)


@pytest.mark.parametrize(
    ("most", "arguments", "found", "tried"),
    [
        (20, {}, 16, [2, 4, 8, 16, 32]),
        (20, {"init_val": 5}, 20, [5, 10, 20, 40]),
        (20, {"init_val": 50}, 12, [50, 25, 12]),
        (5, {"init_val": 11}, 5, [11, 5]),
        (float("inf"), {"max_trials": 3}, 8, [2, 4, 8]),
        (float("inf"), {"max_val": 11}, 11, [2, 4, 8, 11]),
        (20, {"mode": "binsearch", "margin": 0.0}, 20, [2, 4, 8, 16, 32, 24, 20, 22, 21]),
        (20, {"mode": "binsearch"}, 19, [2, 4, 8, 16, 32, 24, 20, 22, 21]),
        (20, {"mode": "binsearch", "margin": 0.5}, 10, [2, 4, 8, 16, 32, 24, 20, 22, 21]),
        (20, {"mode": "binsearch", "max_trials": 6, "margin": 0.0}, 16, [2, 4, 8, 16, 32, 24]),
        (3, {"mode": "binsearch", "init_val": 16, "margin": 0.0}, 3, [16, 8, 4, 2, 3]),
    ],
)
def test_sizes_that_are_tried(
    most: float, arguments: dict[str, Any], found: int, tried: list[int], tmp_path: Path
) -> None:
    module = Greedy(most)
    assert Tuner(make_trainer(tmp_path)).scale_batch_size(module, **arguments) == found
    assert module.batch_size == module.hparams["batch_size"] == found
    assert module.tried == tried


def test_more_than_all_samples_is_not_tried(tmp_path: Path) -> None:
    module = Greedy(samples=10)
    assert Tuner(make_trainer(tmp_path)).scale_batch_size(module, steps_per_trial=1) == 10
    assert module.tried == [2, 4, 8, 10]


@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_other_methods(method: str, tmp_path: Path) -> None:
    module = Greedy(20)
    trainer = make_trainer(tmp_path)
    assert Tuner(trainer).scale_batch_size(module, method=method) == 16
    assert module.tried == [2, 4, 8, 16, 32]
    assert module.steps == 0


class Data(pl.LightningDataModule):
    """Batches of a size that is a hyperparameter."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(torch.randn(64, 3)), batch_size=self.hparams["size"])


def test_a_size_that_a_datamodule_has_as_hyperparameter(tmp_path: Path) -> None:
    module, data = Greedy(8), Data()
    trainer = make_trainer(tmp_path)
    found = Tuner(trainer).scale_batch_size(module, datamodule=data, batch_arg_name="size")
    assert found == data.hparams["size"] == 8
    assert module.batch_size == 4
    assert Tuner(trainer).scale_batch_size(module, data, batch_arg_name="size", init_val=3) == 6


def test_nothing_fits(tmp_path: Path) -> None:
    module = Greedy(0)
    with pytest.raises(UsageError, match="1 does not"):
        Tuner(make_trainer(tmp_path)).scale_batch_size(module)
    assert module.batch_size == 4


def test_other_errors_go_through(tmp_path: Path) -> None:
    module = Greedy()
    module.loss = lambda batch: torch.zeros(2) + torch.zeros(3)
    with pytest.raises(RuntimeError, match="must match"):
        Tuner(make_trainer(tmp_path)).scale_batch_size(module)
    assert module.batch_size == 4


def test_fast_dev_run_searches_for_nothing(tmp_path: Path) -> None:
    assert Tuner(make_trainer(tmp_path, fast_dev_run=True)).scale_batch_size(Greedy()) is None


def test_loaders_that_are_there_have_their_size(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="handed over"):
        Tuner(make_trainer(tmp_path)).scale_batch_size(Greedy(), DataLoader(TensorDataset(torch.zeros(4, 3))))


@pytest.mark.parametrize(
    "arguments",
    [
        {"mode": "powers"},
        {"margin": 1.0},
        {"margin": -0.1},
        {"init_val": 0},
        {"max_val": 0},
        {"max_trials": 0},
        {"steps_per_trial": 0},
        {"batch_arg_name": "size"},
        {"method": "fits"},
        {"method": "test", "train_dataloaders": []},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_told(arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Tuner(make_trainer(tmp_path)).scale_batch_size(Greedy(), **arguments)
