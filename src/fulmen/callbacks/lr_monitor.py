"""Logs learning rates, and on request momentum and weight decay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from torch.optim import Optimizer

from fulmen.base.report import warn
from fulmen.base.seams import understood_hook
from fulmen.core.callback import Callback
from fulmen.core.optimizers import NoOptimizer, bare
from fulmen.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer import Trainer


class _Source(NamedTuple):
    """An optimizer, under the name its values get."""

    name: str
    optimizer: Optimizer
    interval: str | None
    """When its scheduler steps; None without one."""

    def groups(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The parameter groups, each with a name."""
        groups = self.optimizer.param_groups
        for number, group in enumerate(groups, 1):
            suffix = f"/{group['name']}" if "name" in group else f"/pg{number}" if len(groups) > 1 else ""
            yield self.name + suffix, group


class LearningRateMonitor(Callback):
    """Logs learning rates as `lr-Adam`, `lr-Adam-1` (a second Adam), `lr-Adam/pg1` (one of several groups).

    A scheduler's `name` and a group's `name` take the place of these. Values are logged every
    `log_every_n_steps` steps or every epoch, as `logging_interval` says; None means when the scheduler
    steps, and both without one. `log_momentum` and `log_weight_decay` add `-momentum` and `-weight_decay`;
    Adam's momentum is its first beta.
    """

    def __init__(
        self, logging_interval: str | None = None, log_momentum: bool = False, log_weight_decay: bool = False
    ) -> None:
        if logging_interval not in (None, "step", "epoch"):
            raise ConfigError(
                "The interval of LearningRateMonitor is unknown.",
                received=repr(logging_interval),
                expected="'step', 'epoch' or None",
                fix=did_you_mean(str(logging_interval), ("step", "epoch")),
            )
        self.logging_interval = logging_interval
        self.log_momentum = log_momentum
        self.log_weight_decay = log_weight_decay
        self.lrs: dict[str, list[float]] = {}
        """Every learning rate that was logged, by name."""
        self.last_momentum_values: dict[str, float] = {}
        self.last_weight_decay_values: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.loggers:
            raise ConfigError("LearningRateMonitor has no logger to write to.", fix="Trainer(logger=True)")
        sources = _sources(trainer)
        names = Counter(name for source in sources for name, _ in source.groups())
        for name, count in names.items():
            if count > 1:
                raise ConfigError(
                    "LearningRateMonitor cannot tell two parameter groups apart.",
                    received=f"{count} groups called {name!r}",
                    fix="give each group of an optimizer a 'name' of its own",
                )
        self.lrs = {name: [] for name in names}
        if self.log_momentum and any(_momentum(group) is None for s in sources for _, group in s.groups()):
            warn("LearningRateMonitor(log_momentum=True): an optimizer without momentum is logged with 0.")

    @understood_hook
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        every = trainer.log_every_n_steps
        if every and (trainer.logger_step + 1) % every == 0 and not trainer.accumulating:
            self._log(trainer, "step")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer, "epoch")

    def _log(self, trainer: Trainer, moment: str) -> None:
        if self.logging_interval not in (None, moment):
            return
        values: dict[str, float] = {}
        for source in _sources(trainer):
            if self.logging_interval is None and source.interval not in (None, moment):
                continue
            for name, group in source.groups():
                values[name] = float(group["lr"])  # may be a tensor, for the sake of CUDA graphs
                self.lrs.setdefault(name, []).append(values[name])
                if self.log_momentum:
                    values[f"{name}-momentum"] = float(_momentum(group) or 0)
                    self.last_momentum_values[f"{name}-momentum"] = values[f"{name}-momentum"]
                if self.log_weight_decay:
                    values[f"{name}-weight_decay"] = float(group.get("weight_decay", 0))
                    self.last_weight_decay_values[f"{name}-weight_decay"] = values[f"{name}-weight_decay"]
        if not values:
            return
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.log_metrics(values, step=trainer.logger_step)
        trainer.add_metrics(values)


def _sources(trainer: Trainer) -> list[_Source]:
    """Every optimizer, first those with a scheduler; the second of a name gets `-1`."""
    found: list[tuple[str | None, Any, str | None]] = [
        (config.name, bare(config.scheduler.optimizer), config.interval)
        for config in trainer.lr_scheduler_configs
    ]
    scheduled = {id(optimizer) for _, optimizer, _ in found}
    optimizers = (bare(optimizer) for optimizer in trainer.optimizers)
    found += [(None, optimizer, None) for optimizer in optimizers if id(optimizer) not in scheduled]
    seen: Counter[str] = Counter()
    sources = []
    for name, optimizer, interval in found:
        if isinstance(optimizer, NoOptimizer):
            continue
        name = name or f"lr-{type(optimizer).__name__}"
        sources.append(_Source(f"{name}-{seen[name]}" if seen[name] else name, optimizer, interval))
        seen[name] += 1
    return sources


def _momentum(group: dict[str, Any]) -> float | None:
    return group["betas"][0] if "betas" in group else group.get("momentum")
