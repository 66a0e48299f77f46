"""Measures how long the parts of a run take, and ends training after a given time."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Any

from fulmen.base.report import info
from fulmen.callbacks.clock import has_passed
from fulmen.core.callback import Callback
from fulmen.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer

_STAGES = ("train", "sanity_check", "validate", "test", "predict")


class Interval(str, Enum):
    """When the time is looked at."""

    step = "step"
    epoch = "epoch"


class Timer(Callback):
    """Ends training after `duration`: `"DD:HH:MM:SS"`, a timedelta, or a dict of what timedelta takes.

    Time spent before a resume counts. It looks at the clock after each batch, or each epoch
    (`interval="epoch"`).
    """

    def __init__(
        self,
        duration: str | timedelta | dict[str, int] | None = None,
        interval: str = Interval.step,
        verbose: bool = True,
    ) -> None:
        if interval not in tuple(Interval):
            raise ConfigError(
                "The interval of Timer is unknown.",
                received=repr(interval),
                expected="'step' or 'epoch'",
                fix=did_you_mean(str(interval), [i.value for i in Interval]),
            )
        self._duration_s = _parse_duration(duration)
        self._interval = Interval(interval)
        self._verbose = verbose
        self._started_s: dict[str, float] = {}
        self._ended_s: dict[str, float] = {}
        self._before_resume_s = 0.0
        self._deadline_s = math.inf

    def start_time(self, stage: str = "train") -> float | None:
        """When a stage began, in seconds of `time.monotonic`; None where it has not."""
        return self._started_s.get(_known(stage))

    def end_time(self, stage: str = "train") -> float | None:
        """When a stage ended, in seconds of `time.monotonic`; None where it has not."""
        return self._ended_s.get(_known(stage))

    def time_elapsed(self, stage: str = "train") -> float:
        """Seconds that a stage has taken."""
        before = self._before_resume_s if stage == "train" else 0.0
        start, end = self.start_time(stage), self.end_time(stage)
        if start is None:
            return before
        return before + (monotonic() if end is None else end) - start

    def time_remaining(self, stage: str = "train") -> float | None:
        """Seconds that are left of `duration`; None without one."""
        return None if self._duration_s is None else self._duration_s - self.time_elapsed(stage)

    def state_dict(self) -> dict[str, Any]:
        return {"time_elapsed": {stage: self.time_elapsed(stage) for stage in _STAGES}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before_resume_s = state_dict.get("time_elapsed", {}).get("train", 0.0)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._set_deadline()
        self._check(trainer, at_once=True)  # nothing may be left of it after a resume

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._duration_s is not None and self._interval is Interval.step:
            self._check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._interval is Interval.epoch:
            self._check(trainer, at_once=True)

    def _set_deadline(self) -> None:
        if self._duration_s is not None:
            self._deadline_s = monotonic() + self._duration_s - self._before_resume_s

    def _check(self, trainer: Trainer, *, at_once: bool = False) -> None:
        if self._duration_s is None or trainer.should_stop:
            return
        if has_passed(trainer, self._deadline_s, at_once=at_once):
            reason = f"the time limit of {timedelta(seconds=self._duration_s)} is reached"
            if self._verbose:
                info(f"Training ends soon: {reason}.")
            trainer.stop(reason)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start("train")
        self._set_deadline()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end("train")

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start("sanity_check")

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end("sanity_check")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start("validate")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end("validate")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start("test")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end("test")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start("predict")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end("predict")

    def _start(self, stage: str) -> None:
        self._started_s[stage] = monotonic()
        self._ended_s.pop(stage, None)

    def _end(self, stage: str) -> None:
        self._ended_s[stage] = monotonic()


def _known(stage: str) -> str:
    if stage not in _STAGES:
        raise ConfigError(
            "Timer knows no such stage.",
            received=repr(stage),
            expected=", ".join(_STAGES),
            fix=did_you_mean(str(stage), _STAGES),
        )
    return stage


def _parse_duration(duration: str | timedelta | dict[str, int] | None) -> float | None:
    """A duration in seconds."""
    if duration is None:
        return None
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    units = ("days", "hours", "minutes", "seconds")
    if isinstance(duration, str) and re.fullmatch(r"\d+:\d\d:\d\d:\d\d", duration):
        return timedelta(**dict(zip(units, map(int, duration.split(":")), strict=True))).total_seconds()
    if isinstance(duration, dict) and duration.keys() <= {*units, "weeks", "milliseconds", "microseconds"}:
        return timedelta(**duration).total_seconds()
    raise ConfigError(
        "The duration of Timer cannot be read.",
        received=repr(duration),
        expected="'DD:HH:MM:SS', a datetime.timedelta, or a dict like {'hours': 12}",
    )
