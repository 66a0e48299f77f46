"""The catalogue of hooks: each once, in firing order, with who may define it and what logging means in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class LogRule(Enum):
    """What `self.log` does by default inside a hook."""

    NEVER = "never"
    """Logging has no meaning here: an error."""
    STEP = "step"
    """A value per step; asking for the epoch's value as well is allowed."""
    EVALUATION = "evaluation"
    """The epoch's value; asking for each step's as well is allowed."""
    EPOCH = "epoch"
    """The epoch's value and nothing else: the hook fires once."""


@dataclass(frozen=True)
class Hook:
    """One event: the datamodule first where it takes part, then callbacks in list order, then the module."""

    name: str
    log: LogRule = LogRule.NEVER
    module: bool = True
    datamodule: bool = False


_NEVER, _STEP, _EVALUATION, _EPOCH = LogRule

EVENTS: tuple[Hook, ...] = (
    Hook("setup", datamodule=True),
    Hook("on_fit_start"),
    Hook("on_sanity_check_start", module=False),
    Hook("on_sanity_check_end", module=False),
    Hook("on_train_start", _EPOCH),
    Hook("on_train_epoch_start", _EPOCH),
    Hook("on_train_batch_start", _STEP),
    Hook("on_before_zero_grad", _STEP),
    Hook("on_before_backward", _STEP),
    Hook("on_after_backward", _STEP),
    Hook("on_before_optimizer_step", _STEP),
    Hook("on_train_batch_end", _STEP),
    Hook("on_validation_start", _EPOCH),
    Hook("on_validation_epoch_start", _EPOCH),
    Hook("on_validation_batch_start", _EVALUATION),
    Hook("on_validation_batch_end", _EVALUATION),
    Hook("on_validation_epoch_end", _EPOCH),
    Hook("on_validation_end"),
    Hook("on_train_epoch_end", _EPOCH),
    Hook("on_train_end"),
    Hook("on_fit_end"),
    Hook("on_test_start", _EPOCH),
    Hook("on_test_epoch_start", _EPOCH),
    Hook("on_test_batch_start", _EVALUATION),
    Hook("on_test_batch_end", _EVALUATION),
    Hook("on_test_epoch_end", _EPOCH),
    Hook("on_test_end"),
    Hook("on_predict_start"),
    Hook("on_predict_epoch_start"),
    Hook("on_predict_batch_start"),
    Hook("on_predict_batch_end"),
    Hook("on_predict_epoch_end"),
    Hook("on_predict_end"),
    Hook("on_exception", module=False, datamodule=True),
    Hook("on_save_checkpoint"),
    Hook("on_load_checkpoint", module=False),  # the module's own comes before its weights are loaded
    Hook("teardown", datamodule=True),
)
"""Many listeners; what they return is ignored, but for -1 of `on_train_batch_start`, which ends the epoch."""

STEP_LOG_RULES: dict[str, LogRule] = {
    "training_step": _STEP,
    "optimizer_step": _STEP,
    "optimizer_zero_grad": _STEP,
    "backward": _STEP,
    "configure_gradient_clipping": _STEP,
    "clip_gradients": _STEP,
    "validation_step": _EVALUATION,
    "test_step": _EVALUATION,
}
"""Hooks with exactly one callable, in which logging has a meaning. In all others it is an error."""

LOG_RULES: dict[str, LogRule] = {hook.name: hook.log for hook in EVENTS} | STEP_LOG_RULES
