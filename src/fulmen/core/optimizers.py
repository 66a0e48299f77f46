"""What `configure_optimizers` may return, and the optimizer as user code sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from fulmen.base.report import warn, warn_once
from fulmen.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule


@dataclass
class LRSchedulerConfig:
    """A scheduler, and when it steps: every `frequency` optimizer steps or epochs."""

    scheduler: Any
    name: str | None = None
    interval: str = "epoch"
    frequency: int = 1
    reduce_on_plateau: bool = False
    """Whether `scheduler.step` takes the value of `monitor`."""
    monitor: str | None = None
    strict: bool = True
    """Whether a monitored name that nobody logs is an error instead of a warning."""


class NoOptimizer(Optimizer):
    """Stands in where `configure_optimizers` returned None: gradients are computed, nothing is updated."""

    def __init__(self) -> None:
        super().__init__([torch.zeros(1)], {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None if closure is None else closure()


class LightningOptimizer:
    """An optimizer as user code sees it: `step` is counted by the run; all else is the optimizer's own."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.__dict__.update(_optimizer=optimizer, _module=None, _run_step=None)

    def attach(self, module: LightningModule, run_step: Callable[..., Any]) -> None:
        """Let `step` go through `run_step(optimizer, closure, **kwargs)`."""
        self.__dict__.update(_module=module, _run_step=run_step)

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer itself."""
        return self.__dict__["_optimizer"]

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        """Update the parameters, in the run's precision; `closure` computes the loss and its gradients."""
        if self._run_step is None:
            return self.optimizer.step(closure, **kwargs)
        return self._run_step(self.optimizer, closure, **kwargs)

    @contextmanager
    def toggle_model(self, sync_grad: bool = True) -> Iterator[None]:
        """Only this optimizer's parameters require gradients inside."""
        self._module.toggle_optimizer(self)
        try:
            yield
        finally:
            self._module.untoggle_optimizer(self)

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type(self.optimizer)  # isinstance(optimizer, torch.optim.Adam) is what user code asks

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_optimizer"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if (
            name == "step"
        ):  # a scheduler that is made for this object counts steps so: here, and where they end
            self.__dict__["step"] = value
            self.optimizer.register_step_post_hook(_note_step)
        else:
            setattr(self.__dict__["_optimizer"], name, value)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return LightningOptimizer, (self.optimizer,)

    def __repr__(self) -> str:
        return f"Lightning{self.optimizer!r}"


def _note_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    optimizer._opt_called = True  # pyright: ignore[reportAttributeAccessIssue]  # what torch's schedulers look at


def bare(optimizer: Any) -> Optimizer:
    """The optimizer itself, of one that may be wrapped."""
    return optimizer.optimizer if type(optimizer) is LightningOptimizer else optimizer


def parse_configuration(
    returned: Any, *, automatic: bool, custom_scheduler_step: bool
) -> tuple[list[Optimizer], list[LRSchedulerConfig]]:
    """Optimizers and schedulers, from any of the forms that `configure_optimizers` may return.

    The forms: an optimizer; a list or tuple of them; two lists, of optimizers and of schedulers (or scheduler
    dicts); a dict with `optimizer` and `lr_scheduler`; a list of such dicts; None.
    """
    if returned is None:
        warn("`configure_optimizers` returned None: this fit changes no parameters.")
        return [NoOptimizer()], []
    optimizers, found = _split(returned)
    schedulers = [_scheduler_config(entry, monitor, automatic) for entry, monitor in found]
    for config in schedulers:
        _check(config, optimizers, automatic=automatic, custom_step=custom_scheduler_step)
    return optimizers, schedulers


_OPTIMIZER_KEYS = ("optimizer", "lr_scheduler", "monitor", "frequency")
_Found = list[tuple[Any, "str | None"]]


def _split(returned: Any) -> tuple[list[Optimizer], _Found]:
    """Optimizers, and (scheduler or dict, monitor) pairs."""
    if isinstance(returned, Optimizer):
        return [returned], []
    if isinstance(returned, Mapping):
        return _split_dict(returned)
    if isinstance(returned, (list, tuple)) and returned:
        if all(isinstance(item, Optimizer) for item in returned):
            return list(returned), []
        if all(isinstance(item, Mapping) for item in returned):
            parts = [_split_dict(item) for item in returned]
            return [o for optimizers, _ in parts for o in optimizers], [
                s for _, found in parts for s in found
            ]
        if len(returned) == 2 and isinstance(returned[0], (list, tuple)):
            optimizers, schedulers = returned
            if not isinstance(schedulers, (list, tuple)):
                schedulers = [schedulers]
            if optimizers and all(isinstance(item, Optimizer) for item in optimizers):
                return list(optimizers), [(entry, None) for entry in schedulers]
    raise ConfigError(
        "`configure_optimizers` returned something that is not understood.",
        received=_describe(returned),
        expected="an optimizer; a list of them; [optimizers], [schedulers]; "
        "{'optimizer': ..., 'lr_scheduler': ...}; a list of such dicts; None",
    )


