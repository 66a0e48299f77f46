"""Every batch that a step sees is the one that the loader gave, on the device, however it got there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

import fulmen as pl

from .cuda import make_trainer, needs_cuda

pytestmark = needs_cuda

COUNT = 24
SHAPE = (256, 512)  # half a megabyte, so that a copy takes a while
WORK = 1024


def content(index: int) -> Tensor:
    """What the batch of this index holds."""
    return torch.full(SHAPE, float(index)) + torch.arange(SHAPE[1])


class Stored(Dataset[Tensor]):
    def __init__(self) -> None:
        self.batches = [content(index) for index in range(COUNT)]

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Tensor:
        return self.batches[index]


class Streamed(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return (content(index) for index in range(COUNT))


class OneBuffer:
    """Gives one and the same host tensor again and again, with other content."""

    def __len__(self) -> int:
        return COUNT

    def __iter__(self) -> Iterator[Tensor]:
        buffer = torch.empty(SHAPE)
        for index in range(COUNT):
            yield buffer.copy_(content(index))


class Checks(pl.LightningModule):
    """Compares each batch with what it should be, while the device has other work to do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.expected = [content(index).to("cuda") for index in range(COUNT)]
        self.work = torch.randn(WORK, WORK, device="cuda")
        self.right: list[Tensor] = []

    def check(self, batch: Any, batch_idx: int) -> Tensor:
        tensor = self.tensor_of(batch)
        for _ in range(4):
            self.work = torch.tanh(self.work @ self.work)
        self.right.append((tensor == self.expected[batch_idx]).all())
        loss = self.weight.sum() * tensor.mean()
        tensor.zero_()  # as code that works in place may do; no other batch may notice
        return loss

    def tensor_of(self, batch: Any) -> Tensor:
        assert batch.is_cuda
        return batch

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.check(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.check(batch, batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.check(batch, batch_idx)

    def predict_step(self, batch: Any, batch_idx: int) -> int:
        self.check(batch, batch_idx)
        return batch_idx

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def assert_all_right(self, count: int = COUNT) -> None:
        right = torch.stack(self.right).tolist()
        assert right == [True] * count


def loader(dataset: Any, **options: Any) -> DataLoader:
    return DataLoader(dataset, batch_size=None, **options)


LOADERS: dict[str, Callable[[], Any]] = {
    "stored": lambda: loader(Stored()),
    "stored, pinned": lambda: loader(Stored(), pin_memory=True),
    "stored, by workers": lambda: loader(Stored(), num_workers=2),
    "stored, by workers, pinned": lambda: loader(Stored(), num_workers=2, pin_memory=True),
    "streamed": lambda: loader(Streamed()),
    "streamed, pinned": lambda: loader(Streamed(), pin_memory=True),
    "one buffer": OneBuffer,
}


@pytest.mark.parametrize("name", LOADERS)
def test_training_sees_each_batch(name: str) -> None:
    module = Checks()
    make_trainer(max_epochs=2).fit(module, LOADERS[name]())
    module.assert_all_right(2 * COUNT)


@pytest.mark.parametrize("name", ["stored", "stored, pinned", "streamed", "one buffer"])
@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_evaluation_sees_each_batch(method: str, name: str) -> None:
    module = Checks()
    returned = getattr(make_trainer(), method)(module, LOADERS[name]())
    module.assert_all_right()
    if method == "predict":
        assert returned == list(range(COUNT))


def test_validation_in_the_middle_of_training_disturbs_no_batch() -> None:
    module = Checks()
    trainer = make_trainer(val_check_interval=5, num_sanity_val_steps=0)
    trainer.fit(module, LOADERS["stored"](), LOADERS["stored"]())
    module.assert_all_right(COUNT + (COUNT // 5) * COUNT)


def test_batches_that_are_on_the_device_already_stay_there() -> None:
    class OnDevice:
        def __init__(self) -> None:
            self.batches = [tensor.cuda() for tensor in Stored().batches]

        def __len__(self) -> int:
            return COUNT

        def __iter__(self) -> Iterator[Tensor]:
            return iter(self.batches)

    class SameMemory(Checks):
        def tensor_of(self, batch: Tensor) -> Tensor:
            assert batch.data_ptr() in addresses
            return batch

    given = OnDevice()
    addresses = {tensor.data_ptr() for tensor in given.batches}
    module = SameMemory()
    make_trainer().fit(module, given)
    module.assert_all_right()


def test_what_the_data_set_holds_is_left_alone() -> None:
    data = Stored()
    module = Checks()
    make_trainer().fit(module, loader(data))
    assert all(tensor.equal(content(index)) for index, tensor in enumerate(data.batches))
    assert not any(tensor.is_pinned() for tensor in data.batches)


# ------------------------------------------------------------------------------------------- kinds of batches


@dataclass
class Pair:
    inputs: Tensor
    name: str


class Own:
    """A batch of a library that knows how to move itself."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def to(self, device: Any, **options: Any) -> Own:
        return Own(self.tensor.to(device))


KINDS: dict[str, tuple[Callable[[Tensor, int], Any], Callable[[Any], Tensor]]] = {
    "dict": (lambda tensor, index: {"x": tensor, "index": index, "text": "a"}, lambda batch: batch["x"]),
    "list": (lambda tensor, index: [tensor, None], lambda batch: batch[0]),
    "nested": (lambda tensor, index: {"a": ([tensor],)}, lambda batch: batch["a"][0][0]),
    "dataclass": (lambda tensor, index: Pair(tensor, "a"), lambda batch: batch.inputs),
    "own class": (lambda tensor, index: Own(tensor), lambda batch: batch.tensor),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_batches(kind: str) -> None:
    make, read = KINDS[kind]

    class Made:
        def __len__(self) -> int:
            return COUNT

        def __iter__(self) -> Iterator[Any]:
            return (make(content(index), index) for index in range(COUNT))

    class Reads(Checks):
        def tensor_of(self, batch: Any) -> Tensor:
            tensor = read(batch)
            assert tensor.is_cuda
            return tensor

    module = Reads()
    make_trainer().fit(module, Made())
    module.assert_all_right()


# --------------------------------------------------------------------------------------------- transfer hooks


class MovesItself(Checks):
    def transfer_batch_to_device(self, batch: Tensor, device: torch.device, dataloader_idx: int) -> Tensor:
        assert device == torch.device("cuda", 0)
        assert not batch.is_cuda
        return batch.to(device)


class LooksBefore(Checks):
    def on_before_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        assert not batch.is_cuda
        return batch + 1

    def tensor_of(self, batch: Tensor) -> Tensor:
        assert batch.is_cuda
        return batch.sub_(1)


class LooksAfter(Checks):
    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        assert batch.is_cuda
        return batch + 1

    def tensor_of(self, batch: Tensor) -> Tensor:
        return batch.sub_(1)


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("kind", [MovesItself, LooksBefore, LooksAfter])
def test_transfer_hooks(kind: type[Checks], pinned: bool) -> None:
    module = kind()
    trainer = make_trainer(num_sanity_val_steps=0)
    trainer.fit(module, loader(Stored(), pin_memory=pinned), loader(Stored(), pin_memory=pinned))
    module.assert_all_right(2 * COUNT)
    trainer.test(module, loader(Stored()), verbose=False)
    module.assert_all_right(3 * COUNT)


@pytest.mark.parametrize(("precision", "dtype"), [("16-true", torch.float16), ("64-true", torch.float64)])
def test_batches_are_converted_for_the_precision(precision: str, dtype: torch.dtype) -> None:
    class Converted(Checks):
        def tensor_of(self, batch: Tensor) -> Tensor:
            assert batch.dtype is dtype
            return batch

    module = Converted()
    make_trainer(precision=precision).fit(module, loader(Stored()))
    module.assert_all_right()
