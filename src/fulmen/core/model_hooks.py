"""The hooks of a module, in firing order. None of them costs anything until it is overridden."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.optim import Optimizer

from fulmen.base.seams import understood_hook

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fulmen.core.callback import Callback


class ModelHooks(nn.Module):
    """What a run tells the module."""

    def configure_callbacks(self) -> Sequence[Callback] | Callback:
        """Callbacks that the module brings along; they replace the Trainer's of the same class."""
        return []

    def configure_model(self) -> None:
        """Create layers here to have them made in the precision, and on the device, they train in.

        Called in every run, so it must do nothing when the layers are there.
        """

    def configure_optimizers(self) -> Any:
        """The optimizers and learning-rate schedulers of `fit`, in one of the documented forms."""
        raise NotImplementedError  # a fit checks that it is overridden before anything else happens

    def on_fit_start(self) -> None:
        """Model and optimizers are in place."""

    def on_fit_end(self) -> None:
        """Training is over."""

    def on_train_start(self) -> None:
        """The first epoch is about to begin."""

    def on_train_end(self) -> None:
        """The last epoch has ended."""

    def on_train_epoch_start(self) -> None:
        """A training epoch begins."""

    @understood_hook
    def on_train_epoch_end(self) -> None:
        """A training epoch, its validation included, has ended."""

    @understood_hook
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """A batch is on the device; returning -1 skips the rest of the epoch."""

    @understood_hook
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A batch is done; `outputs` is what `training_step` returned, as a dict with `loss` detached."""

    def on_before_zero_grad(self, optimizer: Optimizer) -> None:
        """Gradients are about to be cleared."""

    def on_before_backward(self, loss: Tensor) -> None:
        """The gradients of `loss` are about to be computed."""

    def on_after_backward(self) -> None:
        """Gradients are there, still scaled and unclipped."""

    @understood_hook
    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Gradients are complete and unscaled, not yet clipped."""

    def on_validation_start(self) -> None:
        """Validation begins."""

    def on_validation_end(self) -> None:
        """Validation has ended and its metrics are there."""

    def on_validation_epoch_start(self) -> None:
        """The pass over the validation data begins."""

    def on_validation_epoch_end(self) -> None:
        """The pass over the validation data has ended; values may still be logged."""

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """A validation batch is on the device."""

    def on_validation_batch_end(
        self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A validation batch is done; `outputs` is what `validation_step` returned."""

    def on_validation_model_zero_grad(self) -> None:
        """Frees the gradients before a validation inside `fit`."""
        self.zero_grad()

    def on_validation_model_eval(self) -> None:
        """Puts the module in evaluation mode before validation."""
        self.eval()

    def on_validation_model_train(self) -> None:
        """Override to choose the modes after validation; else each layer gets back the mode that it had."""
        self.train()

    def on_test_start(self) -> None:
        """Testing begins."""

    def on_test_end(self) -> None:
        """Testing has ended and its metrics are there."""

    def on_test_epoch_start(self) -> None:
        """The pass over the test data begins."""

    def on_test_epoch_end(self) -> None:
        """The pass over the test data has ended; values may still be logged."""

    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """A test batch is on the device."""

    def on_test_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """A test batch is done; `outputs` is what `test_step` returned."""

    def on_test_model_eval(self) -> None:
        """Puts the module in evaluation mode before testing."""
        self.eval()

    def on_test_model_train(self) -> None:
        """Override to choose the modes after testing; without, each layer gets back the mode that it had."""
        self.train()

    def on_predict_start(self) -> None:
        """Prediction begins."""

    def on_predict_end(self) -> None:
        """Prediction has ended."""

    def on_predict_epoch_start(self) -> None:
        """The pass over the data begins."""

    @understood_hook
    def on_predict_epoch_end(self) -> None:
        """The pass over the data has ended."""

    def on_predict_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """A batch is on the device."""

    def on_predict_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """A batch is done; `outputs` is what `predict_step` returned."""

    def on_predict_model_eval(self) -> None:
        """Puts the module in evaluation mode before prediction."""
        self.eval()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The checkpoint is complete and may be edited before it is written."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint was read; its weights are not in place yet and may be edited."""
