"""Progress bars by the names and attributes that they had up to 1.9."""

from __future__ import annotations

from typing import Any

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
