"""What wrappers of metrics have in common."""

from __future__ import annotations

from typing import Any

from torch import nn

from fulmen.errors import ConfigError, UsageError
from fulmen.metrics.metric import Metric


class Wrapper(Metric):
    """A metric that is computed from other ones, ours or torchmetrics', and keeps no states of its own."""

    def reset(self) -> None:
        """Forget every batch."""
        super().reset()
        for metric in self._metrics():
            metric.reset()

    def merge_state(self, incoming_state: Any) -> None:
        """Not to be had: only metrics with states of their own can be merged."""
        raise UsageError(f"A {type(self).__name__} cannot be merged.", fix="merge the metrics that it wraps")

    def persistent(self, mode: bool = False) -> None:
        """Whether `state_dict` holds the states of the metrics."""
        for metric in self._metrics():
            metric.persistent(mode)

    def _metrics(self) -> list[Any]:
        """The metrics that are wrapped."""
        parts = [part for part in self.children() if not isinstance(part, nn.ModuleList)]
        lists = [part for part in self.children() if isinstance(part, nn.ModuleList)]
        return [*parts, *(metric for metrics in lists for metric in metrics)]

    def _count_batch(self) -> None:
        """Note that a batch was added where `update` did not."""
        self._put_states({}, self._update_count + 1)


def checked_metric(metric: Any) -> Any:
    """The metric, or an error where it is none."""
    if not isinstance(metric, nn.Module) or not callable(getattr(type(metric), "merge_state", None)):
        raise ConfigError(
            "A metric is to be wrapped.",
            received=type(metric).__name__,
            expected="a metric, ours or torchmetrics'",
        )
    return metric
