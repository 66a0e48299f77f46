"""Metrics of metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fulmen.metrics.arithmetic import Arithmetic, item
from fulmen.metrics.metric import Metric, accepted


class CompositionalMetric(Metric):
    """An operation on metrics and numbers. A metric in it gets a batch once, however often it appears."""

    def __init__(
        self,
        operator: Callable[..., Any],
        metric_a: Metric | Tensor | float | None,
        metric_b: Metric | Tensor | float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.op = operator
        self.metric_a = self._operand("metric_a", metric_a)
        self.metric_b = self._operand("metric_b", metric_b)

    def _operand(self, name: str, operand: Any) -> Any:
        if operand is None or isinstance(operand, nn.Module) or self.op is item:
            return operand
        self.register_buffer(name, torch.as_tensor(operand), persistent=False)
        return getattr(self, name)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch to all metrics; each gets those keyword arguments that it takes."""
        for metric in self.metrics():
            metric.update(*args, **accepted(metric, kwargs))

    def compute(self) -> Any:
        """The operation on the values of the metrics."""
        return self._of({id(metric): metric.compute() for metric in self.metrics()})

    def _step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        values = {id(metric): metric(*args, **accepted(metric, kwargs)) for metric in self.metrics()}
        self._put_states({}, self._update_count + 1)
        return None if any(value is None for value in values.values()) else self._of(values)

    def _of(self, values: dict[int, Any]) -> Any:
        """The operation on these values, by the id of their metric."""
        operands = [
            operand._of(values)
            if isinstance(operand, CompositionalMetric)
            else values.get(id(operand), operand)
            for operand in (self.metric_a, self.metric_b)
            if operand is not None
        ]
        return self.op(*operands)

    def metrics(self) -> list[Any]:
        """The metrics in the operation, each once."""
        found: dict[int, Any] = {}
        for operand in (self.metric_a, self.metric_b):
            inner = operand.metrics() if isinstance(operand, CompositionalMetric) else [operand]
            found |= {id(metric): metric for metric in inner if isinstance(metric, nn.Module)}
        return list(found.values())

    def reset(self) -> None:
        """Forget every batch."""
        super().reset()
        for metric in self.metrics():
            metric.reset()

    def persistent(self, mode: bool = False) -> None:
        """Whether `state_dict` holds the states of the metrics."""
        for metric in self.metrics():
            metric.persistent(mode)

    def __repr__(self) -> str:
        operands = ", ".join(repr(x) for x in (self.metric_a, self.metric_b) if x is not None)
        return f"{getattr(self.op, '__name__', self.op)}({operands})"


Arithmetic.composition = CompositionalMetric
