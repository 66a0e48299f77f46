"""Parameters in 32 bits, the costly operations in 16."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from fulmen.errors import ConfigError, UsageError
from fulmen.precision.precision import Precision

_DTYPES = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


class MixedPrecision(Precision):
    """`16-mixed` (with loss scaling, because float16 underflows) and `bf16-mixed` (which needs none)."""

    def __init__(
        self,
        precision: str = "16-mixed",
        device: str | torch.device = "cpu",
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        if precision not in _DTYPES:
            raise ConfigError(
                "Unknown mixed precision.", received=repr(precision), expected=", ".join(_DTYPES)
            )
        if scaler is not None and precision == "bf16-mixed":
            raise ConfigError(
                "bf16-mixed needs no loss scaling.", received="a scaler", fix="precision='16-mixed'"
            )
        self.name = precision
        self.device_type = torch.device(device).type
        self.autocast_dtype = _DTYPES[precision]
        if scaler is None and precision == "16-mixed":
            scaler = torch.amp.GradScaler(self.device_type)
        self.scaler = scaler
        self._unscaled: set[int] = set()
        self._stepped: set[int] = set()
        self._scaled = False

    def context(self) -> Callable[[], AbstractContextManager[Any]]:
        # Entered anew for each step: a cache of casted weights that outlives an update would be stale.
        return partial(torch.autocast, self.device_type, dtype=self.autocast_dtype)

    def scale(self, loss: Tensor) -> Tensor:
        if self.scaler is None:
            return loss
        self._update()
        self._scaled = True
        return self.scaler.scale(loss)

    def unscale(self, optimizer: Optimizer) -> None:
        if self._may_step(optimizer) and self.scaler and id(optimizer) not in self._unscaled | self._stepped:
            self.scaler.unscale_(optimizer)
            self._unscaled.add(id(optimizer))

    def step(self, optimizer: Optimizer, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        if self.scaler is None:
            return super().step(optimizer, closure, **kwargs)
        if isinstance(optimizer, LBFGS):
            raise UsageError(
                "LBFGS evaluates the loss several times a step, which loss scaling cannot follow.",
                fix="precision='bf16-mixed' or '32-true'",
            )
        result = None if closure is None else closure()  # the scaler has to see the gradients before the step
        if not self._may_step(optimizer):
            return result
        if id(optimizer) in self._stepped:
            raise UsageError(
                "An optimizer was stepped twice with the same gradients, which are no longer scaled.",
                received=type(optimizer).__name__,
                fix="manual_backward(loss) before each step",
            )
        self.scaler.step(optimizer, **kwargs)
        self._unscaled.discard(id(optimizer))
        self._stepped.add(id(optimizer))
        return result

    def _may_step(self, optimizer: Optimizer) -> bool:
        """Whether there are gradients; the scaler takes their absence for a mistake."""
        return self._scaled and any(
            p.grad is not None for group in optimizer.param_groups for p in group["params"]
        )

    def _update(self) -> None:
        """Adapt the scale to what the last steps saw.

        Not right after a step: another optimizer may hold gradients computed with the present scale.
        """
        if self.scaler is not None and self._stepped:
            self.scaler.update()
            self._stepped.clear()
            self._unscaled.clear()

    def state_dict(self) -> dict[str, Any]:
        if self.scaler is None:
            return {}
        self._update()
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.scaler is not None:
            if self._stepped or self._unscaled:
                self.scaler.update()  # which forgets what it has noted of optimizers
            self._stepped.clear()
            self._unscaled.clear()
            self._scaled = False
            self.scaler.load_state_dict(state)
