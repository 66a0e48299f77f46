"""The hooks that module and datamodule have in common: where data comes from, how it reaches the device."""

from __future__ import annotations

from typing import Any

import torch

from fulmen.base.seams import outer, understood_hook
from fulmen.base.tree import move
from fulmen.errors import UsageError


class DataHooks:
    """Both may define these; what a datamodule defines goes before what the module does."""

    prepare_data_per_node: bool = True
    """Whether `prepare_data` runs once on each node, instead of once in all."""

    def prepare_data(self) -> None:
        """Download and write files here; runs in one process, so set no state."""

    def setup(self, stage: str) -> None:
        """Build what depends on data; runs in every process. `stage` is fit, validate, test or predict."""

    def teardown(self, stage: str) -> None:
        """The run has ended, in whatever way."""

    def train_dataloader(self) -> Any:
        """What to train on: a loader, any iterable, or a nested collection of them."""
        return _from_others(self, "train")

    def val_dataloader(self) -> Any:
        """What to validate on: a loader or a list of them."""
        return _from_others(self, "val")

    def test_dataloader(self) -> Any:
        """What to test on: a loader or a list of them."""
        return _from_others(self, "test")

    def predict_dataloader(self) -> Any:
        """What to predict on: a loader or a list of them."""
        return _from_others(self, "predict")

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch while it is on the host."""
        return batch

    @understood_hook
    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Send a batch to the device; override for structures that are not collections of tensors."""
        return move(batch, device, non_blocking=True)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch once it is on the device."""
        return batch


def _from_others(owner: DataHooks, kind: str) -> Any:
    """What somebody else provides for who defines no loader; a `UsageError` where that is nothing."""
    name = f"{kind}_dataloader"
    if (found := outer().loaders(owner, kind)) is not None:
        return found
    raise UsageError(
        f"{type(owner).__name__} defines no `{name}`.",
        fix=f"define `{name}`, or hand a loader to the Trainer's method",
    )
