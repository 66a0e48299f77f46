"""What some old arguments of the Trainer had done while training, as callbacks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fulmen.compat.lightning.hooks import defines
from fulmen.core.callback import Callback

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer


class GradientNorms(Callback):
    """Logs the norm of each parameter's gradient, and of all together, before each step."""

    def __init__(self, norm_type: float | str) -> None:
        self.norm_type = float(norm_type)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        kind = self.norm_type
        norms = {
            f"grad_{kind}_norm/{name}": torch.linalg.vector_norm(parameter.grad, kind)
            for name, parameter in pl_module.named_parameters()
            if parameter.grad is not None
        }
        if norms:
            norms[f"grad_{kind}_norm_total"] = torch.linalg.vector_norm(torch.stack([*norms.values()]), kind)
            if defines(pl_module, "log_grad_norm"):
                pl_module.log_grad_norm(norms)  # pyright: ignore[reportCallIssue]
            else:
                self.log_dict(norms, on_step=True, on_epoch=True)


class EndAtNaN(Callback):
    """Raises `ValueError` where the loss or a parameter is not finite; it reads both from the device."""

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if not math.isfinite(loss.item()):
            raise ValueError(f"The loss is {loss.item()}: training ends, as terminate_on_nan=True wants it.")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for name, parameter in pl_module.named_parameters():
            if not torch.isfinite(parameter).all():
                raise ValueError(f"The parameter {name} is not finite; see detect_anomaly=True.")
