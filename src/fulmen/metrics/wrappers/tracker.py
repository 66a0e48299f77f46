"""A metric over several steps, epochs say: all its values, and the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fulmen.base.report import warn
from fulmen.errors import ConfigError, UsageError


class MetricTracker(nn.ModuleList):
    """Metrics or collections, one for each step, which `increment` begins. The first is the pattern.

    Args:
        metric: a metric or a collection, ours or torchmetrics'.
        maximize: whether greater is better; a list says it for each metric of a collection. By default, what
            the metrics say themselves (`higher_is_better`).
    """

    def __init__(self, metric: Any, maximize: bool | Sequence[bool] | None = None) -> None:
        super().__init__([metric])
        if not callable(getattr(type(metric), "compute", None)):
            raise ConfigError(
                "A metric is to be tracked.",
                received=type(metric).__name__,
                expected="a metric or a collection, ours or torchmetrics'",
            )
        self.maximize = _checked_maximize(metric, maximize)

    @property
    def n_steps(self) -> int:
        """How many steps were begun."""
        return len(self) - 1

    def increment(self) -> None:
        """Begin a step with a metric of its own."""
        metric: Any = self[0]
        metric = metric.clone()
        metric.reset()
        self.append(metric)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch to the step; returns the value of this batch alone."""
        return self._current("forward")(*args, **kwargs)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch to the step."""
        self._current("update").update(*args, **kwargs)

    def compute(self) -> Any:
        """The value of the step."""
        return self._current("compute").compute()

    def compute_all(self) -> Any:
        """The values of all steps, stacked; by name where they have names."""
        self._current("compute_all")
        values = [metric.compute() for metric in list(self)[1:]]  # pyright: ignore[reportCallIssue]
        if isinstance(values[0], dict):
            return {name: torch.stack([torch.as_tensor(v[name]) for v in values]) for name in values[0]}
        return torch.stack([torch.as_tensor(value) for value in values])

    def best_metric(self, return_step: bool = False) -> Any:
        """The best value, and with `return_step` the step that had it, counted from 0; NaN is never best.

        Dicts of them where values have names. None, with a warning, where a step's value is not a number.
        """
        values = self.compute_all()
        if isinstance(values, Tensor):
            best, step = self._best_of("metric", values, self.maximize)
            return (best, step) if return_step else best
        maximize = self.maximize
        flags = [maximize] * len(values) if isinstance(maximize, bool) else maximize
        if len(flags) != len(values):
            raise UsageError("There are more values than metrics.", fix="`maximize` for every value")
        found = {
            name: self._best_of(name, steps, flag)
            for (name, steps), flag in zip(values.items(), flags, strict=True)
        }
        best = {name: value for name, (value, _) in found.items()}
        return (best, {name: step for name, (_, step) in found.items()}) if return_step else best

    @staticmethod
    def _best_of(name: str, values: Tensor, maximize: Any) -> tuple[float | None, int | None]:
        if values.ndim != 1:
            warn(f"There is no best {name!r}: the values of a step have the shape {tuple(values.shape[1:])}.")
            return None, None
        ranked = (values if maximize else -values).nan_to_num(nan=float("-inf"), posinf=float("inf"))
        step = int(ranked.argmax())
        return float(values[step]), step

    def reset(self) -> None:
        """Forget the batches of the step."""
        self._current("reset").reset()

    def reset_all(self) -> None:
        """Forget the batches of all steps."""
        for metric in self:
            metric.reset()  # pyright: ignore[reportCallIssue]

    def _current(self, asked: str) -> Any:
        if not self.n_steps:
            raise UsageError(f"`{asked}` was called before the first step.", fix="call `increment()` before")
        return self[-1]

    def get_extra_state(self) -> int:
        """The number of steps: what their metrics hold can only be put back into metrics."""
        return self.n_steps

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        state_dict.setdefault(f"{prefix}_extra_state", self.n_steps)  # torchmetrics' trackers save none
        super()._load_from_state_dict(state_dict, prefix, *args)

    def set_extra_state(self, state: int) -> None:
        """Have as many steps as when the state was taken."""
        while self.n_steps < state:
            self.increment()


def _checked_maximize(metric: Any, maximize: Any) -> Any:
    """Whether greater is better, as one answer or one for each metric of a collection."""
    several = isinstance(metric, nn.ModuleDict)  # as collections are, ours and torchmetrics'
    if maximize is None:
        members = list(metric.values()) if several else [metric]
        flags = [getattr(member, "higher_is_better", None) for member in members]
        if None in flags:
            unsure = type(members[flags.index(None)]).__name__
            raise ConfigError(f"{unsure} does not say whether greater is better.", fix="give `maximize`")
        return flags if several else flags[0]
    if isinstance(maximize, bool):
        return maximize
    if not isinstance(maximize, Sequence) or not all(isinstance(flag, bool) for flag in maximize):
        raise ConfigError(
            "`maximize` cannot be used.", received=repr(maximize), expected="True, False or a list of them"
        )
    if not several or len(maximize) != len(metric):
        expected = (
            f"{len(metric)} of them, one for each metric" if several else "True or False, for one metric"
        )
        raise ConfigError("`maximize` does not fit the metric.", received=repr(maximize), expected=expected)
    return list(maximize)
