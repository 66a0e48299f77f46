"""Ends training when a logged value says that there is no more to gain."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fulmen.base.report import info, log, warn_once
from fulmen.base.seams import understood, understood_hook
from fulmen.callbacks.monitoring import (
    check_mode,
    decides_at_epoch_end,
    is_better,
    metric_not_found,
    read_score,
    worst_score,
)
from fulmen.core.callback import Callback
from fulmen.errors import ConfigError

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer


class EarlyStoppingReason(Enum):
    """Why training was ended; checkpoints hold the number."""

    NOT_STOPPED = 0
    STOPPING_THRESHOLD = 1
    DIVERGENCE_THRESHOLD = 2
    PATIENCE_EXHAUSTED = 3
    NON_FINITE_METRIC = 4


class EarlyStopping(Callback):
    """Ends training once `monitor` has not improved by more than `min_delta` in `patience` checks in a row.

    It also ends at once where the value is not finite (`check_finite`), better than `stopping_threshold` or
    worse than `divergence_threshold`. A check follows each epoch where validation runs once per epoch or
    never, else each validation; `check_on_train_epoch_end` says so explicitly. With `strict`, a name that
    nobody logs is an error.
    """

    monitors_metrics = True

    @understood
    def __init__(
        self,
        monitor: str,
        min_delta: float = 0.0,
        patience: int = 3,
        verbose: bool = False,
        mode: str = "min",
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_on_train_epoch_end: bool | None = None,
        log_rank_zero_only: bool = False,
    ) -> None:
        check_mode(mode, "EarlyStopping")
        if not isinstance(monitor, str):
            raise ConfigError("EarlyStopping needs a logged name.", received=f"monitor={monitor!r}")
        if patience < 0:
            raise ConfigError(
                "EarlyStopping's patience is negative.", received=patience, expected="0 or more"
            )
        self.monitor = monitor
        self.min_delta = min_delta
        self.patience = patience
        self.verbose = verbose
        self.mode = mode
        self.strict = strict
        self.check_finite = check_finite
        self.stopping_threshold = stopping_threshold
        self.divergence_threshold = divergence_threshold
        self.log_rank_zero_only = log_rank_zero_only
        self._check_on_train_epoch_end = check_on_train_epoch_end

        self.wait_count = 0
        """Checks without improvement since the last one with."""
        self.stopped_epoch = 0
        self.best_score: Tensor = worst_score(mode)
        self.stopping_reason = EarlyStoppingReason.NOT_STOPPED
        self.stopping_reason_message: str | None = None

    @property
    def state_key(self) -> str:
        return self._key_with(monitor=self.monitor, mode=self.mode)

    def state_dict(self) -> dict[str, Any]:
        return {
            "wait_count": self.wait_count,
            "stopped_epoch": self.stopped_epoch,
            "best_score": self.best_score,
            "patience": self.patience,
            "stopping_reason": self.stopping_reason.value,
            "stopping_reason_message": self.stopping_reason_message,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state; the patience stays the one that was asked for."""
        self.wait_count = state_dict["wait_count"]
        self.stopped_epoch = state_dict["stopped_epoch"]
        self.best_score = state_dict["best_score"]
        self.stopping_reason = EarlyStoppingReason(state_dict.get("stopping_reason", 0))
        self.stopping_reason_message = state_dict.get("stopping_reason_message")

    @understood_hook
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._checks_at_epoch_end(trainer):
            self._check(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (
            trainer.state.fn == "fit"
            and not trainer.sanity_checking
            and not self._checks_at_epoch_end(trainer)
        ):
            self._check(trainer)

    def _checks_at_epoch_end(self, trainer: Trainer) -> bool:
        explicit = self._check_on_train_epoch_end
        return decides_at_epoch_end(trainer) if explicit is None else explicit

    def _check(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:
            return
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            error = metric_not_found(self.monitor, metrics, "EarlyStopping")
            if self.strict:
                raise error
            warn_once(str(error))
            return
        score = read_score(trainer, metrics[self.monitor])
        reason, message = self._judge(score)
        if reason is not EarlyStoppingReason.NOT_STOPPED:
            self.stopping_reason, self.stopping_reason_message = reason, message
            self.stopped_epoch = trainer.current_epoch
            trainer.stop(message)
        elif message and self.verbose:
            self._tell(trainer, message)

    def _judge(self, score: Tensor) -> tuple[EarlyStoppingReason, str]:
        """Whether to stop, and what to tell the user; notes an improvement, or that there is none."""
        reason = EarlyStoppingReason
        name, best = f"{self.monitor} = {score:.5g}", f"{self.best_score:.5g}"
        goal, limit = self.stopping_threshold, self.divergence_threshold
        if self.check_finite and not score.isfinite():
            return reason.NON_FINITE_METRIC, f"{name} is not finite; the best value was {best}"
        if goal is not None and is_better(score, goal, self.mode):
            return reason.STOPPING_THRESHOLD, f"{name} is better than the stopping threshold {goal}"
        if limit is not None and is_better(limit, score, self.mode):
            return reason.DIVERGENCE_THRESHOLD, f"{name} is worse than the divergence threshold {limit}"
        margin = self.min_delta if self.mode == "min" else -self.min_delta
        if is_better(score + margin, self.best_score, self.mode):
            self.best_score, self.wait_count = score, 0
            return reason.NOT_STOPPED, f"{name} is the best value so far"
        self.wait_count += 1
        if self.wait_count < self.patience:
            return reason.NOT_STOPPED, ""
        checks = "check" if self.wait_count == 1 else f"{self.wait_count} checks"
        return reason.PATIENCE_EXHAUSTED, f"{self.monitor} did not improve on {best} in the last {checks}"

    def _tell(self, trainer: Trainer, message: str) -> None:
        if self.log_rank_zero_only or trainer.world_size == 1:
            info(message)
        else:
            log.info(f"[rank {trainer.global_rank}] {message}")
