"""Means, sums, extremes and quantiles of plain values."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from fulmen.base.report import warn
from fulmen.errors import ConfigError, UsageError
from fulmen.metrics.blocks import BLOCK, MOST_WAITING, BlockMetric
from fulmen.metrics.dtypes import widest
from fulmen.metrics.folding import States
from fulmen.metrics.metric import Metric
from fulmen.metrics.wrappers.running import Window

__all__ = [
    "CatMetric", "MaxMetric", "MeanMetric", "MedianMetric", "MinMetric", "QuantileMetric", "RunningMean",
    "RunningSum", "SumMetric",
]  # fmt: skip

NanStrategy = Literal["error", "warn", "ignore", "disable"] | float
"""What is done with NaN: "error" raises; "warn" and "ignore" leave it out; "disable" takes it like any value;
a number takes its place.

On an accelerator nobody looks at the values while they are added: "error" and "warn" then speak in `compute`.
"""

FEW = BLOCK // MOST_WAITING
"""So many values of a batch wait for those of others."""


class Aggregate(Metric):
    """Values of any shape, numbers too, as one."""

    def __init__(self, nan_strategy: NanStrategy = "warn", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        known = nan_strategy in ("error", "warn", "ignore", "disable")
        if not known and (
            isinstance(nan_strategy, (str, bool)) or not isinstance(nan_strategy, (int, float))
        ):
            raise ConfigError(
                "`nan_strategy` is unknown.",
                received=repr(nan_strategy),
                expected="'error', 'warn', 'ignore', 'disable' or a number",
            )
        self.nan_strategy = nan_strategy
        self._speaks = nan_strategy in ("error", "warn")
        if self._speaks:
            self.add_state("nan_count", torch.tensor(0), dist_reduce_fx="sum")

    @property
    def update_options(self) -> Hashable:
        return type(self), self.nan_strategy

    def _tensor(self, value: Any) -> Tensor:
        """A value as a tensor with a dimension; a number as it is to be computed with."""
        if not isinstance(value, Tensor):
            dtype = torch.float64 if self.device.type != "mps" else None
            if isinstance(value, (int, float)):  # as below, at half the cost
                return torch.full((1,), value, dtype=dtype, device=self.device)
            value = torch.tensor(value, dtype=dtype, device=self.device)
        return value if value.ndim else value.unsqueeze(0)

    def _clean(self, value: Tensor, instead: float, is_nan: Tensor) -> Tensor:
        """The value with NaN replaced: by the strategy's number, else by one that changes nothing."""
        if not isinstance(self.nan_strategy, str):
            instead = self.nan_strategy
        return torch.where(is_nan, instead, value)

    def _may_hold_nan(self, value: Tensor, reduced: Tensor) -> bool:
        """Whether the values must be looked at; on a CPU what they come to tells, for NaN spreads."""
        if self.nan_strategy == "disable" or not value.is_floating_point():
            return False
        return not value.is_cpu or math.isnan(reduced.item())

    def _with_nan(self, states: States, is_nan: Tensor) -> States:
        """Raise or warn for what is NaN; on accelerators, note it in the states."""
        if not self._speaks:
            return states
        if is_nan.is_cpu:
            self._speak(int(is_nan.sum()))
            return states
        counted: Any = states["nan_count"]
        return {**states, "nan_count": counted + is_nan.sum()}

    def _speak(self, count: int) -> None:
        if count and self.nan_strategy == "error":
            raise UsageError(
                f"{type(self).__name__} got NaN.", received=f"{count} of them", fix="another `nan_strategy`"
            )
        if count:
            warn(f"{type(self).__name__} left out {count} NaN.")

    def _speak_of_all(self, states: States) -> None:
        """Raise or warn for what was added on accelerators."""
        if self._speaks and self.device.type != "cpu":
            counted: Any = states["nan_count"]
            self._speak(int(counted))


class Folded(Aggregate, BlockMetric):
    """Values that are added up, or the like."""

    def _add(self, value: Tensor) -> None:
        """Add values, or have them wait if they are few."""
        if value.numel() <= FEW:
            flat = value if value.ndim == 1 else value.reshape(-1)
            if not flat.is_floating_point():  # among others that are, integers might become narrower
                flat = flat.to(widest(flat))
            kept = flat.clone()
            if not self._speaks or not flat.is_cpu or torch.equal(kept, flat):  # as NaN would not be
                self._wait(kept)
                return
        self._put_states(self._with_values(self.metric_state, value))

    def _with_waiting(self, states: States, waiting: list[Tensor]) -> States:
        return self._with_values(states, torch.cat(waiting))

    @abstractmethod
    def _with_values(self, states: States, value: Tensor) -> States:
        """The states with values added."""


