"""Training mode and evaluation mode, which each layer of a module has of its own."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


def remember_modes(module: nn.Module) -> Callable[[], None]:
    """Returns what puts every layer back into the mode that it is in now."""
    modes = [(layer, layer.training) for layer in module.modules()]

    def put_back() -> None:
        for layer, training in modes:
            layer.training = training

    return put_back
