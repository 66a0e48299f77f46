"""The base class of callbacks: parts of a run that are neither science nor engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from fulmen.base.seams import LentToCallbacks, understood_hook

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer


class Callback(LentToCallbacks):
    """Override any of these hooks; those that are not overridden cost nothing.

    The order in which they fire is the order of `fulmen.core.hooks.EVENTS`.
    """

    monitors_metrics: ClassVar[bool] = False
    """Whether `on_train_epoch_end` has to run after the module's own, to see what it logs."""

    saves_checkpoints: ClassVar[bool] = False
    """Whether it has to come after all other callbacks, to save the state that they are in.

    If the process is killed before its turn in an event in which another one has saved, it is called when
    training goes on from there: in `on_train_batch_end`, with None for `outputs` and `batch`.
    """

    handles_failed_saves: bool = False
    """Whether saves that failed in the background are left to it; else their errors end training."""

    _module: LightningModule | None = None

    def attach(self, module: LightningModule | None) -> None:
        """Make `module` the one that `log` goes to."""
        self._module = module

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        """`LightningModule.log`, from a hook of this callback."""
        if self._module is not None:
            self._module.log(name, value, *args, **kwargs)

    def log_dict(self, dictionary: Any, *args: Any, **kwargs: Any) -> None:
        """`LightningModule.log_dict`, from a hook of this callback."""
        if self._module is not None:
            self._module.log_dict(dictionary, *args, **kwargs)

    @property
    def state_key(self) -> str:
        """The name under which a checkpoint holds this callback's state; unique among a run's callbacks."""
        return type(self).__qualname__

    def _key_with(self, **arguments: Any) -> str:
        """A state key for classes of which a run may hold several: told apart by what they were made with."""
        return f"{type(self).__qualname__}{arguments!r}"

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to hold; empty where there is nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state that `state_dict` gave."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """A fit, validate, test or predict begins; the model may still be incomplete."""

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """It has ended, in whatever way."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Model and optimizers are in place."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training is over."""

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A few validation batches run before training, to fail early."""

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """They went well."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The first epoch is about to begin."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last epoch has ended."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A training epoch begins."""

    @understood_hook
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A training epoch, its validation included, has ended."""

    @understood_hook
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> Any:
        """A batch is on the device; returning -1 skips the rest of the epoch."""

    @understood_hook
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A batch is done; `outputs` is what `training_step` returned, as a dict with `loss` detached."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation begins."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation has ended and its metrics are there."""

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The pass over the validation data begins."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The pass over the validation data has ended; values may still be logged."""

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A validation batch is on the device."""

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A validation batch is done; `outputs` is what `validation_step` returned."""

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Testing begins."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Testing has ended and its metrics are there."""

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The pass over the test data begins."""

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The pass over the test data has ended; values may still be logged."""

    def on_test_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A test batch is on the device."""

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A test batch is done; `outputs` is what `test_step` returned."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prediction begins."""

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prediction has ended."""

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The pass over the data begins."""

    @understood_hook
    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The pass over the data has ended."""

    def on_predict_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A batch is on the device."""

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A batch is done; `outputs` is what `predict_step` returned."""

    def on_before_zero_grad(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Gradients are about to be cleared."""

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """The gradients of `loss` are about to be computed."""

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gradients are there, still scaled and unclipped."""

    @understood_hook
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Gradients are complete and unscaled, not yet clipped."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Something was raised, or the user interrupted the run."""

    @understood_hook
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """The checkpoint is complete and may be edited before it is written."""

    @understood_hook
    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A checkpoint was read; weights are in place, callback states are not."""
