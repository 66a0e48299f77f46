"""Switches of torch that a run asks for, put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fulmen.base import environ
from fulmen.errors import ConfigError


@contextmanager
def torch_settings(
    deterministic: bool | str | None, benchmark: bool | None, detect_anomaly: bool
) -> Iterator[None]:
    """Deterministic algorithms (a warning where there is none), cuDNN's benchmark mode, anomaly detection."""
    if deterministic not in (None, True, False, "warn"):
        raise ConfigError(
            "`deterministic` is unknown.", received=repr(deterministic), expected="True, False or 'warn'"
        )
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
    )
    if deterministic is not None:
        torch.use_deterministic_algorithms(bool(deterministic), warn_only=deterministic == "warn")
        if deterministic and torch.cuda.is_available() and environ.read("CUBLAS_WORKSPACE_CONFIG") is None:
            environ.write(
                "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
            )  # without it cuBLAS refuses to be deterministic
    if benchmark is not None or deterministic:
        torch.backends.cudnn.benchmark = bool(benchmark)
    try:
        if detect_anomaly:
            with torch.autograd.set_detect_anomaly(True):
                yield
        else:
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = before[2]
