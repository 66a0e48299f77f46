"""Who provides the loaders, how often they are asked for, and what is said when there is nothing to load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, Sampler, SequentialSampler

import fulmen as pl
from fulmen.errors import ConfigError, UsageError

from .small import Given, Small, TrainsOnly, batches, make_trainer

NOTHING: Any = torch.zeros(0)


class Notes(Small):
    """Notes the numbers that it sees, by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[float]] = {}

    def note(self, kind: str, batch: Tensor) -> None:
        self.seen.setdefault(kind, []).extend(batch.tolist())

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        self.note("train", batch)
        return self(batch).mean()

    def validation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.note("val", batch)

    def test_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.note("test", batch)

    def predict_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.note("predict", batch)


class OwnLoaders(Notes):
    """Brings loaders that give 1 (train), 2 (val), 3 (test), 4 (predict)."""

    def train_dataloader(self) -> Any:
        return batches(1, first=1)

    def val_dataloader(self) -> Any:
        return batches(1, first=2)

    def test_dataloader(self) -> Any:
        return batches(1, first=3)

    def predict_dataloader(self) -> Any:
        return batches(1, first=4)


class Data(pl.LightningDataModule):
    """Loaders that give 11, 12, 13, 14."""

    def train_dataloader(self) -> Any:
        return batches(1, first=11)

    def val_dataloader(self) -> Any:
        return batches(1, first=12)

    def test_dataloader(self) -> Any:
        return batches(1, first=13)

    def predict_dataloader(self) -> Any:
        return batches(1, first=14)


class TrainData(pl.LightningDataModule):
    """Has something to train on and nothing else."""

    def train_dataloader(self) -> Any:
        return batches(1, first=11)


def run_all(root: Path, module: Notes, **sources: Any) -> dict[str, list[float]]:
    """What is seen by each method of a Trainer."""
    trainer = make_trainer(root)
    trainer.fit(module, **sources)
    for method in (trainer.validate, trainer.test):
        method(module, verbose=False, **sources)
    trainer.predict(module, **sources)
    return module.seen


def test_the_modules_own_loaders(tmp_path: Path) -> None:
    """Validated twice: in `fit`, and by `validate`."""
    assert run_all(tmp_path, OwnLoaders()) == {"train": [1], "val": [2, 2], "test": [3], "predict": [4]}


@pytest.mark.parametrize("module", [Notes, OwnLoaders])
def test_the_datamodule_goes_before_the_module(tmp_path: Path, module: type[Notes]) -> None:
    seen = run_all(tmp_path, module(), datamodule=Data())
    assert seen == {"train": [11], "val": [12, 12], "test": [13], "predict": [14]}


def test_the_module_provides_what_the_datamodule_does_not(tmp_path: Path) -> None:
    seen = run_all(tmp_path, OwnLoaders(), datamodule=TrainData())
    assert seen == {"train": [11], "val": [2, 2], "test": [3], "predict": [4]}


def test_loaders_that_are_handed_over_go_before_the_modules(tmp_path: Path) -> None:
    module, trainer = OwnLoaders(), make_trainer(tmp_path)
    trainer.fit(module, batches(1, first=21), batches(1, first=22))
    trainer.validate(module, batches(1, first=32), verbose=False)
    trainer.test(module, batches(1, first=23), verbose=False)
    trainer.predict(module, batches(1, first=24))
    assert module.seen == {"train": [21], "val": [22, 32], "test": [23], "predict": [24]}


def test_train_loader_handed_over_and_validation_of_the_module(tmp_path: Path) -> None:
    module = OwnLoaders()
    make_trainer(tmp_path).fit(module, batches(1, first=21))
    assert module.seen == {"train": [21], "val": [2]}


def test_datamodule_in_the_place_of_the_loaders(tmp_path: Path) -> None:
    module, trainer = Notes(), make_trainer(tmp_path)
    trainer.fit(module, Data())
    trainer.validate(module, Data(), verbose=False)
    trainer.test(module, Data(), verbose=False)
    trainer.predict(module, Data())
    assert module.seen == {"train": [11], "val": [12, 12], "test": [13], "predict": [14]}


@pytest.mark.parametrize("argument", ["train_dataloaders", "val_dataloaders"])
def test_a_loader_and_a_datamodule(tmp_path: Path, argument: str) -> None:
    trainer: Any = make_trainer(tmp_path)
    with pytest.raises(UsageError, match="datamodule"):
        trainer.fit(Notes(), datamodule=Data(), **{argument: batches(1)})


@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_a_loader_and_a_datamodule_in_evaluation(tmp_path: Path, method: str) -> None:
    with pytest.raises(UsageError, match="datamodule"):
        getattr(make_trainer(tmp_path), method)(Notes(), batches(1), datamodule=Data())


def test_two_datamodules(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="datamodule"):
        make_trainer(tmp_path).fit(Notes(), Data(), datamodule=Data())


