"""The loaders that the Trainer shows are those in use, and what is assigned to them counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    get_worker_info,
)

import fulmen as pl

from .small import Small, batches, make_trainer


class Numbers(Dataset[Tensor]):
    """0, 1, 2 and 3, all of them more by what a worker was told to add."""

    offset = 0.0

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor(index + self.offset)


def hundredfold(samples: Sequence[Any]) -> Tensor:
    return 100 * torch.stack([sample[0] if isinstance(sample, tuple) else sample for sample in samples])


def add_ten(worker_id: int) -> None:
    info: Any = get_worker_info()
    info.dataset.offset = 10.0


class Assigns(Small):
    """Assigns to a loader at the beginning of the second epoch; notes what comes."""

    def __init__(self, loader: str, **attributes: Any) -> None:
        super().__init__()
        self.loader, self.attributes = loader, attributes
        self.seen: list[list[float]] = []
        self.validated: list[list[float]] = []

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 1:
            assert self.trainer is not None
            shown = getattr(self.trainer, self.loader)
            for part in shown.values() if isinstance(shown, dict) else [shown]:
                for name, value in self.attributes.items():
                    setattr(part, name, value)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        batch = batch["a"] if isinstance(batch, dict) else batch
        batch = batch[0] if isinstance(batch, (list, tuple)) else batch
        self.seen.append(batch.tolist())
        return self(batch).mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validated.append(batch.tolist())


BEFORE, AFTER = [[0, 1], [2, 3]], [[0, 100], [200, 300]]


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    "dataset", [Numbers(), TensorDataset(torch.arange(4.0))], ids=["any", "known to draw nothing"]
)
def test_a_collate_function(dataset: Any, exact: bool, tmp_path: Path) -> None:
    module = Assigns("train_dataloader", collate_fn=hundredfold)
    trainer = make_trainer(tmp_path, max_epochs=3, exact_data=exact)
    trainer.fit(module, DataLoader(dataset, batch_size=2))
    assert module.seen == BEFORE + AFTER + AFTER


@pytest.mark.parametrize("overfit", [0, 2])
def test_a_collate_function_of_one_of_several_loaders(overfit: int, tmp_path: Path) -> None:
    module = Assigns("train_dataloader", collate_fn=hundredfold)
    trainer = make_trainer(tmp_path, max_epochs=2, overfit_batches=overfit)
    trainer.fit(module, {"a": DataLoader(Numbers(), batch_size=2), "b": batches(2)})
    assert module.seen == BEFORE + AFTER


def test_a_collate_function_of_validation(tmp_path: Path) -> None:
    module = Assigns("val_dataloaders", collate_fn=hundredfold)
    trainer = make_trainer(tmp_path, max_epochs=2, num_sanity_val_steps=0)
    trainer.fit(module, batches(), DataLoader(Numbers(), batch_size=2))
    assert module.validated == BEFORE + AFTER


def test_a_collate_function_in_workers(tmp_path: Path) -> None:
    module = Assigns("train_dataloader", collate_fn=hundredfold)
    loader = DataLoader(Numbers(), batch_size=2, num_workers=1)
    make_trainer(tmp_path, max_epochs=2).fit(module, loader)
    assert module.seen == BEFORE + AFTER


@pytest.mark.parametrize("exact", [True, False])
def test_what_workers_begin_with(exact: bool, tmp_path: Path) -> None:
    module = Assigns("train_dataloader", worker_init_fn=add_ten)
    loader = DataLoader(Numbers(), batch_size=2, num_workers=1)
    make_trainer(tmp_path, max_epochs=2, exact_data=exact).fit(module, loader)
    assert module.seen == [*BEFORE, [10, 11], [12, 13]]


def test_persistent_workers_go_on_as_they_began(tmp_path: Path) -> None:
    """As with torch alone."""
    module = Assigns("train_dataloader", collate_fn=hundredfold, worker_init_fn=add_ten)
    loader = DataLoader(Numbers(), batch_size=2, num_workers=1, persistent_workers=True)
    make_trainer(tmp_path, max_epochs=3).fit(module, loader)
    assert module.seen == 3 * BEFORE


def test_a_checkpoint_says_that_a_hook_has_assigned(tmp_path: Path) -> None:
    """A process that goes on in the middle of an epoch does not call the hook again."""
    module = Assigns("train_dataloader", collate_fn=hundredfold)
    trainer = make_trainer(tmp_path, max_epochs=2)
    trainer.fit(module, DataLoader(Numbers(), batch_size=2))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    exact = torch.load(tmp_path / "a.ckpt", weights_only=True)["fulmen"]["exact"]
    assert not exact["resumable"]
    assert len(exact["reasons"]) == 1
    assert "collate_fn" in exact["reasons"][0]


# ------------------------------------------------------------------------------------------- overfit_batches


class Sees(Small):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self(torch.ones(1)).mean()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        pass


def shuffled() -> DataLoader[Any]:
    return batches(4, shuffle=True)


@pytest.mark.parametrize(
    "given",
    [
        shuffled(),
        [shuffled(), batches(4)],
        {"a": shuffled(), "b": batches(4)},
        pl.CombinedLoader([shuffled()]),
    ],
    ids=["one", "list", "dict", "combined"],
)
def test_overfitting_shows_loaders_that_keep_the_order(given: Any, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, overfit_batches=1)
    trainer.fit(Sees(), given, given)
    for shown in (trainer.train_dataloader, trainer.val_dataloaders):
        assert type(shown) is type(given)
        parts, before = (
            list(pl.CombinedLoader(loaders, "sequential").flattened)
            if not isinstance(loaders, pl.CombinedLoader)
            else loaders.flattened
            for loaders in (shown, given)
        )
        assert [type(part.sampler) for part in parts] == [SequentialSampler] * len(before)
        assert isinstance(before[0].sampler, RandomSampler)  # the user's own stays as it is
        assert parts[1:] == before[1:]  # where there was no order to change


def test_loaders_that_are_as_they_shall_be_are_shown_as_they_were_given(tmp_path: Path) -> None:
    train, val = {"a": batches(2)}, [batches(1), batches(2)]
    trainer = make_trainer(tmp_path, overfit_batches=1)
    trainer.fit(Sees(), train, val)
    assert trainer.train_dataloader is train
    assert trainer.val_dataloaders is val
