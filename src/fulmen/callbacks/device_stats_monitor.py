"""Log load and memory of the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.base.extras import require
from fulmen.core.callback import Callback
from fulmen.engine.states import TrainerFn
from fulmen.errors import ConfigError
from fulmen.runtime.device import CPUAccelerator

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer


class DeviceStatsMonitor(Callback):
    """Logs the statistics of rank 0's device at the start and the end of each `log_every_n_steps`-th batch.

    Those of the processor too with `cpu_stats`, and by default where it is the device; they need psutil.
    """

    def __init__(self, cpu_stats: bool | None = None) -> None:
        self._cpu_stats = cpu_stats

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not trainer.loggers:
            raise ConfigError("DeviceStatsMonitor has no logger to write to.", fix="Trainer(logger=True)")
        if self._wants_cpu(trainer):
            require("psutil", extra="psutil")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._log("on_train_batch_start", trainer, trainer.logger_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._log("on_train_batch_end", trainer, trainer.logger_step)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._log("on_validation_batch_start", trainer, batch_idx)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._log("on_validation_batch_end", trainer, batch_idx)

    def on_test_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._log("on_test_batch_start", trainer, batch_idx)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._log("on_test_batch_end", trainer, batch_idx)

    def _wants_cpu(self, trainer: Trainer) -> bool:
        return trainer.accelerator.name == "cpu" if self._cpu_stats is None else self._cpu_stats

    def _log(self, hook: str, trainer: Trainer, index: int) -> None:
        every = trainer.log_every_n_steps
        if not every or (index + 1) % every or trainer.sanity_checking or not trainer.is_global_zero:
            return
        device = trainer.strategy.root_device
        stats = {} if trainer.accelerator.name == "cpu" else trainer.accelerator.stats(device)
        if self._wants_cpu(trainer):
            stats = stats | CPUAccelerator().stats(device)
        step = trainer.logger_step if trainer.state.fn is TrainerFn.FITTING else trainer.global_step
        for logger in trainer.loggers if stats else ():
            prefix = f"{type(self).__qualname__}.{hook}{logger.group_separator}"
            logger.log_metrics({prefix + name: value for name, value in stats.items()}, step)
