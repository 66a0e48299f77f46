"""A module, a callback and a datamodule that write down every hook call, and a Trainer to run them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

import fulmen as pl

Class = TypeVar("Class", bound=type)

SHARED_HOOKS = (
    "on_fit_start",
    "on_fit_end",
    "on_train_start",
    "on_train_end",
    "on_train_epoch_start",
    "on_train_epoch_end",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_before_zero_grad",
    "on_save_checkpoint",
    "on_load_checkpoint",
    *(
        f"on_{stage}_{moment}"
        for stage in ("validation", "test", "predict")
        for moment in ("start", "end", "epoch_start", "epoch_end", "batch_start", "batch_end")
    ),
)
MODULE_HOOKS = (
    *SHARED_HOOKS,
    "configure_callbacks",
    "configure_model",
    "prepare_data",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
    "backward",
    "optimizer_step",
    "optimizer_zero_grad",
    "configure_gradient_clipping",
    "clip_gradients",
    "lr_scheduler_step",
    "on_validation_model_zero_grad",
    "on_validation_model_eval",
    "on_validation_model_train",
    "on_test_model_eval",
    "on_test_model_train",
    "on_predict_model_eval",
)
CALLBACK_HOOKS = (*SHARED_HOOKS, "on_sanity_check_start", "on_sanity_check_end", "on_exception")
DATAMODULE_HOOKS = ("prepare_data", "on_exception")
TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def recording(prefix: str, hooks: Iterable[str]) -> Callable[[Class], Class]:
    """Class decorator: each of the hooks notes `prefix.hook`, then does what the parent does."""

    def override(cls: type, hook: str) -> None:
        parent = getattr(cls, hook)

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            self.calls.append(f"{prefix}.{hook}")
            return parent(self, *args, **kwargs)

        method.__name__ = hook
        method.__signature__ = inspect.signature(parent)  # type: ignore[attr-defined]
        setattr(cls, hook, method)

    def decorate(cls: Class) -> Class:
        for hook in hooks:
            override(cls, hook)
        return cls

    return decorate


@recording("M", MODULE_HOOKS)
class RecordingModule(pl.LightningModule):
    """One linear layer that learns to output zero; plain SGD and a StepLR."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__()
        self.calls = calls
        self.layer = torch.nn.Linear(2, 1)

    def setup(self, stage: str) -> None:
        self.calls.append(f"M.setup {stage_name(stage)}")

    def teardown(self, stage: str) -> None:
        self.calls.append(f"M.teardown {stage_name(stage)}")

    def configure_optimizers(self) -> Any:
        self.calls.append("M.configure_optimizers")
        return self.make_optimizers()

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
        self.calls.append("M.training_step")
        return self.train_on(batch, batch_idx)

    def validation_step(self, batch: torch.Tensor, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.calls.append("M.validation_step")
        return self.validate_on(batch, batch_idx)

    def test_step(self, batch: torch.Tensor, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.calls.append("M.test_step")

    def predict_step(self, batch: torch.Tensor, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.calls.append("M.predict_step")
        return dataloader_idx, batch_idx

    def make_optimizers(self) -> Any:
        """What `configure_optimizers` returns; for a subclass to replace."""
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)]

    def train_on(self, batch: torch.Tensor, batch_idx: int) -> Any:
        """What `training_step` returns; for a subclass to replace."""
        return self.loss(batch)

    def validate_on(self, batch: torch.Tensor, batch_idx: int) -> Any:
        """What `validation_step` returns; for a subclass to replace."""
        return self.loss(batch)

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        """Mean of the squared outputs."""
        return self.layer(batch).pow(2).mean()


@recording("C", CALLBACK_HOOKS)
class RecordingCallback(pl.Callback):
    """Notes every hook of a callback; has a state, so that it is saved and restored."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__()
        self.calls = calls

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.calls.append(f"C.setup {stage_name(stage)}")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.calls.append(f"C.teardown {stage_name(stage)}")

    def state_dict(self) -> dict[str, Any]:
        self.calls.append("C.state_dict")
        return {"kept": 1}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert state_dict == {"kept": 1}
        self.calls.append("C.load_state_dict")


@recording("D", DATAMODULE_HOOKS)
class RecordingData(pl.LightningDataModule):
    """Batches of one sample; the number of batches per loader is given per stage."""

    def __init__(
        self,
        calls: list[str],
        *,
        train: int = 2,
        val: int | tuple[int, ...] = 1,
        test: int | tuple[int, ...] = 1,
        predict: int | tuple[int, ...] = 1,
    ) -> None:
        super().__init__()
        self.calls = calls
        self.n_batches = {"train": train, "val": val, "test": test, "predict": predict}

    def setup(self, stage: str) -> None:
        self.calls.append(f"D.setup {stage_name(stage)}")

    def teardown(self, stage: str) -> None:
        self.calls.append(f"D.teardown {stage_name(stage)}")

    def train_dataloader(self) -> Any:
        self.calls.append("D.train_dataloader")
        return self.loaders("train")

    def val_dataloader(self) -> Any:
        self.calls.append("D.val_dataloader")
        return self.loaders("val")

    def test_dataloader(self) -> Any:
        self.calls.append("D.test_dataloader")
        return self.loaders("test")

    def predict_dataloader(self) -> Any:
        self.calls.append("D.predict_dataloader")
        return self.loaders("predict")

    def state_dict(self) -> dict[str, Any]:
        self.calls.append("D.state_dict")
        return {"kept": 2}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert state_dict == {"kept": 2}
        self.calls.append("D.load_state_dict")

    def loaders(self, split: str) -> Any:
        """One loader, or a list of them where the split was given as a tuple."""
        n_batches = self.n_batches[split]
        if isinstance(n_batches, tuple):
            return [loader_of(n) for n in n_batches]
        return loader_of(n_batches)


def loader_of(n_batches: int) -> DataLoader:
    """Batches of one sample of two ones."""
    samples: Any = torch.ones(n_batches, 2)  # a tensor is as good as a Dataset
    return DataLoader(samples, batch_size=1)


def make_trainer(
    calls: list[str], root: Path, *, callbacks: Iterable[pl.Callback] = (), **options: Any
) -> pl.Trainer:
    """A quiet Trainer of one epoch without sanity check and checkpoints; `options` replace these defaults."""
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 1,
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": root,
    }
    return pl.Trainer(callbacks=[RecordingCallback(calls), *callbacks], **{**quiet, **options})


def stage_name(stage: Any) -> str:
    """`fit`, `validate`, `test` or `predict`, also where the stage is a string enum."""
    return str(getattr(stage, "value", stage))