@pytest.mark.parametrize("wrong", [batches(1), {"train": 1}, Data], ids=["a loader", "a dict", "the class"])
def test_something_else_for_a_datamodule(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"(?s)datamodule.*LightningDataModule"):
        make_trainer(tmp_path).fit(Notes(), datamodule=wrong)


def test_datamodule_knows_its_trainer_and_the_trainer_its_datamodule(tmp_path: Path) -> None:
    data, trainer = Data(), make_trainer(tmp_path)
    trainer.fit(TrainsOnly(), datamodule=TrainData())
    trainer.test(Notes(), datamodule=data, verbose=False)
    assert data.trainer is trainer
    assert trainer.datamodule is data


def test_what_was_given_can_be_read(tmp_path: Path) -> None:
    """As it was given, whatever the engine made of it."""
    trainer = make_trainer(tmp_path)
    train, val = {"a": batches(2, shuffle=True)}, [batches(1), batches(2)]

    class Dicts(Notes):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch["a"], batch_idx)

    trainer.fit(Dicts(), train, val)
    assert trainer.train_dataloader is train
    assert trainer.val_dataloaders is val
    trainer.test(Notes(), loader := batches(1), verbose=False)
    assert trainer.test_dataloaders is loader
    trainer.predict(Notes(), others := [batches(1)])
    assert trainer.predict_dataloaders is others


