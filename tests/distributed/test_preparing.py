"""What downloads runs on one process, and the others wait for it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl

from .ranks import Ranks


class Data(pl.LightningDataModule):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def prepare_data(self) -> None:
        assert self.trainer is not None
        time.sleep(0.3)  # the others would be at `setup` by now
        (self.folder / f"data of {self.trainer.global_rank}").touch()

    def setup(self, stage: str) -> None:
        self.found = sorted(path.name for path in self.folder.iterdir())

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.ones(4, 2)), 1)


class Module(pl.LightningModule):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.folder = folder

    def prepare_data(self) -> None:
        (self.folder / f"module of {self.global_rank}").touch()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch[0]).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def prepare(rank: int, folder: Path, per_node: bool) -> list[str]:
    data, module = Data(folder), Module(folder)
    data.prepare_data_per_node = module.prepare_data_per_node = per_node
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, data)
    return data.found


def test_one_process_prepares_for_all(two_ranks: Ranks, tmp_path: Path) -> None:
    for per_node in (True, False):
        folder = tmp_path / str(per_node)
        folder.mkdir()
        assert two_ranks(prepare, folder, per_node) == [["data of 0", "module of 0"]] * 2
