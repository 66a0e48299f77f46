"""A training that jobs run: `training.py FOLDER NAME [options]`. What came of it goes to FOLDER."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.loggers import CSVLogger
from fulmen.runtime.clusters import SLURMEnvironment

SLOW_S = 1.7


class Model(pl.LightningModule):
    """Draws random numbers in each step, so that a run that does not go on exactly is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.layers(batch[0]).square().mean()
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.layers(batch[0]).square().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Watch(pl.Callback):
    """Tells the test when training is under way, and takes its time until the job is started again."""

    def __init__(self, note: Path, slow: bool) -> None:
        self.note = note
        self.slow = slow and not int(os.environ.get("SLURM_RESTART_COUNT", "0"))

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if self.slow and trainer.global_step > 2:
            self.note.touch()
            time.sleep(SLOW_S)


def digest(tensors: dict[str, torch.Tensor]) -> str:
    whole = hashlib.sha256()
    for name, tensor in tensors.items():
        whole.update(name.encode() + tensor.numpy().tobytes())
    return whole.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--devices", type=int)
    parser.add_argument("--nodes", type=int)
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--requeue-signal")
    parser.add_argument("--no-requeue", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pl.seed_everything(options.seed)

    plugins = None
    if options.requeue_signal or options.no_requeue:
        by = signal.Signals[options.requeue_signal] if options.requeue_signal else None
        plugins = [SLURMEnvironment(auto_requeue=not options.no_requeue, requeue_signal=by)]
    folder, name = options.folder, options.name
    sizes = {"devices": options.devices, "num_nodes": options.nodes}
    wanted: dict[str, Any] = {argument: size for argument, size in sizes.items() if size is not None}
    wanted |= {"logger": False if options.bare else CSVLogger(folder, name)}
    trainer = pl.Trainer(
        accelerator="cpu", strategy=options.strategy, max_epochs=2, default_root_dir=folder, plugins=plugins,
        callbacks=[Watch(folder / f"{name}.started", options.slow)], num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=3,
        enable_checkpointing=not options.bare, **wanted,
    )  # fmt: skip
    model = Model()
    data = TensorDataset(torch.randn(64, 4))
    trainer.fit(model, DataLoader(data, 4, shuffle=True), DataLoader(data, 16))
    result = {
        "weights": digest(model.state_dict()),
        "steps": trainer.global_step,
        "rank": trainer.global_rank,
        "size": trainer.world_size,
        "node": trainer.node_rank,
        "environment": type(trainer.strategy.environment).__name__,
    }
    (folder / f"{name}.{trainer.global_rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