def _describe(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__} of {', '.join(type(item).__name__ for item in value) or 'nothing'}"
    return type(value).__name__


def _split_dict(entry: Mapping[str, Any]) -> tuple[list[Optimizer], _Found]:
    _check_keys(entry, _OPTIMIZER_KEYS, "The dict that `configure_optimizers` returned")
    optimizer = entry.get("optimizer")
    if not isinstance(optimizer, Optimizer):
        raise ConfigError(
            "The dict that `configure_optimizers` returned holds no optimizer.",
            received=f"{{'optimizer': {_describe(optimizer)}}}",
            expected="a torch.optim.Optimizer under the key 'optimizer'",
        )
    scheduler = entry.get("lr_scheduler")
    if isinstance(scheduler, (list, tuple)):
        raise ConfigError(
            "'lr_scheduler' takes one scheduler.",
            received=_describe(scheduler),
            fix="return [optimizer], [scheduler, another] for several",
        )
    return [optimizer], [] if scheduler is None else [(scheduler, entry.get("monitor"))]


def _check_keys(entry: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    for key in entry:
        if key in known:
            continue
        near = did_you_mean(str(key), known)
        if near is not None:
            raise ConfigError(
                f"{what} has an unknown key.", received=repr(key), expected=", ".join(known), fix=near
            )
        warn_once(f"{what} has a key that nothing reads: {key!r}.")


def _scheduler_config(entry: Any, monitor: str | None, automatic: bool) -> LRSchedulerConfig:
    if not isinstance(entry, Mapping):
        config = LRSchedulerConfig(entry, monitor=monitor)
    else:
        known = [field.name for field in fields(LRSchedulerConfig)]
        _check_keys(entry, known, "The learning-rate scheduler's dict")
        if entry.get("scheduler") is None:
            raise ConfigError(
                "The learning-rate scheduler's dict has no 'scheduler'.", received=sorted(entry)
            )
        config = LRSchedulerConfig(**{key: value for key, value in entry.items() if key in known})
        config.monitor = config.monitor or monitor
        if (
            not automatic
            and {"interval", "frequency", "reduce_on_plateau", "monitor", "strict"} & entry.keys()
        ):
            warn("With manual optimization the learning-rate schedulers step where you step them; "
                 "'interval', 'frequency' and 'monitor' have no effect.")  # fmt: skip
    if isinstance(config.scheduler, ReduceLROnPlateau):
        config.reduce_on_plateau = True
    return config


def _check(
    config: LRSchedulerConfig, optimizers: list[Optimizer], *, automatic: bool, custom_step: bool
) -> None:
    scheduler = config.scheduler
    if not isinstance(scheduler, (LRScheduler, ReduceLROnPlateau)) and not custom_step:
        raise ConfigError(
            "A learning-rate scheduler is of a class that torch does not know.",
            received=type(scheduler).__name__,
            expected="torch.optim.lr_scheduler.LRScheduler",
            fix="override `lr_scheduler_step` to say how it steps",
        )
    if config.interval not in ("step", "epoch"):
        raise ConfigError(
            "A learning-rate scheduler's 'interval' is unknown.",
            received=repr(config.interval),
            expected="'step' or 'epoch'",
            fix=did_you_mean(str(config.interval), ("step", "epoch")),
        )
    if isinstance(config.frequency, bool) or not isinstance(config.frequency, int) or config.frequency < 1:
        raise ConfigError(
            "A learning-rate scheduler's 'frequency' is not a positive whole number.",
            received=repr(config.frequency),
        )
    if automatic and config.reduce_on_plateau and config.monitor is None:
        raise ConfigError(
            "ReduceLROnPlateau needs to know which logged value it follows.",
            fix="{'optimizer': optimizer, 'lr_scheduler': scheduler, 'monitor': 'val_loss'}",
        )
    owner = getattr(scheduler, "optimizer", None)  # a class of the user's own may have none
    if isinstance(owner, Optimizer) and owner not in optimizers:
        raise ConfigError(
            "A learning-rate scheduler belongs to an optimizer that `configure_optimizers` did not return.",
            received=type(scheduler).__name__,
        )