class Reduction(Folded):
    """One number that each batch changes."""

    value: Tensor
    neutral: float
    """What changes nothing."""
    reduction: str
    of_ranks: Callable[..., Tensor]
    """The same of the values of all ranks, NaN included."""

    def __init__(self, nan_strategy: NanStrategy = "warn", **kwargs: Any) -> None:
        super().__init__(nan_strategy, **kwargs)
        # An all-reduce of greatest and least values may lose NaN; where it is to stay, they are gathered.
        reduction = self.reduction if nan_strategy != "disable" else partial(self.of_ranks, dim=0)
        self.add_state("value", torch.tensor(self.neutral, dtype=torch.float64), reduction)

    def update(self, value: float | Tensor) -> None:
        """Add values."""
        self._add(self._tensor(value))

    def _with_values(self, states: States, value: Tensor) -> States:
        if not value.numel():
            return states
        reduced = self._reduce(value)
        if self._may_hold_nan(value, reduced):
            is_nan = value.isnan()
            states = self._with_nan(states, is_nan)
            reduced = self._reduce(self._clean(value, self.neutral, is_nan))
        before: Any = states["value"]
        return {**states, "value": self._both(before, reduced)}

    @abstractmethod
    def _reduce(self, value: Tensor) -> Tensor: ...

    @abstractmethod
    def _both(self, before: Tensor, reduced: Tensor) -> Tensor: ...

    def compute(self) -> Tensor:
        """Of all values that were added."""
        states: Any = self._settled(self.metric_state)
        self._speak_of_all(states)
        return states["value"].to(self.dtype, copy=True)


class SumMetric(Reduction):
    """The sum of all values; 0 of none."""

    neutral = 0.0
    reduction = "sum"
    of_ranks = staticmethod(torch.sum)

    def _reduce(self, value: Tensor) -> Tensor:
        return value.sum(dtype=self.value.dtype)

    def _both(self, before: Tensor, reduced: Tensor) -> Tensor:
        return before + reduced


class MaxMetric(Reduction):
    """The greatest of all values; minus infinity of none."""

    neutral = float("-inf")
    reduction = "max"
    of_ranks = staticmethod(torch.amax)

    def _reduce(self, value: Tensor) -> Tensor:
        return value.amax()

    def _both(self, before: Tensor, reduced: Tensor) -> Tensor:
        return torch.maximum(before, reduced)


class MinMetric(Reduction):
    """The least of all values; infinity of none."""

    neutral = float("inf")
    reduction = "min"
    of_ranks = staticmethod(torch.amin)

    def _reduce(self, value: Tensor) -> Tensor:
        return value.amin()

    def _both(self, before: Tensor, reduced: Tensor) -> Tensor:
        return torch.minimum(before, reduced)


