"""What callbacks share that follow a logged value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fulmen.errors import ConfigError, MetricNotFoundError, did_you_mean

if TYPE_CHECKING:
    from fulmen.trainer import Trainer

MODES = ("min", "max")


def check_mode(mode: str, owner: str) -> None:
    """Raise `ConfigError` unless `mode` says which values are better."""
    if mode not in MODES:
        raise ConfigError(
            f"The mode of {owner} is unknown.",
            received=repr(mode),
            expected="'min' or 'max'",
            fix=did_you_mean(str(mode), MODES),
        )


def worst_score(mode: str) -> Tensor:
    """The value that every other one is better than."""
    return torch.tensor(math.inf if mode == "min" else -math.inf)


def is_better(a: float | Tensor, b: float | Tensor, mode: str) -> bool:
    """Whether `a` beats `b`; nothing that is NaN does."""
    return bool(a < b if mode == "min" else a > b)


def best_of(scores: Mapping[str, Tensor], mode: str) -> str:
    """The name of the best score; of several, the first."""
    choose = min if mode == "min" else max
    return choose(scores, key=lambda name: float(scores[name]))


def worst_of(scores: Mapping[str, Tensor], mode: str) -> str:
    """The name of the worst score; of several, the first."""
    return best_of(scores, "max" if mode == "min" else "min")


def candidates(trainer: Trainer) -> dict[str, Any]:
    """Everything that can be monitored or stand in a file's name."""
    metrics = trainer.callback_metrics
    counts = {"epoch": trainer.current_epoch, "step": trainer.global_step}
    own = {name: metrics[name].int() for name in counts if name in metrics}  # logging makes floats of them
    return {**metrics, **counts, **own}


def read_score(trainer: Trainer, value: Any) -> Tensor:
    """A value on the host: that of rank 0, so that every rank decides alike."""
    score = value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else torch.tensor(value)
    return trainer.strategy.broadcast(score)


def metric_not_found(monitor: str, names: Iterable[str], owner: str) -> MetricNotFoundError:
    """The error that says which names there are."""
    known = sorted(names)
    return MetricNotFoundError(
        f"{owner} monitors a value that nobody logs.",
        received=repr(monitor),
        expected=f"one of {', '.join(map(repr, known))}"
        if known
        else "a logged name; nothing was logged so far",
        fix=did_you_mean(monitor, known) or f"self.log({monitor!r}, value) in the LightningModule",
    )


def decides_at_epoch_end(trainer: Trainer) -> bool:
    """Whether decisions on metrics fall when training epochs end, as opposed to after each validation."""
    if not trainer.enable_validation:
        return True
    return trainer.val_check_interval == 1.0 and trainer.check_val_every_n_epoch == 1
