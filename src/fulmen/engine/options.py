"""What a Trainer was asked for, sorted; each group checks itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from fulmen.base.report import warn
from fulmen.errors import ConfigError, did_you_mean

Limit = int | float


def parse_duration(value: Any, name: str) -> timedelta | None:
    """A duration from a timedelta, its keywords, or "DD:HH:MM:SS"."""
    if value is None:
        return None
    duration = value if isinstance(value, timedelta) else _read_duration(value)
    if duration is not None and duration >= timedelta(0):
        return duration
    raise ConfigError(
        f"`{name}` is not a duration.",
        received=repr(value),
        expected="'DD:HH:MM:SS', a timedelta, or its keywords such as {'hours': 2}",
    )


def _read_duration(value: Any) -> timedelta | None:
    try:
        if isinstance(value, dict):
            return timedelta(**value)
        if isinstance(value, str):
            days, hours, minutes, seconds = (int(part) for part in value.strip().split(":"))
            return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    except (TypeError, ValueError):
        return None
    return None


def parse_interval(value: Any) -> Any:
    """A number of batches or a fraction as it is, anything else as a duration."""
    return parse_duration(value, "val_check_interval") if isinstance(value, (str, dict)) else value


def _check_count(name: str, value: Any, *, least: int, none: bool = False) -> None:
    if none and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(
            f"`{name}` is not a whole number of at least {least}.",
            received=repr(value),
            expected="None, too" if none else None,
        )


def check_limit(name: str, value: Any) -> None:
    """A number of batches, or a fraction of them."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if (whole and value >= 0) or (isinstance(value, float) and 0.0 <= value <= 1.0):
        return
    raise ConfigError(
        f"`{name}` is out of range.",
        received=repr(value),
        expected="a fraction from 0.0 to 1.0, or a whole number of batches",
        fix=f"{name}={int(value)}" if isinstance(value, float) and value > 1 and value.is_integer() else None,
    )


@dataclass(frozen=True)
class FitOptions:
    """When training ends."""

    max_epochs: int | None = None
    min_epochs: int | None = None
    max_steps: int = -1
    min_steps: int | None = None
    max_time: timedelta | None = None

    def __post_init__(self) -> None:
        _check_count("max_epochs", self.max_epochs, least=-1, none=True)
        _check_count("min_epochs", self.min_epochs, least=0, none=True)
        _check_count("max_steps", self.max_steps, least=-1)
        _check_count("min_steps", self.min_steps, least=0, none=True)
        for unit in ("epochs", "steps"):
            least, most = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            if least is not None and most is not None and 0 <= most < least:
                warn(f"`min_{unit}` is more than `max_{unit}`, {least} > {most}: the latter wins.")

    @property
    def epoch_limit(self) -> float:
        """Most epochs to train; 1000 where nothing limits training at all."""
        if self.max_epochs is None:
            return math.inf if self.max_steps != -1 or self.max_time is not None else 1000
        return math.inf if self.max_epochs == -1 else self.max_epochs

    @property
    def step_limit(self) -> float:
        """Most optimizer steps to train."""
        return math.inf if self.max_steps == -1 else self.max_steps


@dataclass(frozen=True)
class DataOptions:
    """How much data each loop sees."""

    limit_train_batches: Limit = 1.0
    limit_val_batches: Limit = 1.0
    limit_test_batches: Limit = 1.0
    limit_predict_batches: Limit = 1.0
    overfit_batches: Limit = 0.0
    fast_dev_run: int = 0
    num_sanity_val_steps: int = 2
    reload_dataloaders_every_n_epochs: int = 0
    use_distributed_sampler: bool = True
    exact_data: bool = True

    def __post_init__(self) -> None:
        for kind in ("train", "val", "test", "predict"):
            check_limit(f"limit_{kind}_batches", getattr(self, f"limit_{kind}_batches"))
        check_limit("overfit_batches", self.overfit_batches)
        if not isinstance(self.fast_dev_run, bool):
            _check_count("fast_dev_run", self.fast_dev_run, least=0)
        _check_count("num_sanity_val_steps", self.num_sanity_val_steps, least=-1)
        _check_count("reload_dataloaders_every_n_epochs", self.reload_dataloaders_every_n_epochs, least=0)

    def limit(self, kind: str) -> Limit:
        """How many batches of this kind count."""
        return getattr(self, f"limit_{kind}_batches")


@dataclass(frozen=True)
class ValidationOptions:
    """When training is interrupted by a validation."""

    val_check_interval: Limit | timedelta = 1.0
    check_val_every_n_epoch: int | None = 1

    def __post_init__(self) -> None:
        _check_count("check_val_every_n_epoch", self.check_val_every_n_epoch, least=1, none=True)
        interval = self.val_check_interval
        if isinstance(interval, timedelta):
            if interval <= timedelta(0):
                raise ConfigError("`val_check_interval` is not positive.", received=interval)
            return
        if self.check_val_every_n_epoch is None and isinstance(interval, float):
            raise ConfigError(
                "Without `check_val_every_n_epoch`, `val_check_interval` counts batches over epochs.",
                received=repr(interval),
                expected="a whole number of batches, or a duration",
            )
        check_limit("val_check_interval", interval)
        if interval == 0:
            raise ConfigError("`val_check_interval` is 0.", fix="limit_val_batches=0 turns validation off")


def limit_for_debugging(
    fit: FitOptions, data: DataOptions, validation: ValidationOptions
) -> tuple[FitOptions, DataOptions, ValidationOptions]:
    """What `fast_dev_run` and `overfit_batches` make of the other options."""
    batches = int(data.fast_dev_run)
    if batches:
        limits = {f"limit_{kind}_batches": batches for kind in ("train", "val", "test", "predict")}
        data = replace(data, num_sanity_val_steps=0, **limits)
        return FitOptions(max_epochs=1, max_steps=batches), data, ValidationOptions()
    if data.overfit_batches:
        limit = data.overfit_batches
        data = replace(data, limit_train_batches=limit, limit_val_batches=limit)
    return fit, data, validation


@dataclass(frozen=True)
class StepOptions:
    """How a batch becomes an update."""

    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str | None = None

    def __post_init__(self) -> None:
        _check_count("accumulate_grad_batches", self.accumulate_grad_batches, least=1)
        clip = self.gradient_clip_val
        if clip is not None and (isinstance(clip, bool) or not isinstance(clip, (int, float)) or clip < 0):
            raise ConfigError("`gradient_clip_val` is not a number of at least 0.", received=repr(clip))
        known = ("norm", "value")
        if self.gradient_clip_algorithm not in (None, *known):
            raise ConfigError(
                "`gradient_clip_algorithm` is unknown.",
                received=repr(self.gradient_clip_algorithm),
                expected="'norm' or 'value'",
                fix=did_you_mean(str(self.gradient_clip_algorithm), known),
            )


@dataclass(frozen=True)
class ReportOptions:
    """What is said, when, and how closely torch is watched."""

    log_every_n_steps: int = 50
    enable_autolog_hparams: bool = True
    inference_mode: bool = True
    barebones: bool = False

    def __post_init__(self) -> None:
        _check_count("log_every_n_steps", self.log_every_n_steps, least=0)