class MeanMetric(Folded):
    """The weighted mean of all values; NaN of none, or where the weights add up to 0.

    Weights are of the shape of the values, or one that goes with it. What is left out for NaN is every pair
    of a value and a weight of which one is; a number takes the place of NaN in each (torchmetrics gives such
    a value the weight 1).
    """

    total: Tensor
    weight: Tensor

    def __init__(self, nan_strategy: NanStrategy = "warn", **kwargs: Any) -> None:
        super().__init__(nan_strategy, **kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("weight", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, value: float | Tensor, weight: float | Tensor | None = None) -> None:
        """Add values, each with the weight 1 or those given."""
        value = self._tensor(value)
        if weight is None:
            self._add(value)
        else:
            weights = self._weights(weight, value)
            self._put_states(self._with_values(self.metric_state, value, weights))

    def _with_values(self, states: States, value: Tensor, weight: Tensor | None = None) -> States:
        before: Any = states["total"]
        weight_before: Any = states["weight"]
        if weight is None:
            total, added = value.sum(dtype=before.dtype), value.numel()
        else:
            total, added = (value.to(before.dtype) * weight).sum(), weight.sum(dtype=before.dtype)
        if self._may_hold_nan(value, total):
            states, total, added = self._without_nan(states, value.to(before.dtype), weight)
        return {**states, "total": before + total, "weight": weight_before + added}

    def _weights(self, weight: Any, value: Tensor) -> Tensor:
        weight = self._tensor(weight).to(value.device, self.total.dtype)
        try:
            return weight.expand(value.shape)
        except RuntimeError as error:
            raise UsageError(
                "Weights do not fit the values.",
                received=f"value of shape {tuple(value.shape)}, weight of shape {tuple(weight.shape)}",
                expected="weights that broadcast to the shape of the values",
            ) from error

    def _without_nan(
        self, states: States, value: Tensor, weight: Tensor | None
    ) -> tuple[States, Tensor, Tensor]:
        """The states with NaN spoken of, and the sums of what is left."""
        weight = torch.ones_like(value) if weight is None else weight
        value_is_nan, weight_is_nan = value.isnan(), weight.isnan()
        if isinstance(self.nan_strategy, str):
            value_is_nan = weight_is_nan = value_is_nan | weight_is_nan
            states = self._with_nan(states, value_is_nan)
        value = self._clean(value, 0.0, value_is_nan)
        weight = self._clean(weight, 0.0, weight_is_nan)
        return states, (value * weight).sum(), weight.sum()

    def compute(self) -> Tensor:
        """Of all values that were added."""
        states: Any = self._settled(self.metric_state)
        self._speak_of_all(states)
        return (states["total"] / states["weight"]).to(self.dtype)


class Collected(Aggregate):
    """All values are kept."""

    value: list[Tensor]

    def __init__(self, nan_strategy: NanStrategy = "warn", **kwargs: Any) -> None:
        super().__init__(nan_strategy, **kwargs)
        self.add_state("value", [], dist_reduce_fx="cat")

    def update(self, value: float | Tensor) -> None:
        """Add values."""
        number = not isinstance(value, Tensor)
        value = self._tensor(value)
        if number:
            value = value.to(self.dtype)
        if self.nan_strategy != "disable" and value.is_floating_point():
            is_nan = value.isnan()
            if not isinstance(self.nan_strategy, str):
                value = self._clean(value, torch.nan, is_nan)
            elif not value.is_cpu or is_nan.any():
                self._put_states(self._with_nan(self.metric_state, is_nan))
                value = value[~is_nan] if value.is_cpu else value
        if self.value and self.value[0].shape[1:] != value.shape[1:]:
            raise UsageError(
                "Values of different shapes cannot be put together.",
                received=f"shape {tuple(value.shape)} after {tuple(self.value[0].shape)}",
                expected="shapes that differ in the first dimension only",
            )
        self.value.append(value.detach().clone())  # the tensor may be written over, or a part of a whole

    def _values(self) -> Tensor:
        """All values that were added and are not left out."""
        self._speak_of_all(self.metric_state)
        if not self.value:
            return torch.empty(0, dtype=self.dtype, device=self.device)
        values = torch.cat(self.value)
        if (
            self.device.type == "cpu"
            or not isinstance(self.nan_strategy, str)
            or self.nan_strategy == "disable"
        ):
            return values
        return values[~values.isnan()]


class CatMetric(Collected):
    """All values, in the order they came, those of each process after those of the one before."""

    def compute(self) -> Tensor:
        """All values that were added, along their first dimension."""
        return self._values()


class QuantileMetric(Collected):
    """The value below which a share `q` of all values is; between two of them, linearly. NaN of none.

    With several shares, as many values. All values are kept.
    """

    def __init__(
        self, q: float | Sequence[float] = 0.5, nan_strategy: NanStrategy = "warn", **kwargs: Any
    ) -> None:
        super().__init__(nan_strategy, **kwargs)
        shares = [q] if isinstance(q, (int, float)) else list(q)
        if not shares or not all(0 <= share <= 1 for share in shares):
            raise ConfigError("`q` cannot be used.", received=repr(q), expected="shares from 0 to 1")
        self.q = q

    def compute(self) -> Tensor:
        """Of all values that were added."""
        return _quantile(self._values(), self.q).to(self.dtype)


class MedianMetric(Collected):
    """The median of all values, for an even number the mean of the two in the middle. NaN of none."""

    def compute(self) -> Tensor:
        """Of all values that were added."""
        return _quantile(self._values(), 0.5).to(self.dtype)


def _quantile(values: Tensor, q: float | Sequence[float]) -> Tensor:
    """Linearly interpolated; `torch.quantile` takes no more than 16 million values."""
    ordered = values.reshape(-1).sort().values
    ordered = ordered.to(torch.float32 if values.device.type == "mps" else torch.float64)
    shares = torch.as_tensor(q, dtype=ordered.dtype, device=ordered.device)
    if not len(ordered):
        return torch.full_like(shares, torch.nan)
    place = shares * (len(ordered) - 1)
    below = place.floor().long()
    value = torch.lerp(ordered[below], ordered[place.ceil().long()], place - below)
    return torch.where(ordered[-1].isnan(), torch.nan, value)  # NaN comes last


class RunningMean(Window):
    """The weighted mean of the last `window` batches of values."""

    def __init__(self, window: int = 5, nan_strategy: NanStrategy = "warn", **kwargs: Any) -> None:
        super().__init__(MeanMetric(nan_strategy, **kwargs), window)


class RunningSum(Window):
    """The sum of the last `window` batches of values."""

    def __init__(self, window: int = 5, nan_strategy: NanStrategy = "warn", **kwargs: Any) -> None:
        super().__init__(SumMetric(nan_strategy, **kwargs), window)
