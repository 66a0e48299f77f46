"""The value over the last few batches."""

from __future__ import annotations

from typing import Any

from torch import nn

from fulmen.errors import ConfigError
from fulmen.metrics.arguments import check_at_least
from fulmen.metrics.metric import Metric
from fulmen.metrics.wrappers.base import Wrapper, checked_metric


class Window(Wrapper):
    """A metric over the last batches: each one's states are kept, and combined after every update."""

    def __init__(self, base_metric: Any, window: int = 5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_at_least("window", window, 1)
        self.window = window
        self.base_metric = checked_metric(base_metric)
        if not _can_be_combined(base_metric):
            raise ConfigError(
                "The states of single batches cannot be combined, so that there is no running value.",
                received=type(base_metric).__name__,
                expected="a metric with states of its own, whose `full_state_update` is False",
            )
        self.batches = nn.ModuleList(_empty_copy(base_metric) for _ in range(window))

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch, and forget the one that is too old now."""
        self._oldest().update(*args, **kwargs)
        self._combine()

    def compute(self) -> Any:
        """The value over the window."""
        return self.base_metric.compute()

    def _step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = self._oldest()(*args, **kwargs)
        self._combine()
        self._count_batch()
        return value

    def _oldest(self) -> Any:
        """The place of the oldest batch, emptied for the next one and the last in order."""
        oldest: Any = self.batches.pop(0)
        oldest.reset()
        self.batches.append(oldest)
        return oldest

    def _combine(self) -> None:
        """Give the base metric the states of all batches of the window, from the oldest to the newest."""
        base: Any = self.base_metric
        modules: Any = self.batches
        batches: list[Any] = [batch for batch in modules if batch.update_count]
        if isinstance(base, Metric):
            parts = [base._fresh_states(), *(batch.metric_state for batch in batches)]
            states = base.combine_states(parts, [0, *(batch.update_count for batch in batches)])
            base._put_states(states, len(batches))
            return
        base.reset()
        for batch in batches:
            base.merge_state(batch)
        base._update_count = len(batches)  # which torchmetrics leaves as it is


def _empty_copy(metric: Any) -> Any:
    """A metric for the states of one batch of this process."""
    copied = metric.clone()
    copied.reset()
    copied.sync_on_compute = False
    return copied


def _can_be_combined(metric: Any) -> bool:
    if isinstance(metric, Metric):
        return bool(metric.metric_state) and metric._can_be_added_to
    return metric.full_state_update is False


class Running(Window):
    """A metric over the last `window` batches of each process; a call gives the value of its batch alone.

    Memory is that of `window + 1` metrics.
    """
