"""The base class of progress bars: what they know about a run."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

from fulmen.base.report import warn_once
from fulmen.core.callback import Callback
from fulmen.engine.states import RunningStage
from fulmen.errors import UsageError

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer

_LONGEST_VERSION = 4  # characters of a version that is no number


class ProgressBar(Callback):
    """Derive from it and override hooks to show progress in a way of your own; it shows nothing itself."""

    def __init__(self) -> None:
        self._trainer: Trainer | None = None
        self._is_enabled = True
        self._dataloader_idx: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._trainer = trainer
        self._dataloader_idx = None
        if not trainer.is_global_zero:
            self.disable()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_trainer": None}

    def enable(self) -> None:
        """Show something from now on."""
        self._is_enabled = True

    def disable(self) -> None:
        """Show nothing from now on; called on all ranks but 0."""
        self._is_enabled = False

    @property
    def is_enabled(self) -> bool:
        """Whether something is shown."""
        return self._is_enabled

    @property
    def is_disabled(self) -> bool:
        """Whether nothing is shown."""
        return not self.is_enabled

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        builtins.print(*args, **kwargs)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What is shown beside the bar: the loggers' version, and what was logged with `prog_bar=True`.

        Override it to leave out or add values; it is called for each drawing, not for each batch.
        """
        metrics = trainer.progress_bar_metrics
        version = _version(trainer)
        if version is None:
            return dict(metrics)
        if "v_num" in metrics:
            warn_once(
                "`self.log('v_num', prog_bar=True)` hides the version of the logger in the progress bar."
            )
        return {"v_num": version, **metrics}

    @property
    def trainer(self) -> Trainer:
        """The Trainer of the run; an error before the first one."""
        if self._trainer is None:
            raise UsageError(f"{type(self).__name__} has no Trainer before `setup` was called.")
        return self._trainer

    @property
    def sanity_check_description(self) -> str:
        """Label of the bar for the sanity check."""
        return "Sanity Checking"

    @property
    def train_description(self) -> str:
        """Label of the bar for training."""
        return "Training"

    @property
    def validation_description(self) -> str:
        """Label of the bar for validation."""
        return "Validation"

    @property
    def test_description(self) -> str:
        """Label of the bar for testing."""
        return "Testing"

    @property
    def predict_description(self) -> str:
        """Label of the bar for prediction."""
        return "Predicting"

    @property
    def total_train_batches(self) -> int | float:
        """Batches in a training epoch; infinite where that is unknown, as for all that follow."""
        return self.trainer.num_training_batches

    @property
    def total_val_batches(self) -> int | float:
        """Batches of all validation loaders."""
        return sum(self.trainer.num_val_batches)

    @property
    def total_val_batches_current_dataloader(self) -> int | float:
        """Batches of the validation loader under way, of a sanity check those that it takes."""
        sanity = self.trainer.state.stage is RunningStage.SANITY_CHECKING
        return self._current(self.trainer.num_sanity_val_batches if sanity else self.trainer.num_val_batches)

    @property
    def total_test_batches_current_dataloader(self) -> int | float:
        """Batches of the test loader under way."""
        return self._current(self.trainer.num_test_batches)

    @property
    def total_predict_batches_current_dataloader(self) -> int | float:
        """Batches of the prediction loader under way."""
        return self._current(self.trainer.num_predict_batches)

    def _current(self, batches: list[int | float]) -> int | float:
        return batches[self._dataloader_idx or 0]

    def has_dataloader_changed(self, dataloader_idx: int) -> bool:
        """Whether this is the first batch of another loader than the last one asked about."""
        changed = dataloader_idx != self._dataloader_idx
        self._dataloader_idx = dataloader_idx
        return changed

    def reset_dataloader_idx_tracker(self) -> None:
        """A pass over the data has ended: the next batch is of another loader."""
        self._dataloader_idx = None


def _version(trainer: Trainer) -> int | str | None:
    versions = [logger.version for logger in trainer.loggers if logger.version not in (None, "")]
    if len(versions) == 1 and isinstance(versions[0], int):
        return versions[0]
    return "_".join(map(str, versions))[-_LONGEST_VERSION:] or None
