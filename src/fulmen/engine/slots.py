"""One logged name in one hook: what was logged, and how it becomes the epoch's value."""

from __future__ import annotations

import math
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from numbers import Real
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fulmen.base.report import warn_once
from fulmen.base.seams import outer
from fulmen.core.log_arguments import LogArguments
from fulmen.errors import ConfigError, UsageError, did_you_mean
from fulmen.runtime.packing import GATHER, Part

Value = Tensor | float

FOLD_EVERY = 64
"""Values kept before they are folded into one: often enough for flat memory, too seldom to cost anything."""

COLLECTION = "collection of metrics"
"""The name, with the object's id behind it, that a collection is kept under; its values have their own."""

OWN_REDUCTION = "a callable of the user's"
"""Stands for a reduction without a name, where one is written down or sent."""

_OPERATIONS = {"mean": "sum", "sum": "sum", "min": "min", "max": "max"}
"""The reductions that have a name, and how the ranks' shares become one."""


def parse_reduction(reduce_fx: Any) -> str | Callable[[Tensor], Tensor]:
    """The name of a known reduction, or the callable itself."""
    named = {torch.mean: "mean", torch.sum: "sum", torch.min: "min", torch.max: "max", "avg": "mean"}
    known = named.get(reduce_fx, reduce_fx)
    if known in list(_OPERATIONS) or (callable(known) and not isinstance(known, str)):
        return known
    raise ConfigError(
        "`reduce_fx` is unknown.",
        received=repr(reduce_fx),
        expected=f"{', '.join(_OPERATIONS)}, or a callable",
        fix=did_you_mean(str(reduce_fx), _OPERATIONS),
    )


@runtime_checkable
class _Metric(Protocol):
    """What torchmetrics' metrics and collections offer."""

    def compute(self) -> Any: ...

    def reset(self) -> None: ...


@runtime_checkable
class _Synchronises(Protocol):
    """Our metrics: the states of many travel between processes together."""

    def synchronised_together(self, metrics: Iterable[nn.Module]) -> AbstractContextManager[None]: ...


