"""64 bits everywhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from fulmen.precision.half import default_dtype
from fulmen.precision.precision import Precision


class DoublePrecision(Precision):
    """`64-true`: parameters, inputs and new tensors in float64."""

    name = "64-true"
    dtype = torch.float64
    converts = True

    def context(self) -> Callable[[], AbstractContextManager[Any]]:
        return lambda: default_dtype(self.dtype)

    module_context = context
