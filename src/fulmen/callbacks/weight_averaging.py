"""A second copy of the model with averaged weights: validated, saved, and kept at the end."""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from fulmen.core.callback import Callback

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer


class WeightAveraging(Callback):
    """Averages the weights after each optimizer step; override `should_update` to do so at other times.

    Validation looks at the average, a checkpoint's weights are the average, and so is the model when training
    has ended. Training itself, also one that is taken up, goes on with the weights as they are.

    Args:
        device: where the average is kept; None for the model's device.
        use_buffers: whether buffers are averaged too; else they are the newest ones.
        kwargs: of `torch.optim.swa_utils.AveragedModel`: `avg_fn` or `multi_avg_fn`.
    """

    def __init__(
        self, device: torch.device | str | int | None = None, use_buffers: bool = True, **kwargs: Any
    ) -> None:
        self._device = None if device is None else torch.device(device)
        self._use_buffers = use_buffers
        self._kwargs = kwargs
        self._average_model: AveragedModel | None = None
        self._latest_update_step = 0
        self._latest_update_epoch = -1
        self._is_swapped = False
        self._loaded: dict[str, Any] = {}
        """What a checkpoint says of the average, until there is one."""

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether to average after the optimizer step, or after the epoch, of this index."""
        return step_idx is not None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._average_model, self._loaded, self._is_swapped = None, {}, False
            self._latest_update_step, self._latest_update_epoch = (
                trainer.global_step,
                trainer.current_epoch - 1,
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        device = self._device or pl_module.device
        self._average_model = AveragedModel(
            pl_module, device=device, use_buffers=self._use_buffers, **self._kwargs
        )
        if self._loaded:
            self._average_model.module.load_state_dict(self._loaded["average"])
            self._average_model.n_averaged.copy_(self._loaded["n_averaged"])
            self._loaded = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step > self._latest_update_step and self.should_update(step_idx=step - 1):
            self._average.update_parameters(pl_module)
            self._latest_update_step = step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch
        if epoch > self._latest_update_epoch and self.should_update(epoch_idx=epoch):
            self._average.update_parameters(pl_module)
            self._latest_update_epoch = epoch

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module, to_average=True)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module, to_average=False)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._swap(pl_module, to_average=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with torch.no_grad():
            for average, own in self._pairs(pl_module):
                own.copy_(average)

    def state_dict(self) -> dict[str, Any]:
        return {
            "latest_update_step": self._latest_update_step,
            "latest_update_epoch": self._latest_update_epoch,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._latest_update_step = state_dict["latest_update_step"]
        self._latest_update_epoch = state_dict.get("latest_update_epoch", -1)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._average_model is None:
            return
        own, average = checkpoint["state_dict"], self._average_model.module.state_dict()
        if self._is_swapped:
            own, average = average, own
        checkpoint["state_dict"], checkpoint["current_model_state"] = average, own
        checkpoint["averaging_state"] = {"n_averaged": self._average_model.n_averaged}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == "fit" and "current_model_state" in checkpoint:
            pl_module.load_state_dict(checkpoint["current_model_state"])
            n_averaged = checkpoint["averaging_state"]["n_averaged"]
            self._loaded = {"average": checkpoint["state_dict"], "n_averaged": n_averaged}

    @property
    def _average(self) -> AveragedModel:
        assert self._average_model is not None
        return self._average_model

    def _pairs(self, module: LightningModule) -> Any:
        average = self._average.module
        return zip(
            chain(average.parameters(), average.buffers()),
            chain(module.parameters(), module.buffers()),
            strict=True,
        )

    def _swap(self, module: LightningModule, *, to_average: bool) -> None:
        """Exchange the values of the module and the average; nothing in runs that do not train."""
        if self._average_model is None or self._is_swapped is to_average:
            return
        with torch.no_grad():
            for average, own in self._pairs(module):
                value = average.to(own.device, copy=True)
                average.copy_(own)
                own.copy_(value)
        self._is_swapped = to_average

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._average_model = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_average_model": None, "_module": None}


class EMAWeightAveraging(WeightAveraging):
    """An exponential moving average of the weights, in which the past counts for `decay`.

    Averages after each `update_every_n_steps`-th optimizer step from `update_starting_at_step` on, and after
    each epoch from `update_starting_at_epoch` on, if that is given.
    """

    def __init__(
        self,
        device: torch.device | str | int | None = None,
        use_buffers: bool = True,
        decay: float = 0.999,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(device, use_buffers, avg_fn=partial(_follow, decay=decay), **kwargs)
        self.update_every_n_steps = update_every_n_steps
        self.update_starting_at_step = update_starting_at_step
        self.update_starting_at_epoch = update_starting_at_epoch

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if step_idx is not None and self.update_every_n_steps > 0:
            first = self.update_starting_at_step or 0
            if step_idx >= first and step_idx % self.update_every_n_steps == 0:
                return True
        if epoch_idx is None or self.update_starting_at_epoch is None:
            return False
        return epoch_idx >= self.update_starting_at_epoch


def _follow(average: Tensor, weight: Tensor, count: Tensor | int, *, decay: float) -> Tensor:
    """As `torch.optim.swa_utils.get_ema_avg_fn(decay)`, whose functions cannot be pickled."""
    return decay * average + (1 - decay) * weight
