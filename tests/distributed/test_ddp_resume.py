"""Two processes that are killed and go on end as two that were not, bit for bit, in each of them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint
from fulmen.loggers import CSVLogger
from fulmen.metrics import MeanMetric

from .ranks import Ranks
from .test_ddp import QUIET, Numbered, Regression


class Killed(BaseException):
    """Ends a training like a kill: nobody may handle it."""


class Augmented(Numbered):
    """Draws for each sample."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        x, y, number = super().__getitem__(index)
        return x + 0.1 * torch.randn(len(x)), y, number


class Measured(Regression):
    """With dropout, a metric and a validation."""

    def __init__(self) -> None:
        super().__init__(dropout=0.3)
        self.measured = MeanMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.measured.update(loss.detach())
        self.log("measured", self.measured, on_step=False, on_epoch=True)
        self.log("total", loss, on_step=False, on_epoch=True, reduce_fx="sum")
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y, _ = batch
        self.log("val_loss", (self.net(x).squeeze(1) - y).square().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.02)


class Kill(pl.Callback):
    """Ends the process after so many batches of its own."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def on_train_batch_end(self, *args: Any) -> None:
        self.left -= 1
        if not self.left:
            raise Killed


def train(folder: Path, dies_after: int | None, ckpt_path: str | None, options: dict[str, Any]) -> Any:
    """One process of each rank: what the rank knows in the end, and what lies in the folder."""
    pl.seed_everything(11, verbose=False)
    module = Measured()
    saver = ModelCheckpoint(folder / "saved", every_n_train_steps=2, save_top_k=-1, save_last=True)
    callbacks = [saver, *([Kill(dies_after)] if dies_after else [])]
    quiet = QUIET | {"logger": CSVLogger(folder, name="logs", version="run"), "enable_checkpointing": True}
    trainer = pl.Trainer(
        devices=2, max_epochs=2, log_every_n_steps=2, callbacks=callbacks, **quiet, **options
    )
    loaders = DataLoader(Augmented(44), 4, shuffle=True), DataLoader(Numbered(9), 2, shuffle=True)
    try:
        trainer.fit(module, *loaders, ckpt_path=ckpt_path)
    except Killed:
        return None
    trainer.save_checkpoint(folder / "end.ckpt")
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    return {
        "weights": module.weights().tolist(),
        "optimizer": str(trainer.optimizers[0].state_dict()),
        "steps": module.steps,
        "losses": module.losses,
        "logged": logged,
        "best": Path(saver.best_model_path).name,
        "random": torch.get_rng_state().tolist(),
    }


def lives(rank: int, folder: str, kills: tuple[int, ...], options: dict[str, Any]) -> Any:
    for kill in kills:
        assert train(Path(folder), kill, "auto", options) is None
        torch.distributed.barrier()
    return train(Path(folder), None, "auto", options)


def rows_in(folder: Path) -> list[str]:
    return (folder / "logs" / "run" / "metrics.csv").read_text().splitlines()


@pytest.mark.parametrize("kills", [(3,), (6,), (9, 4), (5, 1, 3)], ids=str)
@pytest.mark.parametrize(
    "options",
    [{}, {"accumulate_grad_batches": 2}, {"val_check_interval": 2}],
    ids=["plain", "windows", "often"],
)
def test_killed_ranks_end_as_those_that_were_not(
    kills: tuple[int, ...], options: dict[str, Any], two_ranks: Ranks, tmp_path: Path
) -> None:
    whole = two_ranks(lives, str(tmp_path / "whole"), (), options)
    found = two_ranks(lives, str(tmp_path / "killed"), kills, options)
    assert whole[0]["steps"] != whole[1]["steps"]
    assert rows_in(tmp_path / "killed") == rows_in(tmp_path / "whole")
    for before, after in zip(whole, found, strict=True):
        done = len(before["steps"]) - len(after["steps"])
        assert done >= 0
        assert before["steps"][done:] == after["steps"]
        assert before["losses"][done:] == after["losses"]
        for name in before.keys() - {"steps", "losses"}:
            assert after[name] == before[name], name


def begins(rank: int, folder: str, size: int, batches: int) -> list[int]:
    """The samples of an epoch's first batches, and a checkpoint after them."""
    pl.seed_everything(3, verbose=False)
    module = Measured()
    trainer = pl.Trainer(devices=size, max_epochs=2, callbacks=[SaveAndDie(batches, folder)], **QUIET)
    with pytest.raises(Killed):
        trainer.fit(module, DataLoader(Augmented(45), 4, shuffle=True))
    return [number for _, numbers in module.steps[:batches] for number in numbers]


class SaveAndDie(pl.Callback):
    """Saves after so many batches, and ends the process."""

    def __init__(self, batches: int, folder: str) -> None:
        self.batches, self.folder = batches, folder

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.batches -= 1
        if not self.batches:
            trainer.save_checkpoint(f"{self.folder}/middle.ckpt")
            raise Killed


def goes_on(rank: int, folder: str, size: int) -> tuple[list[int], int]:
    """The samples of the rest of that epoch, and the number of batches of the next."""
    module = Measured()
    trainer = pl.Trainer(devices=size, max_epochs=2, **QUIET)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(module, DataLoader(Augmented(45), 4, shuffle=True), ckpt_path=f"{folder}/middle.ckpt")
    said = " ".join(str(warning.message) for warning in caught)
    assert rank or "go on from it. The order of the samples is the same" in said
    rest = [number for epoch, numbers in module.steps for number in numbers if epoch == 0]
    return rest, sum(epoch == 1 for epoch, _ in module.steps)


@pytest.mark.parametrize("batches", [1, 3, 5])
def test_one_process_goes_on_with_the_epoch_of_two(batches: int, two_ranks: Ranks, tmp_path: Path) -> None:
    first, second = two_ranks(begins, str(tmp_path), 2, batches)
    rest, next_epoch = goes_on(0, str(tmp_path), 1)
    assert sorted(first + second + rest) == list(range(45))
    assert next_epoch == 12


@pytest.mark.parametrize("batches", [1, 4, 7])
def test_two_processes_go_on_with_the_epoch_of_one(batches: int, two_ranks: Ranks, tmp_path: Path) -> None:
    done = begins(0, str(tmp_path), 1, batches)
    (first, next_epoch), (second, also) = two_ranks(goes_on, str(tmp_path), 2)
    rest = first + second
    assert len(set(rest)) >= len(rest) - 1  # one comes twice, for both to have equally many
    assert sorted({*done, *rest}) == list(range(45))
    assert not set(done) & set(rest[:-1] if len(set(rest)) < len(rest) else rest)
    assert next_epoch == also == 6
