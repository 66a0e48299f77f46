"""Switches of torch that a run asks for, put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from fulmen.base import environ
from fulmen.errors import ConfigError


@dataclass(frozen=True)
class TorchSwitches:
    """Deterministic algorithms (or a warning where there is none), cuDNN's search, anomaly detection."""

    deterministic: bool | str | None = None
    benchmark: bool | None = None
    detect_anomaly: bool = False

    def __post_init__(self) -> None:
        if self.deterministic not in (None, True, False, "warn"):
            raise ConfigError(
                "`deterministic` is unknown.",
                received=repr(self.deterministic),
                expected="True, False or 'warn'",
            )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, torch does as asked."""
        before = (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.benchmark,
        )
        if self.deterministic is not None:
            torch.use_deterministic_algorithms(
                bool(self.deterministic), warn_only=self.deterministic == "warn"
            )
            unset = environ.read("CUBLAS_WORKSPACE_CONFIG") is None
            if self.deterministic and torch.cuda.is_available() and unset:
                environ.write("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS refuses to be deterministic
        if self.benchmark is not None or self.deterministic:
            torch.backends.cudnn.benchmark = bool(self.benchmark)
        try:
            if self.detect_anomaly:
                with torch.autograd.set_detect_anomaly(True):
                    yield
            else:
                yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            torch.backends.cudnn.benchmark = before[2]
