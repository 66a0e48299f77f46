"""A training to be killed: python tools/killed_training.py CONFIGURATION FOLDER

Started again after a kill, in the same folder, it goes on by itself; nothing else is told to it. It keeps a
journal of all that it does, and when it has come to its end, writes what it came to into a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo  # the first step of an optimizer imports it; in a process that forks, once for all
from torch import Tensor, nn
from torch.optim.lr_scheduler import ExponentialLR, OneCycleLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, WeightedRandomSampler

import fulmen as pl
from fulmen.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from fulmen.loggers import CSVLogger
from fulmen.precision import MixedPrecision

JOURNAL, RESULT, CHECKPOINTS, LOGS = "journal.txt", "result.json", "checkpoints", "logs"
PIXELS, CLASSES = 64, 10


# ------------------------------------------------------------------------------------------------------- data


def make_image(index: int) -> tuple[Tensor, int]:
    """An image of one of ten kinds, always the same for an index."""
    kind = index % CLASSES
    image = torch.sin(torch.arange(PIXELS) * (0.2 + 0.1 * kind)) + 0.3 * torch.cos(
        torch.arange(PIXELS) * index
    )
    return image, kind


class Images(Dataset[dict[str, Any]]):
    """Images, each time with another shift, brightness and noise, drawn from every kind of generator."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.generator = np.random.default_rng(1)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, kind = make_image(index)
        image = torch.roll(image, random.randint(-3, 3)) * (0.8 + 0.4 * np.random.rand())
        noise = torch.randn(PIXELS) * (0.1 + 0.1 * self.generator.random())
        return {"x": image + noise, "y": kind, "index": index}


class ImageStream(IterableDataset[dict[str, Any]]):
    """Images in an order drawn one by one; it knows where it stands."""

    def __init__(self, count: int) -> None:
        self.images = Images(count)
        self.generator = torch.Generator().manual_seed(3)
        self.left = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.left = self.left or self.images.count
        while self.left:
            self.left -= 1
            yield self.images[int(torch.randint(self.images.count, (), generator=self.generator))]

    def state_dict(self) -> dict[str, Any]:
        noise = self.images.generator.bit_generator.state
        return {"left": self.left, "order": self.generator.get_state(), "noise": noise}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.left = state["left"]
        self.generator.set_state(state["order"])
        self.images.generator.bit_generator.state = state["noise"]


class DrawnOneByOne(Sampler[int]):
    """Each index is drawn when it is asked for, from those that are left."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        left = list(range(self.count))
        while left:
            yield left.pop(random.randrange(len(left)))


def mixed_up(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """A batch in which each image has a little of another one."""
    batch = torch.utils.data.default_collate(samples)
    share = 0.2 * np.random.beta(0.4, 0.4)
    return batch | {"x": (1 - share) * batch["x"] + share * batch["x"][torch.randperm(len(samples))]}


def validation_data() -> DataLoader:
    return DataLoader(Images(40), batch_size=10, shuffle=True)


# ------------------------------------------------------------------------------------------------------- nets


class Recorded(pl.LightningModule):
    """Writes each batch into the journal, before it is trained on."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.journal = os.open(folder / JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(self.journal, b"start\n")

    def on_train_epoch_end(self) -> None:
        self.note("epoch", 0, None)

    def note(self, kind: str, batch_idx: int, batch: Any, *values: Tensor | None) -> None:
        line = [kind, self.current_epoch, self.global_step, batch_idx, *map(digest, (batch, *values))]
        os.write(self.journal, (" ".join(map(str, line)) + "\n").encode())


