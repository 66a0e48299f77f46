"""Two processes that are killed and go on end as two that were not, bit for bit, in each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint
from fulmen.errors import CheckpointError
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


def goes_on_alone(path: Path) -> int:
    """How many batches of an epoch one process takes that goes on from there."""
    trainer = pl.Trainer(devices=1, max_epochs=3, **QUIET)
    module = Measured()
    trainer.fit(module, DataLoader(Augmented(44), 4), ckpt_path=path)
    assert [epoch for epoch, _ in module.steps] == [2] * len(module.steps)
    return len(module.steps)


def test_another_number_of_processes_goes_on_between_epochs(two_ranks: Ranks, tmp_path: Path) -> None:
    two_ranks(lives, str(tmp_path), (), {})
    with pytest.raises(CheckpointError, match=r"(?s)in the middle of an epoch.*1 processes.*2"):
        goes_on_alone(tmp_path / "saved" / "epoch=0-step=2.ckpt")
    with pytest.warns(UserWarning, match="2 processes, and 1 go on"):
        assert goes_on_alone(tmp_path / "end.ckpt") == 11
