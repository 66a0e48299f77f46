"""Metrics of metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fulmen.metrics.arithmetic import Arithmetic, item
from fulmen.metrics.metric import Metric
from fulmen.metrics.wrappers.base import Derived, Values, value_of


class CompositionalMetric(Derived):
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

    def _derive(self, values: Values) -> Any:
        operands = [operand for operand in (self.metric_a, self.metric_b) if operand is not None]
        return self.op(*(value_of(x, values) if isinstance(x, nn.Module) else x for x in operands))

    def metrics(self) -> list[Any]:
        """The metrics in the operation, each once."""
        return self._receivers()

    def __repr__(self) -> str:
        operands = ", ".join(repr(x) for x in (self.metric_a, self.metric_b) if x is not None)
        return f"{getattr(self.op, '__name__', self.op)}({operands})"


Arithmetic.composition = CompositionalMetric