class Classifier(Recorded):
    """A small net with dropout and batch norm."""

    def __init__(self, folder: Path, schedule: str) -> None:
        super().__init__(folder)
        self.schedule = schedule
        self.net = nn.Sequential(
            nn.Linear(PIXELS, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, CLASSES)
        )

    def loss_of(self, batch: Any) -> Tensor:
        parts = list(batch.values()) if "x" not in batch else [batch]
        x, y = (torch.cat([part[name] for part in parts]) for name in ("x", "y"))
        return nn.functional.cross_entropy(self.net(x), y)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss_of(batch)
        self.note("train", batch_idx, batch, loss)
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log("least", loss, on_step=False, on_epoch=True, reduce_fx="min")
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = self.loss_of(batch)
        if not self.trainer.sanity_checking:
            self.note("validate", batch_idx, batch, loss)
        self.log("val_loss", loss)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.005)
        if self.schedule == "cycle":
            scheduler = OneCycleLR(optimizer, 0.01, total_steps=int(self.trainer.estimated_stepping_batches))
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]
        scheduler = ReduceLROnPlateau(optimizer, patience=0, factor=0.7)
        return [optimizer], [{"scheduler": scheduler, "monitor": "val_loss"}]


class Rivals(Recorded):
    """One net makes images, the other tells them from real ones; trained by hand."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.automatic_optimization = False
        self.maker = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, PIXELS))
        self.judge = nn.Sequential(nn.Linear(PIXELS, 32), nn.LeakyReLU(), nn.Dropout(0.3), nn.Linear(32, 1))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        judges, makers = self.optimizers()
        made = self.maker(torch.randn(len(batch["x"]), 8))
        judged = (
            torch.relu(1 - self.judge(batch["x"])).mean() + torch.relu(1 + self.judge(made.detach())).mean()
        )
        self.step(judges, judged)
        fooled = None
        if batch_idx % 2:
            fooled = -self.judge(made).mean()
            self.step(makers, fooled)
            self.log("fooled", fooled, on_step=True, on_epoch=True)
        self.log("judged", judged, on_step=True, on_epoch=True)
        self.note("train", batch_idx, batch, made, judged, fooled)

    def step(self, optimizer: Any, loss: Tensor) -> None:
        self.toggle_optimizer(optimizer)
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimizer, gradient_clip_val=1.0)
        optimizer.step()
        self.untoggle_optimizer(optimizer)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        for scheduler in self.lr_schedulers():  # pyright: ignore[reportGeneralTypeIssues, reportOptionalIterable]
            scheduler.step()

    def configure_optimizers(self) -> Any:
        optimizers = [torch.optim.Adam(net.parameters(), lr=0.002) for net in (self.judge, self.maker)]
        return optimizers, [ExponentialLR(optimizer, 0.9) for optimizer in optimizers]


class Average(pl.Callback):
    """A moving average of the weights."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        for name, weight in pl_module.named_parameters():
            new = weight.detach()
            self.weights[name] = new.lerp(self.weights[name], 0.9) if name in self.weights else new.clone()

    def state_dict(self) -> dict[str, Any]:
        return dict(self.weights)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.weights = dict(state_dict)


# --------------------------------------------------------------------------------------------- configurations


def workers(folder: Path) -> dict[str, Any]:
    """Persistent workers, augmentation in them, accumulation that the epoch's length is no multiple of."""
    loader = DataLoader(
        Images(170), batch_size=10, shuffle=True, num_workers=2, persistent_workers=True, collate_fn=mixed_up
    )
    return {
        "model": Classifier(folder, "plateau"),
        "data": (loader, validation_data()),
        "options": {"accumulate_grad_batches": 3, "max_epochs": 5, "log_every_n_steps": 2},
    }


