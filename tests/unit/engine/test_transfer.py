"""How a batch reaches the device: what is moved, and who may have a say in it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import fulmen as pl

from .small import Given, Small, TrainsOnly, batches, make_trainer

META = torch.device("meta")


class Pair(NamedTuple):
    image: Tensor
    label: int


@dataclass
class Sample:
    image: Tensor
    name: str


@dataclass(frozen=True)
class Frozen:
    image: Tensor


class Custom:
    """Knows how to go to a device by itself."""

    def __init__(self) -> None:
        self.device: Any = None

    def to(self, device: Any) -> Custom:
        moved = Custom()
        moved.device = device
        return moved


class InPlace(Custom):
    """Goes to the device without returning anything."""

    def to(self, device: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.device = device


def moved(batch: Any) -> Any:
    return TrainsOnly().transfer_batch_to_device(batch, META, 0)


def test_a_tensor() -> None:
    assert moved(torch.ones(2)).device == META


@pytest.mark.parametrize(
    "batch",
    [
        [torch.ones(1), "text", 3],
        (torch.ones(1), None, 2.5),
        {"image": torch.ones(1), "name": "cat"},
        OrderedDict(image=torch.ones(1), rest=[torch.ones(1), "x"]),
        Pair(torch.ones(1), 3),
        Sample(torch.ones(1), "cat"),
        Frozen(torch.ones(1)),
        [{"deep": (Pair(torch.ones(1), 1), Sample(torch.ones(1), "dog"))}],
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_collections_keep_their_kind_and_what_is_no_tensor(batch: Any) -> None:
    def skeleton(tree: Any) -> Any:
        if isinstance(tree, Tensor):
            return "tensor"
        if isinstance(tree, dict):
            return type(tree), {key: skeleton(value) for key, value in tree.items()}
        if isinstance(tree, (list, tuple)):
            return type(tree), [skeleton(value) for value in tree]
        if isinstance(tree, (Sample, Frozen)):
            return type(tree), skeleton(vars(tree))
        return tree

    def devices(tree: Any) -> set[Any]:
        if isinstance(tree, Tensor):
            return {tree.device}
        if isinstance(tree, dict):
            return set().union(*map(devices, tree.values()))
        if isinstance(tree, (list, tuple)):
            return set().union(*map(devices, tree))
        return devices(vars(tree)) if isinstance(tree, (Sample, Frozen)) else set()

    found = moved(batch)
    assert skeleton(found) == skeleton(batch)
    assert devices(found) == {META}
    assert devices(batch) == {torch.device("cpu")}  # the batch itself stays where it is


def test_objects_that_move_themselves() -> None:
    batch = {"a": Custom(), "b": [InPlace()]}
    found = moved(batch)
    assert found["a"].device == found["b"][0].device == META
    assert type(found["b"][0]) is InPlace
    assert isinstance(moved(pack_sequence([torch.ones(2)])), PackedSequence)


class Hooked(TrainsOnly):
    """Notes the calls of its transfer hooks, each of which adds to the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []
        self.seen: list[float] = []

    def on_before_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        self.calls.append(("before", dataloader_idx))
        return batch + 10

    def transfer_batch_to_device(self, batch: Tensor, device: torch.device, dataloader_idx: int) -> Tensor:
        self.calls.append(("transfer", device, dataloader_idx))
        return batch + 100

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        self.calls.append(("after", dataloader_idx))
        return batch + 1000

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        self.seen.append(batch.item())

    def validation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.seen.append(batch.item())

    test_step = predict_step = validation_step


def test_hooks_in_training(tmp_path: Path) -> None:
    module = Hooked()
    make_trainer(tmp_path, limit_val_batches=0).fit(module, batches(2))
    assert module.calls == [("before", 0), ("transfer", torch.device("cpu"), 0), ("after", 0)] * 2
    assert module.seen == [1111, 1112]


@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_hooks_in_evaluation_know_the_loader(tmp_path: Path, method: str) -> None:
    module = Hooked()
    trainer = make_trainer(tmp_path)
    getattr(trainer, method)(module, [batches(1), batches(1, first=5)])
    assert [call[-1] for call in module.calls] == [0, 0, 0, 1, 1, 1]
    assert module.seen == [1111, 1115]


class HookedData(pl.LightningDataModule):
    """The same in a datamodule, with other numbers; one hook only unless told to have all."""

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        return batch + 3000

    def train_dataloader(self) -> Any:
        return batches(1)


class FullyHookedData(HookedData):
    def on_before_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        return batch + 30

    def transfer_batch_to_device(self, batch: Tensor, device: torch.device, dataloader_idx: int) -> Tensor:
        return batch + 300


@pytest.mark.parametrize(("data", "seen"), [(HookedData, 3111), (FullyHookedData, 3331)])
def test_hooks_of_a_datamodule_take_the_place_of_the_modules(
    tmp_path: Path, data: type[HookedData], seen: float
) -> None:
    module = Hooked()
    make_trainer(tmp_path, limit_val_batches=0).fit(module, datamodule=data())
    assert module.seen == [seen]


def test_hooks_see_the_trainer_at_work(tmp_path: Path) -> None:
    """Augmentation is for training: hooks ask what is under way."""
    stages: list[tuple[bool, bool, bool]] = []

    class Augments(Small):
        def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
            trainer = self.trainer
            stages.append((trainer.sanity_checking, trainer.training, trainer.validating))
            return batch

    make_trainer(tmp_path, num_sanity_val_steps=1).fit(Augments(), batches(1), batches(1))
    assert stages == [(True, False, False), (False, True, False), (False, False, True)]


def test_batch_hooks_get_what_the_transfer_made(tmp_path: Path) -> None:
    seen: list[float] = []

    class Watches(Hooked):
        def on_train_batch_start(self, batch: Tensor, batch_idx: int) -> None:
            seen.append(batch.item())

        def on_train_batch_end(self, outputs: Any, batch: Tensor, batch_idx: int) -> None:
            seen.append(batch.item())

    make_trainer(tmp_path, limit_val_batches=0).fit(Watches(), batches(1))
    assert seen == [1111, 1111]


def test_inputs_are_converted_to_the_precision_before_the_hook_that_follows(tmp_path: Path) -> None:
    """Floating-point tensors of the batch, wherever they are in it; indices stay what they are."""
    seen: list[Any] = []

    class Looks(TrainsOnly):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            seen.append((batch["x"][0].dtype, batch["index"].dtype))
            return batch

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self(batch["x"][0]).mean()

    batch = {"x": [torch.ones(1)], "index": torch.tensor(3)}
    make_trainer(tmp_path, precision="64-true").fit(Looks(), Given([batch]))
    assert seen == [(torch.float64, torch.int64)]


def test_batches_on_the_host_are_handed_on_untouched(tmp_path: Path) -> None:
    """No copy of a batch is made where there is nothing to move."""
    same: list[bool] = []
    batch = {"x": torch.ones(1), "other": object()}

    class Looks(TrainsOnly):
        def training_step(self, batch_: Any, batch_idx: int) -> None:
            same.append(batch_ is batch)

    make_trainer(tmp_path).fit(Looks(), Given([batch]))
    assert same == [True]
