"""The least and the greatest value that a metric ever had."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fulmen.errors import UsageError
from fulmen.metrics.wrappers.base import Derived, Values, checked_metric, value_of


class MinMaxMetric(Derived):
    """Gives "raw", the value of a metric, and "min" and "max", the extremes of the values it gave so far.

    Values are those of `compute` and of calls. `reset` forgets the batches and keeps the extremes: they are
    of all epochs. NaN is passed over.
    """

    min_val: Tensor
    max_val: Tensor
    outlives_reset = True

    def __init__(self, base_metric: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.base_metric = checked_metric(base_metric)
        self.sync_on_compute = False  # the values are those of all processes already
        self.compute_with_cache = False  # the metric may be updated by itself
        self.add_state("min_val", torch.tensor(float("inf"), dtype=torch.float64), dist_reduce_fx="min")
        self.add_state("max_val", torch.tensor(float("-inf"), dtype=torch.float64), dist_reduce_fx="max")

    def reset(self) -> None:
        """Forget every batch, and not the extremes."""
        extremes = self.metric_state
        super().reset()
        self._put_states(extremes)

    def persistent(self, mode: bool = False) -> None:
        """Whether `state_dict` holds the extremes, and the states of the metric."""
        super().persistent(mode)
        self._persistent = dict.fromkeys(self._persistent, mode)

    def _derive(self, values: Values) -> dict[str, Tensor]:
        value = value_of(self.base_metric, values)
        number = torch.as_tensor(value, device=self.min_val.device)
        if number.numel() != 1:
            raise UsageError(
                "Only numbers have extremes.",
                received=f"{type(self.base_metric).__name__} gave a tensor of shape {tuple(number.shape)}",
                expected="a metric that gives one number",
            )
        seen = number.detach().reshape(()).to(self.min_val.dtype)
        self.min_val = torch.fmin(self.min_val, seen)
        self.max_val = torch.fmax(self.max_val, seen)
        return {"raw": value, "max": self.max_val.to(number.dtype), "min": self.min_val.to(number.dtype)}
