"""16 bits everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from fulmen.errors import ConfigError
from fulmen.precision.precision import Precision

_DTYPES = {"16-true": torch.float16, "bf16-true": torch.bfloat16}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """New floating-point tensors are of this type inside."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class HalfPrecision(Precision):
    """`16-true` and `bf16-true`: parameters, inputs and new tensors in 16 bits, without loss scaling."""

    converts = True

    def __init__(self, precision: str = "16-true") -> None:
        if precision not in _DTYPES:
            raise ConfigError(
                "Unknown half precision.", received=repr(precision), expected=", ".join(_DTYPES)
            )
        self.name = precision
        self.dtype = _DTYPES[precision]

    def context(self) -> Callable[[], AbstractContextManager[Any]]:
        return lambda: default_dtype(self.dtype)

    module_context = context
