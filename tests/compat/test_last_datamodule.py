"""A run that is given no datamodule has that of the run before it, as in every version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.errors import UsageError

from .small import Small


def loader(value: float) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.full((2, 3), value)), 2)


class Data(pl.LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def setup(self, stage: str) -> None:
        self.calls.append(str(stage))

    def train_dataloader(self) -> Any:
        return loader(1.0)

    def val_dataloader(self) -> Any:
        return loader(2.0)

    def test_dataloader(self) -> Any:
        return loader(3.0)

    def predict_dataloader(self) -> Any:
        return loader(4.0)


class Model(Small):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, float, Any]] = []

    def see(self, step: str, batch: Any) -> None:
        self.seen.append((step, float(batch[0][0, 0]), self.trainer.datamodule))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.see("train", batch)
        return self.line(batch[0]).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.see("validate", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.see("test", batch)

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        self.see("predict", batch)


def fitted(folder: Path, model: Model) -> tuple[pl.Trainer, Data]:
    trainer = pl.Trainer(
        max_epochs=1, default_root_dir=folder, logger=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    data = Data()
    trainer.fit(model, datamodule=data)
    model.seen.clear()
    return trainer, data


@pytest.mark.parametrize(
    ("run", "step", "value"),
    [
        (lambda trainer, model: trainer.test(verbose=False), "test", 3.0),
        (lambda trainer, model: trainer.test(model, verbose=False), "test", 3.0),
        (lambda trainer, model: trainer.test(ckpt_path="best", verbose=False), "test", 3.0),
        (lambda trainer, model: trainer.validate(verbose=False), "validate", 2.0),
        (lambda trainer, model: trainer.predict(), "predict", 4.0),
    ],
)
def test_its_loaders_are_taken(tmp_path: Path, run: Callable[..., Any], step: str, value: float) -> None:
    model = Model()
    trainer, data = fitted(tmp_path, model)
    run(trainer, model)
    assert model.seen == [(step, value, data)]
    assert data.calls == ["fit", step]
    assert trainer.datamodule is data


def test_loaders_that_are_given_count(tmp_path: Path) -> None:
    model = Model()
    trainer, data = fitted(tmp_path, model)
    trainer.test(model, loader(9.0), verbose=False)
    assert model.seen == [("test", 9.0, data)]
    assert data.calls == ["fit", "test"]


def test_loaders_of_the_module_count(tmp_path: Path) -> None:
    class Own(Model):
        def test_dataloader(self) -> Any:
            return loader(8.0)

    model = Own()
    trainer, data = fitted(tmp_path, model)
    model.seen.clear()
    trainer.test(model, verbose=False)
    assert model.seen == [("test", 8.0, data)]


@pytest.mark.filterwarnings("ignore:The checkpoint folder is not empty")
def test_training_on_other_loaders_does_not_validate_on_it(tmp_path: Path) -> None:
    model = Model()
    trainer, data = fitted(tmp_path, model)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(model, loader(7.0))
    assert model.seen == [("train", 7.0, data)]


def test_another_model_and_another_trainer_do_not_have_it(tmp_path: Path) -> None:
    model = Model()
    trainer, _ = fitted(tmp_path, model)
    with pytest.raises(UsageError, match="no test loader"):
        trainer.test(Model(), verbose=False)
    with pytest.raises(UsageError, match="no test loader"):
        pl.Trainer(logger=False, default_root_dir=tmp_path).test(model, verbose=False)


def test_a_new_one_takes_its_place(tmp_path: Path) -> None:
    model, second = Model(), Data()
    trainer, first = fitted(tmp_path, model)
    trainer.validate(model, datamodule=second, verbose=False)
    trainer.test(model, verbose=False)
    assert [data for _, _, data in model.seen] == [second, second]
    assert (first.calls, second.calls) == (["fit"], ["validate", "test"])
