"""A training that hosts run: `training.py FOLDER [options]`. What came of it goes to FOLDER."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint
from fulmen.runtime.clusters import ClusterEnvironment
from fulmen.strategies import DDPStrategy

SAMPLES, SCORED = 48, 19
"""The second is odd: no number of processes divides it."""
GLOBAL_BATCH = 12
EPOCHS = 2
GLANCE_S = 0.05


class Model(pl.LightningModule):
    """Dropout draws random numbers, so that a run that does not go on exactly is seen."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Dropout(dropout), torch.nn.Linear(4, 1)
        )

    def loss(self, batch: Any) -> Tensor:
        return (self.layers(batch[0]) - batch[0].sum(1, keepdim=True)).square().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.02)


class Events(pl.Callback):
    """Lets the test see how far training is, and has happen to it what the test asks for."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, rank, folder = trainer.global_step, trainer.global_rank, self.options.folder
        done = {"size": trainer.world_size, "samples": batch[1].tolist()}
        (folder / f"rank {rank} did step {step}").write_text(json.dumps(done))
        while rank == 0 and step in self.options.hold and not (folder / f"goes on after {step}").exists():
            time.sleep(GLANCE_S)  # the others wait in the next step
        if [step, rank] == self.options.crash and not (folder / "crashed").exists():
            (folder / "crashed").touch()
            os.kill(os.getpid(), signal.SIGKILL)


class OwnCluster(ClusterEnvironment):
    """A cluster that nobody else knows: one process on each of its hosts."""

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_port(self) -> int:
        return 29507

    @property
    def main_address(self) -> str:
        return os.environ["CLUSTER_HOSTS"].split()[0]

    @staticmethod
    def detect() -> bool:
        return "CLUSTER_HOSTS" in os.environ

    def world_size(self) -> int:
        return len(os.environ["CLUSTER_HOSTS"].split())

    def global_rank(self) -> int:
        return os.environ["CLUSTER_HOSTS"].split().index(os.uname().nodename)

    def node_rank(self) -> int:
        return self.global_rank()

    def local_rank(self) -> int:
        return 0

    def set_world_size(self, size: int) -> None:
        pass

    def set_global_rank(self, rank: int) -> None:
        pass


def train(options: argparse.Namespace) -> dict[str, Any]:
    """What one process knows in the end."""
    torch.set_num_threads(1)
    pl.seed_everything(1, verbose=False)
    strategy: Any = "auto"
    if options.nodes * options.devices > 1:
        own = OwnCluster() if OwnCluster.detect() else None
        strategy = DDPStrategy(
            cluster_environment=own, hang_timeout_s=options.hang_timeout, start_method=options.start
        )
    trainer = pl.Trainer(
        accelerator="cpu", devices=options.devices, num_nodes=options.nodes, strategy=strategy,
        max_epochs=EPOCHS, default_root_dir=options.folder, num_sanity_val_steps=0, log_every_n_steps=1,
        enable_progress_bar=False, enable_model_summary=False, logger=False,
        callbacks=[ModelCheckpoint(options.folder / "saved", every_n_train_steps=2), Events(options)],
    )  # fmt: skip
    model = Model(options.dropout)
    x = torch.randn(SAMPLES + SCORED, 3, generator=torch.Generator().manual_seed(2))
    samples = TensorDataset(x[:SAMPLES], torch.arange(SAMPLES))
    loader = DataLoader(samples, GLOBAL_BATCH // (options.nodes * options.devices), shuffle=True)
    trainer.fit(model, loader, DataLoader(TensorDataset(x[SAMPLES:]), 4), ckpt_path="auto")
    return {
        "weights": torch.cat([weight.detach().flatten() for weight in model.parameters()]).tolist(),
        "val_loss": trainer.callback_metrics["val_loss"].item(),
        "steps": trainer.global_step,
        "rank": trainer.global_rank,
        "node": trainer.node_rank,
        "size": trainer.world_size,
        "host": os.uname().nodename,
    }


def parse(*arguments: str) -> argparse.Namespace:
    """The options of a training."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--hang-timeout", type=float, default=30.0)
    parser.add_argument("--start", default="popen")
    parser.add_argument("--hold", type=int, action="append", default=[], metavar="STEP")
    parser.add_argument("--crash", type=int, nargs=2, metavar=("STEP", "RANK"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    result = train(parse(*sys.argv[1:]))
    folder = Path(sys.argv[1])
    (folder / f"result {result['rank']}.json").write_text(json.dumps(result))