def test_no_train_loader(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train_dataloader"):
        make_trainer(tmp_path).fit(TrainsOnly())


@pytest.mark.parametrize(
    ("method", "hook"),
    [("validate", "val_dataloader"), ("test", "test_dataloader"), ("predict", "predict_dataloader")],
)
def test_no_loader_to_evaluate(tmp_path: Path, method: str, hook: str) -> None:
    with pytest.raises(UsageError, match=hook):
        getattr(make_trainer(tmp_path), method)(Notes())


@pytest.mark.parametrize("kind", ["train", "val", "test", "predict"])
def test_loader_hook_that_returns_nothing(tmp_path: Path, kind: str) -> None:
    forgets = type("Forgets", (OwnLoaders,), {f"{kind}_dataloader": lambda self: None})()
    with pytest.raises(UsageError, match=rf"Forgets\.{kind}_dataloader.*None"):
        run_all(tmp_path, forgets)


@pytest.mark.parametrize("wrong", [3, object(), [1, 2]], ids=["a number", "an object", "a list of numbers"])
def test_loader_that_is_none(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(ConfigError, match="not iterable"):
        make_trainer(tmp_path).fit(TrainsOnly(), wrong)


@pytest.mark.parametrize("loader", [Given([]), DataLoader(NOTHING)], ids=["iterable", "DataLoader"])
def test_empty_train_loader(tmp_path: Path, loader: Any) -> None:
    with pytest.raises(ConfigError, match="train loader is empty"):
        make_trainer(tmp_path).fit(TrainsOnly(), loader)


def test_train_loader_whose_last_batch_is_dropped_and_was_the_only_one(tmp_path: Path) -> None:
    loader = DataLoader(range(3), batch_size=4, drop_last=True)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="train loader is empty"):
        make_trainer(tmp_path).fit(TrainsOnly(), loader)


def test_train_loader_without_length_that_gives_nothing(tmp_path: Path) -> None:
    class Nothing:
        def __iter__(self) -> Any:
            return iter(())

    with pytest.raises(ConfigError, match="no batch"):
        make_trainer(tmp_path).fit(TrainsOnly(), Nothing())


def test_generator_as_train_loader_is_used_up_in_the_second_epoch(tmp_path: Path) -> None:
    """An iterator can be walked through once: an error beats epochs in which nothing is trained."""
    numbers = (torch.tensor([float(number)]) for number in range(3))
    with pytest.raises(ConfigError, match="no batch"):
        make_trainer(tmp_path, max_epochs=2).fit(TrainsOnly(), numbers)


@pytest.mark.parametrize("kind", ["val", "test", "predict"])
def test_empty_evaluation_loader(tmp_path: Path, kind: str) -> None:
    trainer = make_trainer(tmp_path)
    method = {"val": trainer.validate, "test": trainer.test, "predict": trainer.predict}[kind]
    with pytest.raises(ConfigError, match=f"{kind} loader is empty"):
        method(Notes(), Given([]))


def test_one_empty_evaluation_loader_of_two(tmp_path: Path) -> None:
    module = Notes()
    with pytest.warns(UserWarning, match="val loader 0 is empty"):
        make_trainer(tmp_path).validate(module, [Given([]), batches(2)], verbose=False)
    assert module.seen == {"val": [1, 2]}


def test_loader_shorter_than_it_says(tmp_path: Path) -> None:
    """The epoch ends where the data does."""

    class Boasts(Given):
        def __len__(self) -> int:
            return 5

    trainer = make_trainer(tmp_path, max_epochs=2)
    trainer.fit(TrainsOnly(), Boasts([torch.ones(1)] * 3))
    assert (trainer.global_step, trainer.current_epoch) == (6, 2)


class Reloads(Notes):
    """Gives loaders whose numbers tell how often it was asked before."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = {"train": 0, "val": 0}

    def loader(self, kind: str) -> Any:
        self.asked[kind] += 1
        return batches(1, first=self.asked[kind])

    def train_dataloader(self) -> Any:
        return self.loader("train")

    def val_dataloader(self) -> Any:
        return self.loader("val")


@pytest.mark.parametrize(
    ("every", "seen"),
    [(0, [1, 1, 1, 1, 1]), (1, [1, 2, 3, 4, 5]), (2, [1, 1, 2, 2, 3]), (5, [1, 1, 1, 1, 1])],
)
def test_reload_dataloaders_every_n_epochs(tmp_path: Path, every: int, seen: list[float]) -> None:
    module = Reloads()
    make_trainer(tmp_path, max_epochs=5, reload_dataloaders_every_n_epochs=every).fit(module)
    assert module.seen == {"train": seen, "val": seen}
    assert module.asked == {"train": seen[-1], "val": seen[-1]}


def test_reload_with_a_sanity_check(tmp_path: Path) -> None:
    """The check uses the loader of the first epoch."""
    module = Reloads()
    options = {"num_sanity_val_steps": 1, "reload_dataloaders_every_n_epochs": 1}
    make_trainer(tmp_path, max_epochs=3, **options).fit(module)
    assert module.seen == {"train": [1, 2, 3], "val": [1, 1, 2, 3]}


def test_reload_changes_the_length_of_an_epoch(tmp_path: Path) -> None:
    class Grows(TrainsOnly):
        def train_dataloader(self) -> Any:
            return batches(self.current_epoch + 1)

    trainer = make_trainer(tmp_path, max_epochs=3, reload_dataloaders_every_n_epochs=1)
    trainer.fit(Grows())
    assert trainer.global_step == 1 + 2 + 3
    assert trainer.num_training_batches == 3


def test_every_fit_asks_anew(tmp_path: Path) -> None:
    module = Reloads()
    for _ in range(2):
        make_trainer(tmp_path).fit(module)
    assert module.asked == {"train": 2, "val": 2}


class Follows(Sampler[int]):
    """A sampler that notes each epoch that it is told."""

    def __init__(self, epochs: list[int]) -> None:
        self.epochs = epochs

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def __iter__(self) -> Any:
        return iter(range(2))

    def __len__(self) -> int:
        return 2


class FollowsAsBatchSampler(BatchSampler):
    def __init__(self, epochs: list[int]) -> None:
        super().__init__(SequentialSampler(range(2)), 1, drop_last=False)
        self.epochs = epochs

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


class FollowsItself(Given):
    def __init__(self, epochs: list[int]) -> None:
        super().__init__([torch.ones(1)])
        self.epochs = epochs

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


def followers(epochs: list[int]) -> dict[str, Any]:
    data: Any = [torch.ones(()), torch.ones(())]
    return {
        "sampler": DataLoader(data, sampler=Follows(epochs)),
        "sampler of a batch sampler": DataLoader(data, batch_sampler=BatchSampler(Follows(epochs), 1, False)),
        "batch sampler": DataLoader(data, batch_sampler=FollowsAsBatchSampler(epochs)),
        "loader": FollowsItself(epochs),
    }


@pytest.mark.parametrize("kind", followers([]))
def test_samplers_are_told_the_epoch(tmp_path: Path, kind: str) -> None:
    epochs: list[int] = []
    make_trainer(tmp_path, max_epochs=3).fit(TrainsOnly(), followers(epochs)[kind])
    assert epochs == [0, 1, 2]


@pytest.mark.parametrize("kind", followers([]))
def test_samplers_of_combined_loaders_are_told_the_epoch(tmp_path: Path, kind: str) -> None:
    class Takes(TrainsOnly):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch["a"], batch_idx)

    epochs: list[int] = []
    make_trainer(tmp_path, max_epochs=3).fit(Takes(), {"a": batches(2), "b": followers(epochs)[kind]})
    assert epochs == [0, 1, 2]


def test_validation_samplers_are_told_the_epoch(tmp_path: Path) -> None:
    epochs: list[int] = []
    loader: Any = followers(epochs)["sampler"]
    make_trainer(tmp_path, max_epochs=3).fit(Notes(), batches(1), loader)
    assert epochs == [0, 1, 2]


def test_distributed_sampler_shuffles_anew_each_epoch(tmp_path: Path) -> None:
    numbers: Any = torch.arange(8.0)
    sampler: Any = DistributedSampler(numbers, num_replicas=1, rank=0, shuffle=True, seed=0)
    module = Notes()
    trainer = make_trainer(tmp_path, max_epochs=2, limit_val_batches=0)
    trainer.fit(module, DataLoader(numbers, sampler=sampler))
    first, second = module.seen["train"][:8], module.seen["train"][8:]
    assert sorted(first) == sorted(second) == list(range(8))
    assert first != second
