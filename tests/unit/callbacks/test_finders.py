"""The searches for a learning rate and a batch size, as parts of a run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.callbacks import BatchSizeFinder, LambdaCallback, LearningRateFinder, ModelCheckpoint
from fulmen.errors import ConfigError
from fulmen.tuner import Tuner

from .scenarios import make_trainer


class Learner(pl.LightningModule):
    """Notes batch sizes and learning rates of the steps that count."""

    def __init__(self, most: float = float("inf")) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.layer = nn.Linear(3, 1)
        self.lr, self.batch_size, self.most = 0.5, 3, most
        self.noted: dict[str, list[tuple[int, float]]] = {
            "fit": [],
            "validate": [],
            "test": [],
            "predict": [],
        }
        self.searches = False

    def loader(self) -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(1)
        return DataLoader(TensorDataset(torch.randn(24, 3, generator=generator)), batch_size=self.batch_size)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader

    def step(self, batch: list[Tensor]) -> Tensor:
        if len(batch[0]) > self.most:
            raise torch.OutOfMemoryError("made up")
        rate = self.trainer.optimizers[0].param_groups[0]["lr"] if self.trainer.optimizers else 0.0
        self.noted[str(self.trainer.state.fn)].append((len(batch[0]), rate))
        return (self.layer(batch[0]) - 1).square().mean()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.step(batch)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.step(batch)

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.step(batch)

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.step(batch)

    def on_train_start(self) -> None:
        self.noted["fit"].clear()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]


def weights(module: nn.Module) -> list[float]:
    return [number for p in module.parameters() for number in p.flatten().tolist()]


def test_a_fit_with_the_finder_is_a_search_and_a_fit(tmp_path: Path) -> None:
    module, finder = Learner(), LearningRateFinder(min_lr=1e-4, num_training_steps=40)
    make_trainer(tmp_path, finder, max_epochs=2).fit(module)
    other = Learner()
    found = Tuner(make_trainer(tmp_path)).lr_find(other, min_lr=1e-4, num_training=40)
    make_trainer(tmp_path, max_epochs=2).fit(other)
    assert found is not None
    assert finder.optimal_lr is not None
    assert finder.optimal_lr.results == found.results
    assert module.lr == other.lr != 0.5
    assert module.noted == other.noted
    assert weights(module) == weights(other)
    rates = [rate for _, rate in module.noted["fit"]]
    assert rates[0] == module.lr
    assert rates[-1] == module.lr / 4


def test_without_update_attr_it_only_looks(tmp_path: Path) -> None:
    module, finder = Learner(), LearningRateFinder(num_training_steps=20, update_attr=False)
    make_trainer(tmp_path, finder, max_epochs=1).fit(module)
    other = Learner()
    make_trainer(tmp_path, max_epochs=1).fit(other)
    assert finder.optimal_lr is not None
    assert weights(module) == weights(other)


class AtMilestones(LearningRateFinder):
    """Searches again at the beginning of some epochs."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None: ...

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            before = copy.deepcopy(trainer.optimizers[0].state_dict()["state"])
            self.lr_find(trainer, pl_module)
            after = trainer.optimizers[0].state_dict()["state"]
            assert all(torch.equal(before[n][name], after[n][name]) for n in before for name in before[n])


def test_later_in_training_the_learning_rate_alone_is_replaced(tmp_path: Path) -> None:
    finder, module = AtMilestones(min_lr=1e-4, num_training_steps=30), Learner()
    rates: list[float] = []
    noting = LambdaCallback(
        on_train_epoch_end=lambda trainer, _: rates.append(trainer.optimizers[0].param_groups[0]["lr"])
    )
    make_trainer(tmp_path, finder, noting, max_epochs=3).fit(module)
    assert finder.optimal_lr is not None
    found = finder.optimal_lr.suggestion()
    assert found is not None
    assert rates == pytest.approx([0.25, found / 2, found / 4])


@pytest.mark.parametrize("saves_in_epoch", [False, True])
def test_a_run_that_is_taken_up_does_not_search_again(saves_in_epoch: bool, tmp_path: Path) -> None:
    def finders() -> list[Any]:
        return [LearningRateFinder(min_lr=1e-4, num_training_steps=30), BatchSizeFinder(max_trials=3)]

    whole = Learner()
    make_trainer(tmp_path, *finders(), max_epochs=3).fit(whole)
    options = {"every_n_train_steps": 4} if saves_in_epoch else {}
    saver = ModelCheckpoint(tmp_path, filename="x", **options)
    make_trainer(tmp_path, *finders(), saver, max_epochs=2).fit(Learner())
    module, [rates, sizes] = Learner(), finders()
    make_trainer(tmp_path, rates, sizes, max_epochs=3).fit(module, ckpt_path=tmp_path / "x.ckpt")
    assert rates.optimal_lr is None
    assert (module.lr, module.batch_size) == (whole.lr, whole.batch_size)
    assert weights(module) == weights(whole)


def test_fast_dev_run_searches_for_nothing(tmp_path: Path) -> None:
    rates, sizes, module = LearningRateFinder(), BatchSizeFinder(), Learner()
    make_trainer(tmp_path, rates, sizes, fast_dev_run=True).fit(module)
    assert (rates.optimal_lr, sizes.optimal_batch_size) == (None, None)


def test_arguments_that_make_no_sense_are_told_at_once() -> None:
    with pytest.raises(ConfigError):
        LearningRateFinder(mode="exp")
    with pytest.raises(ConfigError):
        BatchSizeFinder(mode="bin")


def sizes_of(module: Learner, fn: str) -> list[int]:
    return [size for size, _ in module.noted[fn]]


def test_a_fit_with_the_largest_batch(tmp_path: Path) -> None:
    module, finder = Learner(most=9), BatchSizeFinder()
    make_trainer(tmp_path, finder, max_epochs=1, num_sanity_val_steps=1).fit(module)
    assert finder.optimal_batch_size == module.batch_size == 8
    assert sizes_of(module, "fit") == [8] * 3 + [8] * 3  # training, validation


@pytest.mark.parametrize("fn", ["validate", "test", "predict"])
def test_an_evaluation_with_the_largest_batch(fn: str, tmp_path: Path) -> None:
    module, finder = Learner(most=6), BatchSizeFinder(mode="binsearch", margin=0.0)
    trainer = make_trainer(tmp_path, finder)
    getattr(trainer, fn)(module)
    assert finder.optimal_batch_size == module.batch_size == 6
    assert sizes_of(module, fn)[-4:] == [6] * 4


class SizesAtMilestones(BatchSizeFinder):
    """Searches at the beginning of the second epoch."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None: ...

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            self.scale_batch_size(trainer, pl_module)


def test_the_epoch_that_a_search_precedes_has_the_new_size(tmp_path: Path) -> None:
    module = Learner()
    trainer = make_trainer(tmp_path, SizesAtMilestones(max_trials=3), limit_val_batches=0, max_epochs=2)
    sizes: list[int] = []
    trainer.callbacks.append(
        LambdaCallback(on_train_batch_end=lambda t, m, outputs, batch, n: sizes.append(len(batch[0])))
    )
    trainer.fit(module)
    assert sizes == [3] * 8 + [8] * 3
