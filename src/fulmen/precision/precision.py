"""The narrow waist between the engine and number formats."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fulmen.base.tree import map_leaves
from fulmen.base.updates import update


class Precision(ABC):
    """How forward, backward and update are computed. What is not overridden here is plain torch."""

    name: ClassVar[str] | str
    """The canonical spelling, such as `"bf16-mixed"`."""

    dtype: torch.dtype = torch.float32
    """What floating-point parameters and inputs are converted to, where `converts`."""

    converts: bool = False
    """Whether parameters and inputs are converted at all."""

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Convert the parameters, once, before optimizers are made."""
        return module.to(self.dtype) if self.converts else module

    def convert_input(self, batch: Any) -> Any:
        """Convert the floating-point tensors of a batch."""
        if not self.converts:
            return batch
        return map_leaves(batch, Tensor, lambda t: t.to(self.dtype) if t.is_floating_point() else t)

    def context(self) -> Callable[[], AbstractContextManager[Any]] | None:
        """What makes the context that a step's forward runs in; None where none is needed."""
        return None

    def module_context(self) -> Callable[[], AbstractContextManager[Any]] | None:
        """What makes the context in which `configure_model` creates parameters; None where none is needed."""
        return None

    def scale(self, loss: Tensor) -> Tensor:
        """The loss as `backward` needs it, so that no gradient is lost to the number format."""
        return loss

    def unscale(self, optimizer: Optimizer) -> None:
        """Make the gradients of `optimizer` true gradients; may be called again before the same step."""

    def step(self, optimizer: Optimizer, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        """Update the parameters of `optimizer`."""
        if closure is None and not kwargs:
            return update(optimizer)
        return optimizer.step(**kwargs) if closure is None else optimizer.step(closure, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to hold; empty where there is nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state that `state_dict` gave."""
