"""Stochastic weight averaging: the mean of the weights that a constant learning rate wanders through.

P. Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization" (2018).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import SWALR

from fulmen.base.report import info, warn
from fulmen.base.seams import understood
from fulmen.core.callback import Callback
from fulmen.core.optimizers import LRSchedulerConfig
from fulmen.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer

AverageFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
"""The new average, from the old one, the weights, and how many there are in the old one."""


class StochasticWeightAveraging(Callback):
    """Averages the weights that the last epochs begin with; they are the model's when `max_epochs` are over.

    From epoch `swa_epoch_start` on (counted from 1, or a share of all) the learning rate goes to `swa_lrs`
    within `annealing_epochs`, in place of what the scheduler does. At the end, batch norm is measured anew in
    a pass over the train data.

    Args:
        swa_lrs: the learning rate, or one for each group of the optimizer; None for those that it has.
        annealing_strategy: "cos" or "linear".
        avg_fn: how weights are averaged; by default, all count the same.
        device: where the average is kept; None for the model's device.
    """

    @understood
    def __init__(
        self,
        swa_lrs: float | list[float] | None,
        swa_epoch_start: int | float = 0.8,
        annealing_epochs: int = 10,
        annealing_strategy: str = "cos",
        avg_fn: AverageFunction | None = None,
        device: torch.device | str | None = torch.device("cpu"),  # noqa: B008
    ) -> None:
        rates = swa_lrs if isinstance(swa_lrs, list) else [swa_lrs]
        if swa_lrs is not None and not (rates and all(isinstance(r, (int, float)) and r > 0 for r in rates)):
            raise ConfigError(
                "`swa_lrs` is no learning rate.",
                received=repr(swa_lrs),
                expected="a positive number, or a list",
            )
        whole = isinstance(swa_epoch_start, int)
        if not (swa_epoch_start >= 1 if whole else 0 <= swa_epoch_start <= 1):
            raise ConfigError(
                "`swa_epoch_start` is no epoch.",
                received=repr(swa_epoch_start),
                expected="a whole number from 1 on, or a share from 0.0 to 1.0",
            )
        if annealing_strategy not in ("cos", "linear") or annealing_epochs < 0:
            raise ConfigError(
                "The learning rate cannot be annealed so.",
                received=f"{annealing_strategy!r} in {annealing_epochs} epochs",
                expected="'cos' or 'linear', in 0 epochs or more",
            )
        if avg_fn is not None and not callable(avg_fn):
            raise ConfigError("`avg_fn` cannot be called.", received=repr(avg_fn))
        self._swa_lrs = swa_lrs
        self._swa_epoch_start = swa_epoch_start
        self._annealing_epochs = annealing_epochs
        self._annealing_strategy = annealing_strategy
        self._avg_fn = avg_fn or self.avg_fn
        self._device = None if device is None else torch.device(device)
        self._max_epochs = 0
        self._average: dict[str, Tensor] = {}
        self._n_averaged = 0
        self._latest_update_epoch = -1
        self._scheduler: SWALR | None = None
        self._scheduler_state: dict[str, Any] | None = None
        self._former: list[LRSchedulerConfig] = []
        """The module's own schedulers, once they are replaced."""

    @staticmethod
    def avg_fn(averaged_model_parameter: Tensor, model_parameter: Tensor, num_averaged: Tensor) -> Tensor:
        """The mean of all."""
        return averaged_model_parameter + (model_parameter - averaged_model_parameter) / (num_averaged + 1)

    @property
    def swa_start(self) -> int:
        """The index of the first epoch whose weights count."""
        if isinstance(self._swa_epoch_start, float):
            return max(int(self._max_epochs * self._swa_epoch_start) - 1, 0)
        return max(self._swa_epoch_start - 1, 0)

    @property
    def swa_end(self) -> int:
        """The index of the last one."""
        return self._max_epochs - 1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._average, self._n_averaged, self._latest_update_epoch = {}, 0, -1
            self._scheduler, self._scheduler_state, self._former = None, None, []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.max_epochs is None or trainer.max_epochs < 0:
            raise UsageError(
                "StochasticWeightAveraging has to know the last epoch.", fix="Trainer(max_epochs=...)"
            )
        optimizers, schedulers = trainer.optimizers, trainer.lr_scheduler_configs
        if len(optimizers) != 1 or len(schedulers) > 1:
            raise UsageError(
                "StochasticWeightAveraging works with one optimizer and one learning-rate scheduler.",
                received=f"{len(optimizers)} and {len(schedulers)}",
            )
        groups = len(optimizers[0].param_groups)
        if self._swa_lrs is None:
            self._swa_lrs = [group["lr"] for group in optimizers[0].param_groups]
        if isinstance(self._swa_lrs, list) and len(self._swa_lrs) != groups:
            raise UsageError(
                "`swa_lrs` does not fit the optimizer.",
                received=f"{len(self._swa_lrs)} learning rates",
                expected=f"one, or {groups}",
            )
        self._max_epochs = trainer.max_epochs
        if self._scheduler_state is not None:
            self._replace_scheduler(trainer).load_state_dict(self._scheduler_state)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch
        if not self.swa_start <= epoch <= self.swa_end:
            return
        if self._scheduler is None:
            self._replace_scheduler(trainer)
        if epoch > self._latest_update_epoch:
            self._update(pl_module)
            self._latest_update_epoch = epoch

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._n_averaged:
            return
        if trainer.current_epoch <= self.swa_end:
            info("Training ended before its last epoch: the average of the weights is not used.")
            return
        with torch.no_grad():
            for name, parameter in pl_module.named_parameters():
                parameter.copy_(self._average[name])
        if any(isinstance(part, _BatchNorm) for part in pl_module.modules()):
            measure_batch_norm(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        scheduler = self._scheduler_state if self._scheduler is None else self._scheduler.state_dict()
        return {
            "n_averaged": self._n_averaged,
            "latest_update_epoch": self._latest_update_epoch,
            "scheduler_state": scheduler,
            "average_model_state": dict(self._average) or None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._n_averaged = state_dict["n_averaged"]
        self._latest_update_epoch = state_dict["latest_update_epoch"]
        self._scheduler_state = state_dict["scheduler_state"]
        self._average = dict(state_dict["average_model_state"] or {})

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._scheduler is not None and "lr_schedulers" in checkpoint:  # those that the next run makes
            checkpoint["lr_schedulers"] = [config.scheduler.state_dict() for config in self._former]

    def _replace_scheduler(self, trainer: Trainer) -> SWALR:
        schedulers = trainer.lr_scheduler_configs
        self._former = list(schedulers)
        for config in self._former:
            info(f"{type(config.scheduler).__name__} gives way to stochastic weight averaging.")
            if (config.interval, config.frequency) != ("epoch", 1):
                warn("Stochastic weight averaging changes the learning rate once per epoch.")
        self._scheduler = SWALR(
            trainer.optimizers[0],
            self._swa_lrs,  # pyright: ignore[reportArgumentType]  # a list is fine
            anneal_epochs=self._annealing_epochs,
            anneal_strategy=self._annealing_strategy,  # pyright: ignore[reportArgumentType]
        )
        schedulers[:] = [LRSchedulerConfig(self._scheduler)]
        return self._scheduler

    def _update(self, module: LightningModule) -> None:
        count = torch.tensor(self._n_averaged)
        for name, parameter in module.named_parameters():
            weight = parameter.detach().to(self._device or parameter.device, copy=True)
            if self._n_averaged:
                average = self._average[name].to(weight.device)
                weight = self._avg_fn(average, weight, count.to(weight.device))
            self._average[name] = weight
        self._n_averaged += 1

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_scheduler": None, "_former": [], "_module": None, "_scheduler_state": None}


def measure_batch_norm(trainer: Trainer, module: LightningModule) -> None:
    """Set the running statistics of batch norm to the mean over a pass of the train data."""
    measurement = _Measurement()
    trainer.rehearsal.go(None, measurement, learns=False)
    parts = dict(module.named_modules())
    for (path, name), value in measurement.found.items():
        shared = value if not value.is_floating_point() else trainer.strategy.reduce(value)
        parts[path].get_buffer(name).copy_(shared)


class _Measurement(Callback):
    """Begins with the statistics anew, and notes what they are at the end."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for _, part in _batch_norms(pl_module):
            part.reset_running_stats()
            part.momentum = None  # the plain mean of all batches

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for path, part in _batch_norms(pl_module):
            self.found |= {(path, name): value.clone() for name, value in part.named_buffers(recurse=False)}


def _batch_norms(module: nn.Module) -> list[tuple[str, _BatchNorm]]:
    """Those that keep statistics."""
    parts = [(path, part) for path, part in module.named_modules() if isinstance(part, _BatchNorm)]
    return [(path, part) for path, part in parts if part.running_mean is not None]
