"""Changes how many batches make up one update, from epoch to epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fulmen.core.callback import Callback
from fulmen.errors import ConfigError

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer


class GradientAccumulationScheduler(Callback):
    """Accumulates over `scheduling[epoch]` batches from that epoch on: `{0: 8, 4: 4}` means 8, later 4.

    Epochs before the first one named accumulate over one batch.
    """

    def __init__(self, scheduling: Mapping[int, int]) -> None:
        if not isinstance(scheduling, Mapping) or not scheduling:
            raise ConfigError(
                "GradientAccumulationScheduler has nothing to go by.",
                received=repr(scheduling),
                expected="a dict from epoch to number of batches, such as {0: 8, 4: 4}",
            )
        for epoch, batches in scheduling.items():
            if not _is_whole(epoch, at_least=0) or not _is_whole(batches, at_least=1):
                raise ConfigError(
                    "GradientAccumulationScheduler cannot use one of its entries.",
                    received=f"{{{epoch!r}: {batches!r}}}",
                    expected="an epoch from 0 on, and at least 1 batch",
                )
        self.scheduling: dict[int, int] = {0: 1, **dict(sorted(scheduling.items()))}
        self._applied: int | None = None

    @property
    def epochs(self) -> list[int]:
        """The epochs in which the number may change."""
        return list(self.scheduling)

    def going_to_accumulate_grad_batches(self) -> bool:
        """Whether any epoch accumulates over more than one batch."""
        return any(batches > 1 for batches in self.scheduling.values())

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        """The number of batches in this epoch."""
        return self.scheduling[max(start for start in self.scheduling if start <= epoch)]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not pl_module.automatic_optimization:
            raise ConfigError(
                "GradientAccumulationScheduler has no effect with manual optimization.",
                fix="step the optimizer every n batches in training_step",
            )
        if trainer.accumulate_grad_batches not in (1, self._applied):
            raise ConfigError(
                "Both the Trainer and GradientAccumulationScheduler say how many batches to accumulate over.",
                received=f"Trainer(accumulate_grad_batches={trainer.accumulate_grad_batches})",
                fix="leave it to one of them",
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._apply(trainer)  # an epoch that is resumed in its middle does not start again

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._apply(trainer)

    def _apply(self, trainer: Trainer) -> None:
        self._applied = self.get_accumulate_grad_batches(trainer.current_epoch)
        trainer.accumulate_grad_batches = self._applied


def _is_whole(value: object, *, at_least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least
