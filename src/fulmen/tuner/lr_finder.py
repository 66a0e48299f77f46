"""The learning-rate range test: train while the learning rate rises, and see where the loss falls best.

L. N. Smith, "Cyclical Learning Rates for Training Neural Networks" (2017), section 3.3.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fulmen.base.extras import require
from fulmen.base.report import info, warn
from fulmen.core.callback import Callback
from fulmen.engine.rehearsal import Rehearsal
from fulmen.errors import ConfigError, UsageError, did_you_mean
from fulmen.tuner.attributes import find_attribute, set_attribute

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer

MODES = ("exponential", "linear")
_SMOOTHING = 0.98
"""The share of the past in the moving average of the loss."""


class LRFinder:
    """What a range test came to."""

    def __init__(self, mode: str, lr_min: float, lr_max: float, num_training: int) -> None:
        if mode not in MODES:
            raise ConfigError(
                "The learning rate cannot rise so.",
                received=f"mode={mode!r}",
                expected="'exponential' or 'linear'",
                fix=did_you_mean(str(mode), MODES),
            )
        if num_training < 1 or not 0 < lr_min < lr_max:
            raise ConfigError(
                "The learning rate cannot rise so.",
                received=f"from {lr_min} to {lr_max} in {num_training} steps",
                expected="0 < min_lr < max_lr, and at least one step",
            )
        self.mode = mode
        self.lr_min = lr_min
        self.lr_max = lr_max
        self.num_training = num_training
        self.results: dict[str, list[float]] = {"lr": [], "loss": []}
        """Learning rates, and the losses found at them: moving averages."""
        self._best: int | None = None

    def rate(self, step: int) -> float:
        """The learning rate of a step: the least one in the first, the greatest in the last."""
        if step == 0:
            return self.lr_min
        share = (step + 1) / self.num_training
        if self.mode == "linear":
            return self.lr_min + share * (self.lr_max - self.lr_min)
        return self.lr_min * (self.lr_max / self.lr_min) ** share

    def suggestion(self, skip_begin: int = 10, skip_end: int = 1) -> float | None:
        """The learning rate at which the loss falls most steeply; None where there are too few points.

        The first `skip_begin` and the last `skip_end` points do not count, nor do losses that are not finite.
        """
        losses = self.results["loss"]
        points = range(skip_begin, len(losses) - skip_end)
        points = [index for index in points if math.isfinite(losses[index])]
        self._best = None
        if len(points) < 2:
            warn(
                f"No learning rate is suggested: of {len(losses)} points, {len(points)} can be used. "
                "More steps help, or a smaller `skip_begin`."
            )
            return None
        rates = torch.tensor([self.results["lr"][index] for index in points], dtype=torch.float64)
        heights = torch.tensor([losses[index] for index in points], dtype=torch.float64)
        slopes = torch.gradient(heights, spacing=(rates,))[0]
        self._best = points[int(slopes.argmin())]
        return self.results["lr"][self._best]

    def plot(self, suggest: bool = False, show: bool = False, ax: Any = None) -> Any:
        """Draw the losses over the learning rates; with `suggest`, the suggestion as a red point."""
        pyplot = require("matplotlib.pyplot", extra="plot")
        figure = ax.figure if ax is not None else pyplot.figure()
        axes = ax if ax is not None else figure.add_subplot()
        axes.plot(self.results["lr"], self.results["loss"])
        axes.set(xlabel="Learning rate", ylabel="Loss")
        if self.mode == "exponential":
            axes.set_xscale("log")
        if suggest:
            self.suggestion()
            if self._best is not None:
                best = (self.results["lr"][self._best], self.results["loss"][self._best])
                axes.plot(*best, marker="o", markersize=10, color="red")
        if show:
            pyplot.show()
        return figure


class _RangeTest(Callback):
    """Raises the learning rate with each update, and notes the loss."""

    def __init__(self, finder: LRFinder, early_stop_threshold: float | None) -> None:
        self._finder = finder
        self._threshold = math.inf if early_stop_threshold is None else early_stop_threshold
        self._first_step = 0
        self._average = 0.0
        self._least = math.inf

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._first_step = trainer.global_step

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._finder.rate(trainer.global_step - self._first_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        steps = trainer.global_step - self._first_step
        if steps <= len(self._finder.results["lr"]):
            return  # an accumulation window is open
        loss = trainer.strategy.reduce(_loss_in(outputs, pl_module).detach().float()).item()
        if trainer.should_stop:
            return  # the other processes may not know of it yet
        self._average = _SMOOTHING * self._average + (1 - _SMOOTHING) * loss
        smooth = self._average / (1 - _SMOOTHING ** (len(self._finder.results["lr"]) + 1))
        self._finder.results["lr"].append(self._finder.rate(steps - 1))
        self._finder.results["loss"].append(smooth)
        if steps > 1 and smooth > self._threshold * self._least:
            trainer.stop(f"the loss exceeds {self._threshold:g} times the least one")
        self._least = min(self._least, smooth)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finder.results = trainer.strategy.broadcast(self._finder.results)


def _loss_in(outputs: Any, module: LightningModule) -> Tensor:
    loss = outputs.get("loss")
    if isinstance(loss, Tensor):
        return loss
    raise UsageError(
        f"The learning rate cannot be found: `{type(module).__name__}.training_step` returned no loss.",
        fix="return the loss, in manual optimization too",
    )


def find_lr(
    rehearsal: Rehearsal,
    *,
    min_lr: float = 1e-8,
    max_lr: float = 1.0,
    num_training: int = 100,
    mode: str = "exponential",
    early_stop_threshold: float | None = 4.0,
) -> LRFinder:
    """Run a range test."""
    finder = LRFinder(mode, min_lr, max_lr, num_training)
    if len(rehearsal.optimizers) != 1:
        raise UsageError(
            "The learning rate is found for one optimizer.",
            received=f"{len(rehearsal.optimizers)} optimizers",
        )
    rehearsal.go(num_training, _RangeTest(finder, early_stop_threshold))
    found = len(finder.results["lr"])
    if found < num_training:
        info(f"The search for a learning rate ended after {found} of {num_training} steps: the loss rises.")
    return finder


def name_of_lr(rehearsal: Rehearsal, attr_name: str) -> str:
    """Where the learning rate is kept."""
    return find_attribute(rehearsal, [attr_name] if attr_name else ["lr", "learning_rate"], "attr_name")


def use_suggestion(rehearsal: Rehearsal, name: str, finder: LRFinder) -> float | None:
    """Let the module have the learning rate that a range test suggests, if it suggests any."""
    suggested = finder.suggestion()
    if suggested is not None:
        set_attribute(rehearsal, name, suggested)
        info(f"Learning rate set to {suggested:g}")
    return suggested
