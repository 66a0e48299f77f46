"""A script that trains in two processes until one of them meets with the accident that a test asks for."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader, TensorDataset, get_worker_info

import fulmen
from fulmen.callbacks import ModelCheckpoint
from fulmen.strategies import DDPStrategy

STEP = 3
"""Of the accident."""
SEEN_S = 1.2
"""Longer than from one report of where a process is to the next."""
BATCHES = 8
"""Of each rank."""


class Accident(RuntimeError):
    """What a test lets happen."""


class Data(TensorDataset):
    """Raises in a worker."""

    def __getitem__(self, index: int) -> Any:
        if get_worker_info() is not None and index == 2 * STEP + 1 and os.environ["ACCIDENT"] == "worker":
            raise Accident("in a worker")
        return super().__getitem__(index)


class Model(fulmen.LightningModule):
    """Meets with accidents in its hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 1)

    def setup(self, stage: str) -> None:
        """Every rank leaves its number."""
        (Path(sys.argv[1]) / f"pid {os.getpid()}").touch()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Where most accidents happen."""
        if batch_idx == STEP:
            self.meet()
        if os.environ["ACCIDENT"] == "interrupt":
            (Path(sys.argv[1]) / f"trains {self.global_rank}").touch()
            time.sleep(0.1)
        loss = self.net(batch[0]).sum()
        if os.environ["ACCIDENT"] == "log" and (self.global_rank == 1 or batch_idx < STEP):
            self.log("loss", loss)
        return loss

    def meet(self) -> None:
        """The accident, if it is to happen to this rank."""
        accident = os.environ["ACCIDENT"]
        if accident == "slow" and self.global_rank == 1:
            time.sleep(float(os.environ["LIMIT_S"]) * 1.5)
        rank = int(os.environ.get("GUILTY", "1"))
        if self.global_rank != rank:
            return
        if accident == "step raises":
            raise Accident("in the step")
        if accident == "step exits":
            time.sleep(SEEN_S)
            os._exit(3)
        if accident == "step killed":
            time.sleep(SEEN_S)
            os.kill(os.getpid(), signal.SIGKILL)
        if accident == "step stopped":
            time.sleep(SEEN_S)
            os.kill(os.getpid(), signal.SIGSTOP)
        if accident == "step barrier":
            self.trainer.strategy.barrier("of one rank")
        if accident == "step torch barrier":
            distributed.barrier()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain."""
        return torch.optim.SGD(self.parameters(), 0.01)


class Friend(fulmen.Callback):
    """Raises in a callback's hook, and while a checkpoint is made."""

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Raises."""
        if os.environ["ACCIDENT"] == "callback" and trainer.global_rank == 1 and batch_idx == STEP:
            raise Accident("in a callback")

    def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: Any) -> None:
        """Raises, or takes long."""
        if os.environ["ACCIDENT"] == "save" and trainer.global_rank == 0:
            raise Accident("in a save")
        if os.environ["ACCIDENT"] == "slow" and trainer.global_rank == 0:
            time.sleep(float(os.environ["LIMIT_S"]) * 1.5)


def main() -> None:
    """Train."""
    torch.set_num_threads(1)
    accident, folder = os.environ["ACCIDENT"], Path(sys.argv[1])
    callbacks: list[Any] = [Friend()]
    if accident in ("save", "slow"):
        callbacks.append(ModelCheckpoint(folder / "saved", every_n_train_steps=BATCHES))
    if accident == "monitor" and os.environ.get("LOCAL_RANK") == "1":
        callbacks.append(ModelCheckpoint(folder / "saved", every_n_train_steps=STEP))
    trainer = fulmen.Trainer(
        max_epochs=1000 if accident == "interrupt" else 1,
        accelerator="cpu",
        devices=2,
        strategy=DDPStrategy(
            start_method=os.environ.get("START", "popen"),  # pyright: ignore[reportArgumentType]
            hang_timeout_s=float(os.environ["LIMIT_S"]),
        ),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=accident in ("save", "slow", "monitor"),
        logger=False,
        log_every_n_steps=1,
        callbacks=callbacks,
    )
    data = Data(torch.ones(2 * BATCHES, 2))
    trainer.fit(Model(), DataLoader(data, 1, num_workers=int(accident == "worker")))
    print("the script goes on")


if __name__ == "__main__":
    main()