def half(folder: Path) -> dict[str, Any]:
    """Scaled half precision with overflows, a schedule per step, clipping, validation within epochs."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**15, growth_interval=3)
    loader = DataLoader(
        Images(200), batch_size=10, sampler=WeightedRandomSampler([1.0 + i % 3 for i in range(200)], 200)
    )
    return {
        "model": Classifier(folder, "cycle"),
        "data": (loader, validation_data()),
        "options": {
            "plugins": MixedPrecision("16-mixed", "cpu", scaler),
            "gradient_clip_val": 0.5,
            "val_check_interval": 7,
            "max_epochs": 4,
            "log_every_n_steps": 1,
        },
    }


def rivals(folder: Path) -> dict[str, Any]:
    """Two optimizers and schedulers by hand, no validation, an order that is drawn index by index."""
    loader = DataLoader(Images(200), batch_size=8, sampler=DrawnOneByOne(200))
    return {
        "model": Rivals(folder),
        "data": (loader, None),
        "options": {"max_epochs": 4, "log_every_n_steps": 3},
    }


def combined(folder: Path) -> dict[str, Any]:
    """Two loaders of different lengths, one of them in a worker; it ends by early stopping or late."""
    both = {
        "long": DataLoader(Images(180), batch_size=10, shuffle=True, num_workers=1),
        "short": DataLoader(
            Images(50), batch_size=5, shuffle=True, generator=torch.Generator().manual_seed(4)
        ),
    }
    return {
        "model": Classifier(folder, "plateau"),
        "data": (pl.CombinedLoader(both, "max_size_cycle"), validation_data()),
        "options": {"val_check_interval": 0.5, "max_epochs": 5, "log_every_n_steps": 4},
        "patience": 4,
    }


def stream(folder: Path) -> dict[str, Any]:
    """An iterable data set with a state, bfloat16, windows of two."""
    return {
        "model": Classifier(folder, "cycle"),
        "data": (DataLoader(ImageStream(200), batch_size=8), validation_data()),
        "options": {
            "precision": "bf16-mixed",
            "accumulate_grad_batches": 2,
            "limit_train_batches": 25,
            "max_epochs": 4,
            "log_every_n_steps": 1,
        },
    }


CONFIGURATIONS = {make.__name__: make for make in (workers, half, rivals, combined, stream)}


# ------------------------------------------------------------------------------------------------------- main


def digest(value: Any) -> str:
    """A few letters that change with any bit of the value."""
    return hashlib.sha256(repr(plain(value)).encode()).hexdigest()[:12]


def plain(value: Any) -> Any:
    """The same without tensors and arrays."""
    if isinstance(value, Tensor):
        content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return str(value.dtype), tuple(value.shape), content
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def main(configuration: str, folder: Path) -> None:
    """Train to the end, from wherever an earlier process was killed."""
    torch.set_num_threads(1)
    pl.seed_everything(42, workers=True, verbose=False)
    made = CONFIGURATIONS[configuration](folder)
    module, options = made["model"], made["options"]
    validated = made["data"][1] is not None
    monitored = "val_loss" if validated else "judged_epoch"
    callbacks: list[pl.Callback] = [
        Average(),
        LearningRateMonitor(),
        EarlyStopping(monitored, patience=made.get("patience", 9)),
        ModelCheckpoint(folder / CHECKPOINTS, every_n_train_steps=4, save_last=True),
        ModelCheckpoint(folder / "best", monitor=monitored, save_top_k=2, filename="{epoch}-{step}"),
    ]
    trainer = pl.Trainer(
        **options,
        accelerator="cpu",
        logger=CSVLogger(folder / LOGS, name="", version="run"),
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, *made["data"], ckpt_path="auto")
    numpy_state: Any = np.random.get_state()
    result = {
        "weights": module.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "precision": trainer.precision_plugin.state_dict(),
        "metrics": trainer.callback_metrics,
        "steps": [trainer.global_step, trainer.current_epoch],
        "python": random.getstate(),
        "numpy": [numpy_state[1].tolist(), *numpy_state[2:]],
        "torch": torch.get_rng_state(),
        **{c.state_key.split("{")[0] + str(i): c.state_dict() for i, c in enumerate(callbacks)},
    }
    temporary = folder / f"{RESULT}.tmp"
    temporary.write_text(
        json.dumps({name: digest(relative(value, folder)) for name, value in result.items()})
    )
    temporary.replace(folder / RESULT)


def relative(value: Any, folder: Path) -> Any:
    """The same, with paths as seen from the folder."""
    if isinstance(value, str):
        return value.replace(str(folder), "")
    if isinstance(value, dict):
        return {relative(key, folder): relative(item, folder) for key, item in value.items()}
    return [relative(item, folder) for item in value] if isinstance(value, (list, tuple)) else value


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
