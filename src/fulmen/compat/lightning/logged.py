"""What `self.log` did once: where it is an error now, and what callbacks then saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fulmen.base.seams import outer
from fulmen.compat.spelling import say_modern
from fulmen.core.hooks import LOG_RULES, LogRule
from fulmen.core.log_arguments import LogArguments
from fulmen.engine.states import TrainerFn

if TYPE_CHECKING:
    from fulmen.engine.logbook import Logbook
    from fulmen.engine.run import Run


def refused_slot(run: Run, name: str, hook: str, arguments: LogArguments) -> ShownAtOnce | ShownNever | None:
    """What takes values that are logged in `hook` in a way that is refused now; None where it always was."""
    rule = LOG_RULES.get(hook, LogRule.NEVER)
    if rule is LogRule.NEVER:
        say_modern(f"self.log({name!r}) in `{hook}`, shown at once,", "in a step, or where an epoch ends")
        return ShownAtOnce(run, name, arguments)
    if arguments.on_step:
        return None
    say_modern(f"self.log({name!r}) with neither on_step nor on_epoch", "on_epoch=True: nobody sees it so")
    return ShownNever()


def show_last_steps(logbook: Logbook, stage: str) -> None:
    """Let the plain names of what is logged for steps and epochs be those of the last step, as up to 1.3."""
    for slot in logbook.opened.get(stage, ()):
        if slot.used and slot.on_step and slot.on_epoch:
            values = slot.step_values().items()
            last = {name + slot.suffix: torch.as_tensor(value).clone() for name, value in values}
            logbook.callback_table.update(last)


class ShownNever:
    """Takes values that nobody is shown."""

    def add(self, value: Any, batch_size: int | None = None) -> None:
        """Leave it."""


class ShownAtOnce:
    """Takes values that no flush follows, and shows each to everybody when it comes."""

    def __init__(self, run: Run, name: str, arguments: LogArguments) -> None:
        self._run = run
        self._name = name
        self._arguments = arguments

    def add(self, value: Any, batch_size: int | None = None) -> None:
        """Show a number, or what a metric has come to."""
        metric: Any = value
        computed = metric.compute() if isinstance(value, nn.Module) else value
        values = computed if isinstance(computed, Mapping) else {self._name: computed}
        numbers = {name: float(_single(name, each)) for name, each in values.items()}
        run, logbook = self._run, self._run.logbook
        logbook.add_host_values(numbers)
        if self._arguments.prog_bar:
            logbook.progress_bar_table.update(numbers)
        if self._arguments.logger is not False:
            step = run.log_step if run.fn is TrainerFn.FITTING else run.progress.optimizer_step
            logbook.log_metrics(numbers, step, run.progress.epoch)


def _single(name: str, value: Any) -> Any:
    return outer().log_number(name, value) if isinstance(value, Tensor) and value.numel() != 1 else value
