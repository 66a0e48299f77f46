"""Runs with random settings, written down in detail, for any framework with Lightning's API."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset


@dataclass
class Settings:
    """What a run is like. What Lightning is known to do in another way, on purpose or not, does not occur."""

    batches: int
    """In the train loader."""
    sized: bool
    val: list[int]
    """Batches in each validation loader."""
    reduction: str
    logs_validation_steps: bool
    skipped: int | None
    """The batch of each epoch that has no loss."""
    scheduler: tuple[str, str, int] | None
    """Kind, interval and frequency."""
    stop: tuple[int, int] | None
    """The epoch and batch after which the end is asked for."""
    method: str
    """What comes after the fit."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the Trainer."""


def random_settings(seed: int, count: int) -> Iterator[Settings]:
    """Always the same ones for a seed."""
    draw = random.Random(seed)
    for _ in range(count):
        yield _settings(draw)


def _settings(draw: random.Random) -> Settings:
    window = draw.choice([1, 1, 2, 3])
    batches = window * draw.randint(1, 7 // window)  # the last window of an epoch is whole
    sized = draw.random() < 0.8
    schedulers: list[Any] = [None, ("step", "epoch", 1), ("step", "epoch", 2), ("step", "step", 1)]
    schedulers += [("plateau", "epoch", 1), ("plateau", "step", 1)]
    settings = Settings(
        batches=batches,
        sized=sized,
        val=draw.choice([[], [1], [2], [1, 2], [3]]),
        reduction=draw.choice(["mean", "sum", "min", "max"]),
        logs_validation_steps=draw.random() < 0.3,
        skipped=draw.choice([None, None, None, 0, 1]),
        scheduler=draw.choice(schedulers + ([("step", "step", 2)] if window == 1 else [])),
        stop=draw.choice([None, (draw.randint(0, 2), draw.randint(0, batches - 1))]) if window == 1 else None,
        method=draw.choice(["validate", "test", "predict"]),
    )
    epochs = draw.choice([1, 2, 3])
    options = settings.options
    options |= {"max_epochs": epochs, "accumulate_grad_batches": window}
    options |= {
        "log_every_n_steps": draw.choice([1, 2, 3, 50]),
        "num_sanity_val_steps": draw.choice([0, 1, -1]),
    }
    if draw.random() < 0.25:
        options["max_steps"] = draw.choice([1, 2, 3, 5, 8])
    if draw.random() < 0.2:
        options["min_epochs"] = draw.randint(1, epochs)
    if draw.random() < 0.2:
        options["min_steps"] = draw.randint(1, options.get("max_steps", 4))
    if draw.random() < 0.25 and window == 1:
        fractions = [0.5, 0.75] if sized and batches > 1 else []
        batches = draw.choice([draw.randint(1, batches), *fractions, 1.0])
        options["limit_train_batches"] = batches
    if draw.random() < 0.25:
        options["limit_val_batches"] = draw.choice([0, 1, 2, 1.0])
    if draw.random() < 0.4 and "limit_train_batches" not in options:
        fractions = [0.25, 0.34, 0.5, 1.0] if sized else [1.0]
        options["val_check_interval"] = draw.choice([*range(1, settings.batches + 1), *fractions])
    if isinstance(options.get("val_check_interval"), int) and draw.random() < 0.3:
        options["check_val_every_n_epoch"] = None
    elif draw.random() < 0.2:
        options["check_val_every_n_epoch"] = draw.choice([2, 3])
    return settings


class Numbers(IterableDataset[Tensor]):
    """The numbers from `first` on, without a length."""

    def __init__(self, count: int, first: float) -> None:
        self.count, self.first = count, first

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.first + torch.arange(float(self.count)))


def _loader(count: int, first: float, *, sized: bool = True) -> DataLoader[Any]:
    numbers = Numbers(count, first)
    data: Any = list(numbers) if sized else numbers
    return DataLoader(data)


def _numbers(table: Any) -> dict[str, float]:
    return {name: round(float(table[name]), 5) for name in sorted(table)}


def run(settings: Settings, pl: ModuleType, logger_base: type, root: Path) -> dict[str, Any]:
    """What happened, in order, and what it came to."""
    notes: list[Any] = []
    rows: list[Any] = []

    class Rows(logger_base):
        name, version = "rows", 0

        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            rows.append([step, _numbers(metrics)])

        def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
            pass

    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(()))

        def note(self, what: str, *details: Any) -> None:
            notes.append([what, self.trainer.current_epoch, self.trainer.global_step, *details])

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            is_last = self.trainer.is_last_batch if settings.sized else None
            self.note("train", batch_idx, batch.item(), is_last, round(self.w.item(), 5))
            self.log("last", batch.item())
            self.log("both", batch.mean(), on_step=True, on_epoch=True, prog_bar=True)
            self.log("reduced", float(batch_idx), on_step=False, on_epoch=True, reduce_fx=settings.reduction)
            return None if batch_idx == settings.skipped else (self.w * batch).mean()

        def validation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.note("validate", batch_idx, dataloader_idx)
            self.log("val", batch.mean())
            if settings.logs_validation_steps:
                self.log("val_both", batch.mean(), on_step=True, on_epoch=True)

        test_step = validation_step

        def predict_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return [batch.item(), batch_idx, dataloader_idx]

        def on_train_epoch_start(self) -> None:
            self.note("epoch start")

        def on_train_epoch_end(self) -> None:
            self.note("epoch end")
            self.log("at_the_end", float(self.current_epoch))

        def on_train_end(self) -> None:
            self.note("train end")

        def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
            self.note("scheduler", None if metric is None else round(float(metric), 5))
            super().lr_scheduler_step(scheduler, metric)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.5)
            if settings.scheduler is None:
                return optimizer
            kind, interval, frequency = settings.scheduler
            schedule: dict[str, Any] = {"interval": interval, "frequency": frequency}
            if kind == "plateau":
                schedule["scheduler"] = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
                schedule |= {"monitor": "both", "strict": False}
            else:
                schedule["scheduler"] = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.9)
            return {"optimizer": optimizer, "lr_scheduler": schedule}

    class Looks(pl.Callback):
        def on_train_batch_end(
            self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            module.note("batch end", _numbers(trainer.callback_metrics))
            if (trainer.current_epoch, batch_idx) == settings.stop:
                trainer.should_stop = True

        def on_validation_end(self, trainer: Any, module: Any) -> None:
            if not trainer.sanity_checking:
                module.note("validation end", _numbers(trainer.callback_metrics))

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            module.note("epoch end", _numbers(trainer.callback_metrics))

    model = Model()
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=Rows(),
        callbacks=[Looks()],
        default_root_dir=root,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings.options,
    )
    val = [_loader(count, 10.0) for count in settings.val]
    trainer.fit(model, _loader(settings.batches, 1.0, sized=settings.sized), val or None)
    outcome = {
        "position": [trainer.current_epoch, trainer.global_step],
        "metrics": _numbers(trainer.callback_metrics),
        "logged": _numbers(trainer.logged_metrics),
        "weight": round(model.w.item(), 5),
        "rate": round(trainer.optimizers[0].param_groups[0]["lr"], 8),
        "lengths": [str(trainer.num_training_batches), *map(str, trainer.num_val_batches)],
    }
    if val and settings.method == "predict":
        outcome["returned"] = trainer.predict(model, val)
    elif val:
        outcome["returned"] = getattr(trainer, settings.method)(model, val, verbose=False)
    return {"settings": asdict(settings), "notes": notes, "rows": rows, **outcome}
