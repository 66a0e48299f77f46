"""What can be done with metrics as with numbers: `2 * precision + recall` is a metric as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch


class Arithmetic:
    """Operators that make a metric of metrics, tensors and numbers.

    `==` and `!=` are not among them: they say whether two metrics are one, as for any module.
    """

    composition: ClassVar[Callable[..., Any]]
    """What an operator makes: `composition(operator, first, second)`. `metrics.composition` sets it."""

    def __add__(self, other: Any) -> Any:
        return self.composition(torch.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return self.composition(torch.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return self.composition(torch.sub, self, other)

    def __rsub__(self, other: Any) -> Any:
        return self.composition(torch.sub, other, self)

    def __mul__(self, other: Any) -> Any:
        return self.composition(torch.mul, self, other)

    def __rmul__(self, other: Any) -> Any:
        return self.composition(torch.mul, other, self)

    def __truediv__(self, other: Any) -> Any:
        return self.composition(torch.true_divide, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self.composition(torch.true_divide, other, self)

    def __floordiv__(self, other: Any) -> Any:
        return self.composition(torch.floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self.composition(torch.floor_divide, other, self)

    def __mod__(self, other: Any) -> Any:
        return self.composition(torch.remainder, self, other)

    def __rmod__(self, other: Any) -> Any:
        return self.composition(torch.remainder, other, self)

    def __pow__(self, other: Any) -> Any:
        return self.composition(torch.pow, self, other)

    def __rpow__(self, other: Any) -> Any:
        return self.composition(torch.pow, other, self)

    def __matmul__(self, other: Any) -> Any:
        return self.composition(torch.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return self.composition(torch.matmul, other, self)

    def __and__(self, other: Any) -> Any:
        return self.composition(torch.bitwise_and, self, other)

    def __rand__(self, other: Any) -> Any:
        return self.composition(torch.bitwise_and, other, self)

    def __or__(self, other: Any) -> Any:
        return self.composition(torch.bitwise_or, self, other)

    def __ror__(self, other: Any) -> Any:
        return self.composition(torch.bitwise_or, other, self)

    def __xor__(self, other: Any) -> Any:
        return self.composition(torch.bitwise_xor, self, other)

    def __rxor__(self, other: Any) -> Any:
        return self.composition(torch.bitwise_xor, other, self)

    def __lt__(self, other: Any) -> Any:
        return self.composition(torch.lt, self, other)

    def __le__(self, other: Any) -> Any:
        return self.composition(torch.le, self, other)

    def __gt__(self, other: Any) -> Any:
        return self.composition(torch.gt, self, other)

    def __ge__(self, other: Any) -> Any:
        return self.composition(torch.ge, self, other)

    def __abs__(self) -> Any:
        return self.composition(torch.abs, self)

    def __neg__(self) -> Any:
        return self.composition(torch.neg, self)

    def __pos__(self) -> Any:
        return self.composition(torch.positive, self)

    def __invert__(self) -> Any:
        return self.composition(torch.bitwise_not, self)

    def __getitem__(self, index: Any) -> Any:
        return self.composition(item, self, index)

    __iter__ = None  # else the numbers from 0 on, tried as indices, would make an endless sequence


def item(value: Any, index: Any) -> Any:
    """One of several values."""
    return value[index]
