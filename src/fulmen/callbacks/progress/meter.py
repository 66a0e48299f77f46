"""How far a pass over the data is, how fast it goes, and how that reads."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from time import monotonic
from typing import Any

from torch import Tensor

_SAMPLES = 100  # the latest drawings, which the rate is of: at ten per second, those of ten seconds


class Meter:
    """Notes the number of finished batches now and then, and knows time and rate from it.

    `done` batches are behind at the beginning; with None, the first note tells how many those were.
    """

    def __init__(self, total: float, done: int | None) -> None:
        self.total = total
        self.done = done or 0
        self.active_s = 0.0
        self._noted_s = monotonic()
        start = [] if done is None else [(0.0, done)]
        self._samples: deque[tuple[float, int]] = deque(start, maxlen=_SAMPLES)

    def note(self, done: int) -> None:
        """So many batches are done now."""
        now_s = monotonic()
        self.active_s += now_s - self._noted_s
        self._noted_s = now_s
        self.done = done
        self._samples.append((self.active_s, done))

    def resume(self) -> None:
        """The time since the last note was spent on something else."""
        self._noted_s = monotonic()

    @property
    def rate(self) -> float | None:
        """Batches per second; None as long as that is unknown."""
        if not self._samples:
            return None
        (start_s, start), (end_s, end) = self._samples[0], self._samples[-1]
        return (end - start) / (end_s - start_s) if end > start and end_s > start_s else None

    @property
    def count_text(self) -> str:
        """Such as "12/340"; a total that is unknown shows as "--"."""
        return f"{self.done}/{'--' if math.isinf(self.total) else self.total}"

    @property
    def elapsed_text(self) -> str:
        """Time spent, as hours, minutes and seconds."""
        return _clock(self.active_s)

    @property
    def remaining_text(self) -> str:
        """Time left at this rate."""
        if self.rate is None or math.isinf(self.total):
            return "-:--:--"
        return _clock((self.total - self.done) / self.rate)

    @property
    def rate_text(self) -> str:
        """Such as "18.53it/s"."""
        return "?it/s" if self.rate is None else f"{self.rate:.2f}it/s"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def format_metrics(metrics: Mapping[str, Any], link: str, delimiter: str, spec: str = ".4g") -> str:
    """Names and values in a row; `spec` is for those that are no whole numbers."""
    return delimiter.join(f"{name}{link}{_format_value(value, spec)}" for name, value in metrics.items())


def _format_value(value: Any, spec: str) -> str:
    return format(value, spec) if isinstance(value, (float, Tensor)) else str(value)
