"""A datamodule by itself."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler

import fulmen as pl
from fulmen.errors import UsageError

from ..engine.small import Stream, TrainsOnly, make_trainer

NUMBERS: Any = torch.arange(6)
OTHERS: Any = torch.arange(4)


def test_datasets_become_loaders() -> None:
    data = pl.LightningDataModule.from_datasets(NUMBERS, OTHERS, NUMBERS, OTHERS, batch_size=2)
    train, val = data.train_dataloader(), data.val_dataloader()
    assert isinstance(train, DataLoader)
    assert (len(train), len(val), len(data.test_dataloader()), len(data.predict_dataloader())) == (3, 2, 3, 2)
    assert isinstance(train.sampler, RandomSampler)
    assert isinstance(val.sampler, SequentialSampler)
    assert [batch.tolist() for batch in val] == [[0, 1], [2, 3]]


def test_each_call_makes_a_loader() -> None:
    data = pl.LightningDataModule.from_datasets(NUMBERS)
    assert data.train_dataloader() is not data.train_dataloader()
    assert data.train_dataloader().batch_size == 1


class Indexed(torch.utils.data.Dataset[int]):
    """A data set that is a sequence, too."""

    def __getitem__(self, index: int) -> int:
        return index

    def __len__(self) -> int:
        return 4


def test_one_loader_for_each_of_several_datasets() -> None:
    data = pl.LightningDataModule.from_datasets(
        train_dataset={"a": Indexed(), "b": Indexed()}, val_dataset=[Indexed(), Indexed()], batch_size=2
    )
    train, val = data.train_dataloader(), data.val_dataloader()
    assert {name: len(loader) for name, loader in train.items()} == {"a": 2, "b": 2}
    assert isinstance(train["a"].sampler, RandomSampler)
    assert [len(loader) for loader in val] == [2, 2]


def test_stream_is_not_shuffled() -> None:
    data = pl.LightningDataModule.from_datasets(Stream(3), batch_size=2)
    assert isinstance(data.train_dataloader().dataset, IterableDataset)
    assert [batch.tolist() for batch in data.train_dataloader()] == [[1, 2], [3]]


@pytest.mark.parametrize("missing", ["train", "val", "test", "predict"])
def test_what_was_not_given_is_not_there(missing: str) -> None:
    given = {f"{kind}_dataset": NUMBERS for kind in ("train", "val", "test", "predict") if kind != missing}
    data = pl.LightningDataModule.from_datasets(**given)
    with pytest.raises(UsageError, match=f"{missing}_dataloader"):
        getattr(data, f"{missing}_dataloader")()


def test_loaders_of_datasets_in_a_run(tmp_path: Any) -> None:
    """What was not given is not asked for: this fit has no validation."""
    numbers: Any = torch.arange(4.0)
    module = TrainsOnly()
    make_trainer(tmp_path).fit(module, datamodule=pl.LightningDataModule.from_datasets(numbers, batch_size=2))
    assert module.w.item() == -0.5 * 3


def test_arguments_of_a_subclass() -> None:
    class Named(pl.LightningDataModule):
        def __init__(self, folder: str) -> None:
            super().__init__()
            self.save_hyperparameters()

    data = Named.from_datasets(NUMBERS, folder="here")
    assert type(data) is Named
    assert data.hparams.folder == "here"


def test_base_takes_and_ignores_any_arguments() -> None:
    pl.LightningDataModule(1, transforms=2)


def test_by_itself() -> None:
    data = pl.LightningDataModule()
    assert data.trainer is None
    assert (data.name, data.prepare_data_per_node) == (None, True)
    assert data.state_dict() == {}
    assert (data.prepare_data(), data.setup("fit"), data.teardown("fit")) == (None, None, None)
    batch = object()
    assert data.on_before_batch_transfer(batch, 0) is data.on_after_batch_transfer(batch, 0) is batch
    assert data.transfer_batch_to_device([torch.ones(1)], torch.device("meta"), 0)[0].device.type == "meta"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))])
def test_copies_are_detached(tmp_path: Any, copied: Any) -> None:
    data = Picklable()
    trainer = make_trainer(tmp_path)
    trainer.fit(TrainsOnly(), datamodule=data)
    assert data.trainer is trainer
    again = copied(data)
    assert again.trainer is None
    assert again.kept == [1, 2]


class Picklable(pl.LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        self.kept = [1, 2]

    def train_dataloader(self) -> Any:
        return DataLoader(torch.arange(2.0))  # type: ignore[arg-type]
