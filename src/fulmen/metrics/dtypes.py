"""The types that metrics compute with."""

from __future__ import annotations

import torch
from torch import Tensor


def widest(tensor: Tensor) -> torch.dtype:
    """The type of floating point with the most digits that the device of a tensor has."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def result_dtype(*given: Tensor) -> torch.dtype:
    """What a function gives for these: float64 where one of them is, else float32."""
    return torch.float64 if any(tensor.dtype is torch.float64 for tensor in given) else torch.float32
