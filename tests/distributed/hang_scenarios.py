"""A script that trains in two processes until one of them meets with the accident that a test asks for."""

from __future__ import annotations

import hashlib
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
from fulmen.runtime.watch import start
from fulmen.strategies import DDPStrategy

STEP = 3
"""Of the accident."""
SEEN_S = 1.2
"""Longer than from one report of where a process is to the next."""
BATCHES = 8
"""Of each rank."""
ROUNDS = 10**9
"""Of a hash: many minutes."""


class Accident(RuntimeError):
    """What a test lets happen."""


def compute(how_long_s: float) -> None:
    """In this thread."""
    end_s = time.monotonic() + how_long_s
    while time.monotonic() < end_s:
        pass


def backpropagate(how_long_s: float) -> None:
    """In a single call, of something that concerns nobody else."""
    begun_s = time.monotonic()
    product = weight = torch.full((500, 500), 1e-3, requires_grad=True)
    while time.monotonic() < begun_s + how_long_s / 2:
        product = product @ weight  # backward takes twice as long
    product.sum().backward()


class Data(TensorDataset):
    """Raises in a worker; takes long."""

    def __getitem__(self, index: int) -> Any:
        if get_worker_info() is not None and index == 2 * STEP + 1 and os.environ["ACCIDENT"] == "worker":
            raise Accident("in a worker")
        if index == 2 * STEP + 1 and os.environ["ACCIDENT"] == "slow":
            compute(float(os.environ["LIMIT_S"]))
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
            (Path(sys.argv[1]) / f"comes {self.global_rank}").touch()
            self.meet()
        if os.environ["ACCIDENT"] == "interrupt":
            (Path(sys.argv[1]) / f"trains {self.global_rank}").touch()
            time.sleep(0.1)
        loss = self.net(batch[0]).sum()
        if os.environ["ACCIDENT"] == "log" and (self.global_rank == 1 or batch_idx < STEP):
            self.log("loss", loss)
        return loss

    def meet(self) -> None:
        """The accident, if it is to happen to this rank; the other one waits by then."""
        accident = os.environ["ACCIDENT"]
        rank = int(os.environ.get("GUILTY", "1"))
        if self.global_rank != rank or not accident.startswith("step"):
            return
        while not (Path(sys.argv[1]) / f"comes {1 - rank}").exists():
            time.sleep(0.05)
        time.sleep(SEEN_S)
        if accident == "step raises":
            raise Accident("in the step")
        if accident == "step exits":
            os._exit(3)
        if accident == "step killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if accident == "step stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        if accident == "step barrier":
            self.trainer.strategy.barrier("of one rank")
        if accident == "step torch barrier":
            distributed.barrier()
        if accident == "step spins":
            spin_in_an_operation()
        if accident == "step blinds":
            blind_the_watch()
            time.sleep(float(os.environ["LIMIT_S"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain."""
        return torch.optim.SGD(self.parameters(), 0.01)


class SlowModel(Model):
    """On one rank; the other one waits for it, in one operation or another."""

    def meet(self) -> None:
        if self.global_rank == 1:
            time.sleep(float(os.environ["LIMIT_S"]))
        self.trainer.strategy.barrier("of both")
        if self.global_rank == 1:
            backpropagate(float(os.environ["LIMIT_S"]))
        self.trainer.strategy.barrier("of both")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0 and self.global_rank == 1:
            compute(float(os.environ["LIMIT_S"]))
        self.log("val_loss", self.net(batch[0]).sum())


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
            time.sleep(float(os.environ["LIMIT_S"]))


def spin_in_an_operation() -> None:
    """Wait for others as CUDA does, which keeps its processor busy meanwhile."""
    file = distributed.distributed_c10d.__file__
    names: dict[str, Any] = {"hashlib": hashlib}
    code = f"def all_reduce(): hashlib.pbkdf2_hmac('sha256', b'', b'', {ROUNDS})"
    exec(compile(code, file, "exec"), names)
    names["all_reduce"]()


def blind_the_watch() -> None:
    """Have its thread meet with an error that nobody has thought of."""
    watcher: Any = vars(start)["_watcher"]
    watcher._at = lambda: 1 // 0


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
        num_sanity_val_steps=0,
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
    scored = DataLoader(TensorDataset(torch.ones(4, 2)), 1) if accident == "slow" else None
    model = SlowModel() if accident == "slow" else Model()
    trainer.fit(model, DataLoader(data, 1, num_workers=int(accident == "worker")), scored)
    print("the script goes on")


if __name__ == "__main__":
    main()
