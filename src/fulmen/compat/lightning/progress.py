"""Progress bars by the names and attributes that they had up to 1.9, and the loss that they showed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from fulmen.callbacks import ProgressBar as ModernProgressBar
from fulmen.callbacks import TQDMProgressBar
from fulmen.compat.spelling import say_modern


class ProgressBarBase(ModernProgressBar):
    """The base of bars of one's own, which counts batches."""

    def __init__(self) -> None:
        say_modern("ProgressBarBase", "fulmen.callbacks.ProgressBar")
        super().__init__()
        self.train_batch_idx = self.val_batch_idx = self.test_batch_idx = self.predict_batch_idx = 0

    def on_train_epoch_start(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.train_batch_idx = 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.train_batch_idx += 1

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self.val_batch_idx = 0

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.val_batch_idx += 1

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        self.test_batch_idx = 0

    def on_test_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.test_batch_idx += 1

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        self.predict_batch_idx = 0

    def on_predict_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.predict_batch_idx += 1


class ProgressBar(TQDMProgressBar):
    """tqdm's bars, by the name that they had up to 1.6."""

    def __init__(self, refresh_rate: int = 1, process_position: int = 0) -> None:
        say_modern("ProgressBar(refresh_rate=...)", "TQDMProgressBar")
        super().__init__(refresh_rate, process_position)

    @property
    def main_progress_bar(self) -> Any:
        """The bar of training."""
        return self.train_progress_bar

    @main_progress_bar.setter
    def main_progress_bar(self, bar: Any) -> None:
        self.train_progress_bar = bar


class RunningLoss:
    """The mean loss of the last batches, which bars showed by themselves up to 1.9."""

    def __init__(self) -> None:
        self._losses: deque[Tensor] = deque(maxlen=20)

    def take(self, outputs: Any, *batch: Any) -> None:
        """Note what a training step has returned, of several optimizers each."""
        self._losses.extend(_losses(outputs))

    def last(self) -> Tensor | None:
        """Of the last batch; None before the first."""
        return self._losses[-1] if self._losses else None

    def mean(self) -> Tensor | None:
        """Of all that are kept; None before the first."""
        return torch.stack([*self._losses]).mean() if self._losses else None

    def shown(self) -> str:
        """The number, as bars wrote it."""
        mean = self.mean()
        return "nan" if mean is None else f"{mean:.3g}"


def _losses(outputs: Any) -> Iterator[Tensor]:
    if isinstance(outputs, list):
        for output in outputs:
            yield from _losses(output)
    elif isinstance(outputs, Mapping) and isinstance(outputs.get("loss"), Tensor):
        yield outputs["loss"].detach()


def running_loss(trainer: Any) -> RunningLoss:
    """Of the run under way, in one that was not written for bars with it, that of the last batch alone."""
    run = trainer._run
    if run is not None and run.adapter is not None and run.adapter.shows_loss:
        return run.adapter.running_loss
    found = RunningLoss()
    if run is not None and run.optimizers:
        found.take(run.step.outputs)
    return found


def metrics_once(bar: ModernProgressBar | None, trainer: Any, module: Any) -> dict[str, Any]:
    """What a bar shows, after the running loss in a training that was written for bars with one."""
    shown = bar or ModernProgressBar()
    metrics = type(shown).get_metrics(shown, trainer, module)
    adapter = None if trainer._run is None else trainer._run.adapter
    if adapter is None or not adapter.shows_loss:
        return metrics
    return {"loss": adapter.running_loss.shown(), **metrics}
