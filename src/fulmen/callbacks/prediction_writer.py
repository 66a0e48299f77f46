"""Writes predictions somewhere while they are made."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from fulmen.core.callback import Callback
from fulmen.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer


class WriteInterval(str, Enum):
    """When predictions are written."""

    BATCH = "batch"
    EPOCH = "epoch"
    BATCH_AND_EPOCH = "batch_and_epoch"

    @property
    def on_batch(self) -> bool:
        """Whether each batch is written."""
        return self is not WriteInterval.EPOCH

    @property
    def on_epoch(self) -> bool:
        """Whether all of it is written at the end."""
        return self is not WriteInterval.BATCH


class BasePredictionWriter(Callback):
    """Override `write_on_batch_end`, `write_on_epoch_end` or both.

    Each process writes what it predicted itself. The batch indices say which samples of the data set these
    are; they are empty for loaders that do not draw samples by index.
    """

    def __init__(self, write_interval: str = "batch") -> None:
        choices = [interval.value for interval in WriteInterval]
        if write_interval not in choices:
            raise ConfigError(
                "The interval of a prediction writer is unknown.",
                received=repr(write_interval),
                expected=", ".join(map(repr, choices)),
                fix=did_you_mean(str(write_interval), choices),
            )
        self.interval = WriteInterval(write_interval)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write what `predict_step` returned for one batch."""
        raise _not_overridden(self, "write_on_batch_end")

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any] | None,
    ) -> None:
        """Write what `predict_step` returned for all batches; one list per loader where there are several."""
        raise _not_overridden(self, "write_on_epoch_end")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.interval.on_epoch:
            trainer.predict_loop.keep = True  # also where `predict` itself is to return nothing

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.interval.on_batch:
            indices = trainer.predict_loop.current_batch_indices
            self.write_on_batch_end(trainer, pl_module, outputs, indices, batch, batch_idx, dataloader_idx)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.interval.on_epoch:
            loop = trainer.predict_loop
            predictions = loop.predictions[0] if len(loop.predictions) == 1 else loop.predictions
            self.write_on_epoch_end(trainer, pl_module, predictions, loop.epoch_batch_indices)


def _not_overridden(writer: BasePredictionWriter, method: str) -> NotImplementedError:
    return NotImplementedError(
        f"{type(writer).__name__}(write_interval={writer.interval.value!r}) has no `{method}`."
    )
