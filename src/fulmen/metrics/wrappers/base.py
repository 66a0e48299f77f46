"""What metrics of metrics have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from torch import nn

from fulmen.errors import ConfigError, UsageError
from fulmen.metrics.metric import Metric, accepted

Values = dict[int, Any]
"""What metrics came to, by their ids."""


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


class Derived(Wrapper):
    """A metric whose value follows from those of others, to which it passes every batch as it is."""

    @abstractmethod
    def _derive(self, values: Values) -> Any:
        """The value that follows from these, which `value_of` finds for each of the metrics."""

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch to the metrics; each of several gets those keyword arguments that it takes."""
        for metric, its_own in self._passed(kwargs):
            metric.update(*args, **its_own)

    def compute(self) -> Any:
        """What follows from the values over all batches."""
        return self._derive({id(metric): metric.compute() for metric in self._receivers()})

    def _step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._take({id(m): m(*args, **its_own) for m, its_own in self._passed(kwargs)})

    def _take(self, values: Values) -> Any:
        """Count a batch that the metrics have got; returns what follows from their values of it."""
        self._count_batch()
        return None if any(value is None for value in values.values()) else self._derive(values)

    def _receivers(self) -> list[Any]:
        """The metrics that get the batches in the end, each once."""
        return receivers(self._metrics())

    def _passed(self, kwargs: dict[str, Any]) -> list[tuple[Any, dict[str, Any]]]:
        metrics = self._receivers()
        return [(metric, accepted(metric, kwargs) if len(metrics) > 1 else kwargs) for metric in metrics]


def passes_on(metric: Any) -> bool:
    """Whether other metrics get the batches of this one, just as they are."""
    return isinstance(metric, Derived) and type(metric).update is Derived.update


def receivers(metrics: Iterable[Any]) -> list[Any]:
    """The metrics that get the batches of these, each once."""
    found: dict[int, Any] = {}
    for metric in metrics:
        found |= {id(m): m for m in (receivers(metric._metrics()) if passes_on(metric) else [metric])}
    return list(found.values())


def value_of(metric: Any, values: Values) -> Any:
    """What a metric comes to, by the values of those that get the batches."""
    return values[id(metric)] if id(metric) in values else metric._derive(values)


def checked_metric(metric: Any) -> Any:
    """The metric, or an error where it is none."""
    if not isinstance(metric, nn.Module) or not callable(getattr(type(metric), "merge_state", None)):
        raise ConfigError(
            "A metric is to be wrapped.",
            received=type(metric).__name__,
            expected="a metric, ours or torchmetrics'",
        )
    return metric