class BaseSlot(ABC):
    """What is common to numbers and metrics."""

    def __init__(
        self,
        name: str,
        arguments: LogArguments,
        *,
        on_step: bool,
        on_epoch: bool,
        suffix: str,
        dirty: list[Any],
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.prog_bar = arguments.prog_bar
        self.logger = arguments.logger is not False
        self.on_step = on_step
        self.on_epoch = on_epoch
        self.suffix = suffix
        """What tells evaluation loaders apart."""
        self.fresh = False
        """Whether there is a step value that no flush has seen; if so, the slot is in `dirty`."""
        self.reduced = False
        """Whether the epoch's value that readers see holds everything that was added."""
        self.provisional = False
        """Whether a checkpoint brought it, and nobody logged to it since."""
        self.epoch_shown: dict[str, Value] = {}
        """The epoch's values under the names that loggers show."""
        self.hook = ""
        self.loader: int | None = None
        """Where it is logged: in which hook, for which of several loaders."""
        self.place = _place_of_the_user()
        """Where in the user's code it was logged first."""
        self.words: Any = None
        """What it is called among processes, once they have talked of it."""
        self._dirty = dirty

    @abstractmethod
    def add(self, value: Any, batch_size: int | None = None) -> None:
        """Take what was logged."""

    @abstractmethod
    def restore_step_values(self, values: dict[str, Value]) -> None:
        """Have the values of a step again that no flush has seen."""

    def confirm(self, arguments: LogArguments) -> None:
        """It came from a checkpoint, and now its name is logged again."""
        self.provisional = False
        self.arguments = arguments
        self.words = None

    def _mark_fresh(self) -> None:
        self.fresh = True
        self._dirty.append(self)

    @property
    @abstractmethod
    def used(self) -> bool:
        """Whether anything was logged in this epoch."""

    @abstractmethod
    def step_values(self) -> dict[str, Value]:
        """The last values, by plain name; the next ones may be written over them."""

    @abstractmethod
    def epoch_values(self) -> dict[str, Value]:
        """The values over the epoch, by plain name."""

    @abstractmethod
    def reset(self) -> None:
        """Forget the epoch."""


class Slot(BaseSlot):
    """A number or a tensor of one element. Values stay where they are: on the device."""

    def __init__(
        self,
        name: str,
        arguments: LogArguments,
        *,
        on_step: bool,
        on_epoch: bool,
        suffix: str,
        dirty: list[Any],
        sample_count: Callable[[], int],
    ) -> None:
        super().__init__(name, arguments, on_step=on_step, on_epoch=on_epoch, suffix=suffix, dirty=dirty)
        self.reduction = parse_reduction(arguments.reduce_fx)
        self.weighs = on_epoch and self.reduction == "mean"
        self.last: Value = 0.0
        self._enable_graph = arguments.enable_graph
        self._cell_dtype: torch.dtype | None = None
        """The type of the cell, where step values are copied to, one after the other; None without one."""
        self._copy_to_cell: Callable[[Tensor], Tensor]
        self._sample_count = sample_count
        self.reset()

    def add(self, value: Any, batch_size: int | None = None) -> None:
        """Take a value. A tensor is copied, for user code may go on to change it in place."""
        if isinstance(value, Tensor):
            if value.dtype is self._cell_dtype:
                try:  # `data` is as `detach`, without its bookkeeping: it is only read
                    value = self._copy_to_cell(value.data)
                except RuntimeError:  # of another shape
                    value = self._copy_to_cell(self._single(value.detach()))
            else:
                value = self._copy(value)
        elif type(value) is not float:
            value = self._number(value)
        self.last = value
        if self.on_step and not self.fresh:
            self._mark_fresh()
        if self.on_epoch:
            self.reduced = False
            self._combined = None
            self._pending.append(value)
            if self.weighs:
                self._weights.append(self._sample_count() if batch_size is None else batch_size)
            if len(self._pending) == FOLD_EVERY and isinstance(self.reduction, str):
                self._fold()

    def _copy(self, value: Tensor) -> Tensor:
        copied = (value if self._enable_graph else value.detach()).clone()
        if copied.dim():
            copied = self._single(copied)
        if not (self.on_epoch or self._enable_graph):
            self._copy_to_cell, self._cell_dtype = copied.copy_, copied.dtype
        return copied

    def confirm(self, arguments: LogArguments) -> None:
        super().confirm(arguments)
        self.reduction = parse_reduction(arguments.reduce_fx)

    def _single(self, value: Tensor) -> Tensor:
        if value.numel() != 1:
            value = outer().log_number(self.name, value)
        return value.reshape(())

    def _number(self, value: Any) -> float:
        if isinstance(value, Real):  # NumPy's numbers too
            return float(value)
        raise UsageError(
            f"`self.log({self.name!r})` takes a number, a tensor or a metric.",
            received=type(value).__name__,
            fix="self.log_dict(values) logs a dict" if isinstance(value, dict) else None,
        )

    def reset(self) -> None:
        self._pending: list[Value] = []
        self._weights: list[float] = []
        self._total: Value | None = None
        self._weight = 0.0
        self._combined: tuple[Value, float] | None = None
        """What all ranks came to: value and weight."""

    @property
    def used(self) -> bool:
        return self._total is not None or bool(self._pending) or self._combined is not None

    def _fold(self) -> None:
        """Fold the values held into one; always at the same counts, so that sums round reproducibly."""
        if not self._pending:
            return
        numbers = all(type(value) is float for value in self._pending)
        part: Value = self._fold_numbers() if numbers else self._fold_tensors()
        weight = float(sum(self._weights))
        self._pending, self._weights = [], []
        self._weight += weight
        if self._total is None:
            self._total = part
        elif self.reduction in ("mean", "sum"):
            self._total = self._total + part
        else:
            pair: list[Any] = [self._total, part]
            if isinstance(part, Tensor) or isinstance(self._total, Tensor):
                self._total = stack(pair).min() if self.reduction == "min" else stack(pair).max()
            else:
                self._total = _extremum(self.reduction, pair)

    def _fold_numbers(self) -> float:
        numbers: list[Any] = self._pending
        if self.reduction == "mean":
            return sum(value * weight for value, weight in zip(numbers, self._weights, strict=True))
        return sum(numbers) if self.reduction == "sum" else _extremum(self.reduction, numbers)

    def _fold_tensors(self) -> Tensor:
        values = stack(self._pending)
        if self.reduction == "mean":
            first = self._weights[0]
            if all(weight == first for weight in self._weights):
                return values.sum() * first
            weights = torch.tensor(self._weights, dtype=values.dtype).to(values.device, non_blocking=True)
            return (values * weights).sum()
        if self.reduction == "sum":
            return values.sum()
        return values.min() if self.reduction == "min" else values.max()

    def step_values(self) -> dict[str, Value]:
        return {self.name: self.last}

    def epoch_values(self) -> dict[str, Value]:
        total, weight = self._combined or self.partial()
        if not self.weighs:
            return {self.name: total}
        return {self.name: total / weight if weight else float("nan")}

    def parts(self) -> list[Part]:
        """What this rank gives to the value of all; of one that logged nothing, what changes nothing."""
        if callable(self.reduction):
            return [Part([stack(self._pending)] if self._pending else [], GATHER)]
        self._fold()
        nothing = {"min": math.inf, "max": -math.inf}.get(self.reduction, 0.0)
        total = torch.as_tensor(nothing if self._total is None else self._total)
        value = Part([total if total.dtype is torch.float64 else total.float()], _OPERATIONS[self.reduction])
        return [value, Part([torch.tensor(self._weight, dtype=torch.float64)], "sum")]

    def take_combined(self, combined: list[list[list[Tensor]]]) -> None:
        """Have the value that the parts of all ranks came to."""
        if callable(self.reduction):
            values = [tensor for rank in combined[0] for tensor in rank]
            self._combined = self.reduction(torch.cat(values)), 1.0
        else:
            (total,), (weight,) = combined[0][0], combined[1][0]
            self._combined = total, float(weight) if self.weighs else 1.0

    def restore_step_values(self, values: dict[str, Value]) -> None:
        (self.last,) = values.values()
        self._mark_fresh()

    def partial(self) -> tuple[Value, float]:
        """This process's share of the epoch: (sum of weighted values, sum of weights), or (value, 1)."""
        if callable(self.reduction):
            return self.reduction(stack(self._pending)), 1.0
        self._fold()
        assert self._total is not None
        return self._total, self._weight if self.weighs else 1.0

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on with an epoch that is under way."""
        kinds = {value.dtype if isinstance(value, Tensor) else None for value in self._pending}
        as_one = len(kinds) == 1 and None not in kinds
        return {
            "pending": torch.stack(self._pending) if as_one else list(self._pending),  # pyright: ignore[reportArgumentType, reportCallIssue]
            "weights": list(self._weights),
            "total": self._total,
            "weight": self._weight,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state that `state_dict` gave."""
        pending = state["pending"]
        self._pending = list(pending.unbind() if isinstance(pending, Tensor) else pending)
        self._weights = list(state["weights"])
        self._total, self._weight = state["total"], state["weight"]


class MetricSlot(BaseSlot):
    """A metric object, or a collection of them, by reference: computed when the epoch ends, and reset."""

    def __init__(
        self,
        name: str,
        metric: Any,
        arguments: LogArguments,
        *,
        on_step: bool,
        on_epoch: bool,
        suffix: str,
        dirty: list[Any],
    ) -> None:
        if not isinstance(metric, _Metric):
            raise UsageError(
                f"`self.log({name!r})` takes a number, a tensor or a metric.",
                received=f"the module {type(metric).__name__}, which has no `compute` and `reset`",
            )
        self._is_collection = isinstance(metric, nn.ModuleDict)
        if self._is_collection and not name.startswith(COLLECTION):
            raise UsageError(
                f"`self.log({name!r})` takes one value, and a collection of metrics has several.",
                received=type(metric).__name__,
                fix="self.log_dict(collection)",
            )
        super().__init__(name, arguments, on_step=on_step, on_epoch=on_epoch, suffix=suffix, dirty=dirty)
        self.metric: Any = metric
        self._used = False
        self._restored_step_values: dict[str, Value] | None = None

    def add(self, value: Any, batch_size: int | None = None) -> None:
        """The metric was updated in this step."""
        if value is not self.metric:
            raise UsageError(f"`self.log({self.name!r})` was called with another metric object before.")
        self._used = True
        self._restored_step_values = None
        self.reduced = False
        if self.on_step and not self.fresh:
            self._mark_fresh()

    @property
    def used(self) -> bool:
        return self._used

    def step_values(self) -> dict[str, Value]:
        """The values of the last batch, where `forward` was called on it."""
        if self._restored_step_values is not None:
            return self._restored_step_values
        metrics = dict(self.metric.items()) if self._is_collection else {self.name: self.metric}
        values = {name: metric._forward_cache for name, metric in metrics.items()}
        for name in [name for name in values if values[name] is None and not self.provisional]:
            warn_once(
                f"The metric {name!r} has no values of steps: it was updated, and not called ({self.place}). "
                "Call it, which updates it too, or log it with `on_step=False, on_epoch=True`."
            )
        return {name: _number(name, value) for name, value in values.items() if isinstance(value, Tensor)}

    def restore_step_values(self, values: dict[str, Value]) -> None:
        self._restored_step_values = values
        self._mark_fresh()

    def epoch_values(self) -> dict[str, Value]:
        computed = self.metric.compute()
        values = computed if self._is_collection else {self.name: computed}
        return {name: _number(name, value) for name, value in values.items()}

    def reset(self) -> None:
        self.metric.reset()
        self._used = False


def _place_of_the_user() -> str:
    """File and line of the code outside of fulmen that is being run."""
    frame = sys._getframe()
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("fulmen."):
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def _number(name: str, value: Any) -> Tensor:
    """What a metric came to, as a tensor without dimensions."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.detach().reshape(())
    raise UsageError(
        f"The metric {name!r} computes something that cannot be logged.",
        received=f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__,
        expected="a single number",
    )


def synchronised(slots: Iterable[BaseSlot]) -> AbstractContextManager[Any]:
    """Inside, the metrics of all these slots have the states of all processes."""
    metrics = [slot.metric for slot in slots if isinstance(slot, MetricSlot)]
    ours: list[Any] = [metric for metric in metrics if isinstance(metric, _Synchronises)]
    return ours[0].synchronised_together(ours) if ours else nullcontext()


def stack(values: list[Value]) -> Tensor:
    """Values as one tensor of their common type, at least float32, on the device of the first tensor."""
    kinds = {value.dtype if isinstance(value, Tensor) else None for value in values}
    if len(kinds) == 1 and kinds <= {torch.float32, torch.float64}:
        return torch.stack(values)  # pyright: ignore[reportArgumentType]  # all are tensors
    device = next((value.device for value in values if isinstance(value, Tensor)), torch.device("cpu"))
    exact = kinds <= {torch.float16, torch.bfloat16, torch.float32} or device.type == "mps"
    common = torch.float32 if exact else torch.float64  # float64 holds Python's numbers, and large counts
    return torch.stack(
        [torch.as_tensor(value, dtype=common).to(device, non_blocking=True) for value in values]
    )


def _extremum(reduction: Any, numbers: list[float]) -> float:
    """The least or the greatest number; Python's own `min` and `max` may pass a NaN over."""
    if any(number != number for number in numbers):
        return float("nan")
    return min(numbers) if reduction == "min" else max(numbers)
