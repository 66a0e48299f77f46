"""What every bar that is drawn has in common: which bars are open, how far they are, and when to draw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from fulmen.base.seams import understood_hook
from fulmen.callbacks.progress.progress_bar import ProgressBar
from fulmen.engine.states import RunningStage
from fulmen.errors import ConfigError

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer

_LEAST_INTERVAL_S = 0.1
_REST_PER_WORK = 100  # after drawing for a while, none for 100 times as long: at most 1% of a run
_SAVED_REST_S = 1.0  # rest taken beforehand that counts, so that a few drawings may follow each other


class Bar(ABC):
    """One bar of a display."""

    @abstractmethod
    def restart(self, description: str, total: float, done: int | None) -> None:
        """Begin again, under this label and with `done` batches behind; the next drawing shows it."""

    @abstractmethod
    def draw(self, done: int, metrics: Mapping[str, Any]) -> None:
        """Show that so many batches are done."""

    def finish(self, done: int, metrics: Mapping[str, Any]) -> None:
        """Show what stays: a pass over the data is over."""
        self.draw(done, metrics)

    @abstractmethod
    def pause(self, done: int) -> None:
        """From now on, time is spent on something else; so many batches are done."""

    @abstractmethod
    def resume(self) -> None:
        """Until now."""

    @abstractmethod
    def close(self) -> None:
        """Nothing comes any more."""


class DrawnProgressBar(ProgressBar, ABC):
    """Draws a bar for training and one for each evaluation, which is below the first during a fit.

    A drawing shows the state of its moment and the values of the last flush. There are at most ten per
    second, and they take at most 1% of the time: batches that come too fast are passed over. With
    `refresh_rate=n`, only every n-th batch may be drawn; 0 shows nothing. With `leave`, the bars of all
    epochs stay.
    """

    def __init__(self, refresh_rate: int = 1, leave: bool = False) -> None:
        super().__init__()
        if isinstance(refresh_rate, bool) or not isinstance(refresh_rate, int):
            raise ConfigError("`refresh_rate` is no number of batches.", received=repr(refresh_rate))
        self._refresh_rate = refresh_rate
        self._leave = leave
        self._training: Bar | None = None
        self._trained = 0
        self._evaluating: RunningStage | None = None
        self._evaluation: Bar | None = None
        self._evaluated = 0
        self._evaluated_before = 0
        self._due_s = inf
        self._affordable_s = 0.0

    @abstractmethod
    def _open(self, stage: RunningStage, *, stays: bool) -> Bar:
        """A new bar, below that of training if there is one; it `stays`, or is gone when it is closed."""

    @property
    def refresh_rate(self) -> int:
        """Only every n-th batch may be drawn, for this n; 0 shows nothing."""
        return self._refresh_rate

    @property
    def is_enabled(self) -> bool:
        return super().is_enabled and self._refresh_rate > 0

    def disable(self) -> None:
        super().disable()
        self._close()

    # ------------------------------------------------------------------------------------------ when and what

    def _draw(self, *, final: bool = False) -> None:
        """Draw what is under way, and set the clock."""
        started_s = monotonic()
        if self._evaluating is None:
            bar, done = self._training, self._trained
            metrics = self.get_metrics(self.trainer, self.trainer.lightning_module)
        else:
            bar, done, metrics = self._evaluation or self._open_evaluation(), self._evaluated, {}
        if bar is not None:
            (bar.finish if final else bar.draw)(done, metrics)
        ended_s = monotonic()
        rest_s = _REST_PER_WORK * (ended_s - started_s)
        self._affordable_s = max(self._affordable_s, started_s - _SAVED_REST_S) + rest_s
        self._due_s = max(ended_s + max(_LEAST_INTERVAL_S, rest_s), self._affordable_s)

    def _draw_change(self) -> None:
        """Draw sooner than the clock says: something has changed, and the next batch may take long."""
        if monotonic() >= self._affordable_s:
            self._draw()

    def _close(self) -> None:
        self._close_evaluation()
        if self._training is not None:
            self._training.close()
            self._training = None
        self._due_s = inf

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._close()

    # ----------------------------------------------------------------------------------------------- training

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.is_enabled:
            self._training = self._open(RunningStage.TRAINING, stays=True)
            # Here already, because an epoch that is resumed has no on_train_epoch_start.
            self._training.restart(_describe_epoch(trainer), self.total_train_batches, None)
            self._trained = 0
            self._due_s = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._training is None:
            return
        self._finish_epoch()
        if self._leave and self._trained:
            self._training.close()
            self._training = None  # the new one is to be below none
            self._training = self._open(RunningStage.TRAINING, stays=True)
        self._trained = 0
        self._training.restart(_describe_epoch(trainer), self.total_train_batches, 0)
        self._draw_change()

    def _finish_epoch(self) -> None:
        """Once the epoch's own values have been flushed, which is after `on_train_epoch_end`."""
        if self._trained and (self._leave or monotonic() >= self._affordable_s):
            self._draw(final=True)

    @understood_hook
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._trained = batch_idx + 1
        if monotonic() >= self._due_s and self._trained % self._refresh_rate == 0:
            self._draw()

    @understood_hook
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._training is not None:
            self._draw_change()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._training is not None and self._trained:
            self._draw(final=True)
        self._close()

    # --------------------------------------------------------------------------------------------- evaluation

    def _start_evaluation(self, stage: RunningStage) -> None:
        self._evaluated = self._evaluated_before = 0
        if not self.is_enabled:
            return
        if self._training is None:
            self._due_s = 0.0
        else:
            self._draw_change()
            self._training.pause(self._trained)
        self._evaluating = stage
        if monotonic() >= self._due_s:
            self._draw()

    def _open_evaluation(self) -> Bar:
        """Opened when it is first drawn: an evaluation that is over sooner costs nothing."""
        stage, trainer = self._evaluating, self.trainer
        assert stage is not None
        description, batches = {
            RunningStage.SANITY_CHECKING: (self.sanity_check_description, trainer.num_sanity_val_batches),
            RunningStage.VALIDATING: (self.validation_description, trainer.num_val_batches),
            RunningStage.TESTING: (self.test_description, trainer.num_test_batches),
            RunningStage.PREDICTING: (self.predict_description, trainer.num_predict_batches),
        }[stage]
        self._evaluation = self._open(stage, stays=self._evaluation_stays)
        self._evaluation.restart(description, sum(batches), self._evaluated)
        return self._evaluation

    @property
    def _evaluation_stays(self) -> bool:
        return self._training is None and self._evaluating is not RunningStage.SANITY_CHECKING

    def _note_evaluated(self, batch_idx: int, dataloader_idx: int) -> None:
        if self.has_dataloader_changed(dataloader_idx):
            self._evaluated_before = self._evaluated
        self._evaluated = self._evaluated_before + batch_idx + 1
        if monotonic() >= self._due_s and self._evaluated % self._refresh_rate == 0:
            self._draw()

    def _end_evaluation(self) -> None:
        self.reset_dataloader_idx_tracker()
        if self._evaluating is None:
            return
        if self._evaluation_stays:
            self._draw(final=True)
        self._close_evaluation()
        if self._training is None:
            self._due_s = inf
        else:
            self._draw_change()

    def _close_evaluation(self) -> None:
        if self._evaluation is not None:
            self._evaluation.close()
            self._evaluation = None
        if self._evaluating is not None and self._training is not None:
            self._training.resume()
        self._evaluating = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start_evaluation(
            RunningStage.SANITY_CHECKING if trainer.sanity_checking else RunningStage.VALIDATING
        )

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._note_evaluated(batch_idx, dataloader_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_evaluation()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start_evaluation(RunningStage.TESTING)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._note_evaluated(batch_idx, dataloader_idx)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_evaluation()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start_evaluation(RunningStage.PREDICTING)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._note_evaluated(batch_idx, dataloader_idx)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_evaluation()


def _describe_epoch(trainer: Trainer) -> str:
    """Such as "Epoch 0/9", from 0 on."""
    last = "" if trainer.max_epochs is None or trainer.max_epochs < 0 else f"/{trainer.max_epochs - 1}"
    return f"Epoch {trainer.current_epoch}{last}"
