"""Finds a batch size when a run begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.base.report import info
from fulmen.core.callback import Callback
from fulmen.tuner.attributes import set_attribute
from fulmen.tuner.batch_size import BatchSizeSearch

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer


class BatchSizeFinder(Callback):
    """Sets the batch size to the largest one that fits into memory, before the run looks at its data.

    The arguments are those of `Tuner.scale_batch_size`. A fit that is taken up goes on with what was found.
    For a search at another moment, call `scale_batch_size` in a hook of a subclass, such as
    `on_train_epoch_start`.
    """

    def __init__(
        self,
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> None:
        self._search = BatchSizeSearch(
            mode, steps_per_trial, init_val, max_trials, batch_arg_name, margin, max_val
        )
        self.optimal_batch_size: int | None = None
        """What the last search came to."""
        self._resumes = False

    def scale_batch_size(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Search, and let the run go over loaders with what was found."""
        if trainer.fast_dev_run:
            info("No batch size is searched for under `fast_dev_run`.")
            return
        rehearsal = trainer.rehearsal
        self.optimal_batch_size = self._search.run(rehearsal)
        rehearsal.renew_data()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._resumes = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._resumes:
            self.scale_batch_size(trainer, pl_module)
        elif self.optimal_batch_size is not None:
            set_attribute(trainer.rehearsal, self._search.batch_arg_name, self.optimal_batch_size)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self.scale_batch_size(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.scale_batch_size(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.scale_batch_size(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"found": self.optimal_batch_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.optimal_batch_size, self._resumes = state_dict["found"], True
