"""How one batch becomes an update."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from fulmen.base.overrides import is_overridden
from fulmen.base.updates import update, zero_grad
from fulmen.core.optimizers import bare
from fulmen.engine.dispatch import in_span, method, overridden_step, spanned, step_caller
from fulmen.errors import ConfigError, UsageError
from fulmen.precision.precision import Precision

if TYPE_CHECKING:
    from fulmen.engine.run import Run


class Step(ABC):
    """Takes one training batch. Made for one run, after its hooks are resolved."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._hooks = run.hooks
        self._logbook = run.logbook
        self._precision = run.precision
        self._progress = run.progress
        self._scope = run.logbook.scope("training_step")
        self._context = run.precision.context()
        self._step = in_span(run, "optimizer_step", run.precision.step)
        steps = ("scale", "unscale", "step")
        self._plain = run.profiler is None and not any(
            is_overridden(s, run.precision, Precision) for s in steps
        )
        """Whether the precision leaves backward and update as torch has them."""
        self._module_backward = overridden_step(run, "backward")
        if self._module_backward is None and run.profiler is not None:
            self._module_backward = in_span(run, "backward", Tensor.backward)
        step = step_caller(run, "training_step", method(run, run.module, "training_step"))
        wrapped = run.strategy.wrap_step(run.module, step, by_hand=self.averages_by_hand)
        self._training_step = spanned(run, run.module, "training_step", wrapped)
        for optimizer in run.optimizers:
            optimizer.attach(run.module, self.step_optimizer)

    averages_by_hand = False
    """Whether the gradients of all processes are asked for before each update, not had after `backward`."""

    in_window = 0
    """Batches of the accumulation window under way that are finished."""

    @abstractmethod
    def run(self, batch: Any, batch_idx: int, is_last: bool) -> bool:
        """Train on one batch, result in `outputs`; True where it completed an accumulation window."""

    @abstractmethod
    def step_optimizer(
        self, optimizer: Optimizer, closure: Callable[[], Any] | None = None, **kwargs: Any
    ) -> Any:
        """What `LightningOptimizer.step` does in this run."""

    @abstractmethod
    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """What `module.manual_backward` does in this run."""

    @property
    def outputs(self) -> dict[str, Any]:
        """What `training_step` returned, as a dict with the loss detached; empty for a skipped batch."""
        returned = self._returned
        if isinstance(returned, Tensor):
            return {"loss": returned.detach()}
        outputs = dict(returned or {})
        if isinstance(outputs.get("loss"), Tensor):
            outputs["loss"] = outputs["loss"].detach()
        return outputs

    _returned: Any = None

    def clip(self, optimizer: Optimizer, value: float | None, algorithm: str | None) -> None:
        """Clip the true gradients of one optimizer, by their norm or by value; None and 0 do nothing."""
        if not value:
            return
        self._complete_gradients(optimizer)
        self._precision.unscale(optimizer)
        parameters = _parameters(optimizer)
        if algorithm in (None, "norm"):
            self._run.strategy.clip_norm(parameters, value)
        elif algorithm == "value":
            nn.utils.clip_grad_value_(parameters, value)
        else:
            raise UsageError(
                "`gradient_clip_algorithm` is unknown.", received=algorithm, expected="'norm' or 'value'"
            )

    def _complete_gradients(self, optimizer: Optimizer) -> None:
        """Have the gradients of all processes, where they are not complete after `backward`."""

    def _loss_of(self, returned: Any) -> Tensor | None:
        """The loss in what `training_step` returned; raises `UsageError` for what cannot be one."""
        loss = returned.get("loss") if isinstance(returned, Mapping) else returned
        if isinstance(loss, Tensor) or (loss is None and returned is None):
            return loss
        raise UsageError(
            f"`{type(self._run.module).__name__}.training_step` returned something that is not a loss.",
            received=f"a {type(returned).__name__}"
            + (f" with the keys {list(returned)}" if isinstance(returned, Mapping) else ""),
            expected="a tensor, a dict with a tensor under 'loss', or None to skip the batch",
        )


class AutomaticStep(Step):
    """Forward, zero_grad, backward, clip, step; gradients are averaged over `accumulate_grad_batches`."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._wrapped = run.optimizers[0]
        self._optimizer: Optimizer = bare(self._wrapped)
        self._module_zero_grad = overridden_step(run, "optimizer_zero_grad")
        self._module_optimizer_step = overridden_step(run, "optimizer_step")
        own_clipping = overridden_step(run, "configure_gradient_clipping")
        if own_clipping or overridden_step(run, "clip_gradients") or run.step_options.gradient_clip_val:
            self._configure_clipping = own_clipping or run.module.configure_gradient_clipping
        else:
            self._configure_clipping = None
        self._prepares = not self._plain or self._configure_clipping is not None
        # torch's own optimizers need no closure, but for LBFGS; of others nobody knows.
        plain = type(self._optimizer).__module__.startswith("torch.optim") and not isinstance(
            self._optimizer, LBFGS
        )
        self._needs_closure = not plain or self._module_optimizer_step is not None
        self._window_size = 1
        self._window_count = 0
        self._has_gradients = False

    def run(self, batch: Any, batch_idx: int, is_last: bool) -> bool:
        first = self.in_window == 0
        if first:
            self._has_gradients = False
            self._window_size = self._run.step_options.accumulate_grad_batches
            if self._window_size > 1:
                self._window_size = self._window_from(batch_idx)
        self._window_count = count = self.in_window + 1
        closes = is_last or count >= self._window_size
        no_sync = None if closes else self._run.strategy.no_sync()
        if no_sync is not None:
            with no_sync:
                self._compute_gradients(batch, batch_idx, first)
        elif closes and self._needs_closure:
            self._update_with_closure(batch, batch_idx, first)
        else:
            self._compute_gradients(batch, batch_idx, first)
            if closes:
                if self._prepares or count < self._window_size or self._hooks.on_before_optimizer_step:
                    self._before_step()
                if self._plain and self._has_gradients:
                    update(self._optimizer)
                else:
                    self._update()
        if not closes:
            self.in_window = count
            return False
        self.in_window = 0
        self._progress.optimizer_step += 1
        return True

    def _window_from(self, batch_idx: int) -> int:
        """Batches of the window that begins with this one; the last of an epoch may be shorter."""
        batches_left = self._run.train_loaders.lengths[0] - batch_idx
        return int(min(self._run.step_options.accumulate_grad_batches, batches_left))

    def _update(self) -> None:
        """Step the optimizer, unless there is nothing to step with but old gradients."""
        if self._has_gradients or all(p.grad is None for p in _parameters(self._optimizer)):
            self._step(self._optimizer)

    def _compute_gradients(self, batch: Any, batch_idx: int, first: bool) -> Tensor | None:
        """Forward and backward; the gradients of a window's first batch replace the old ones."""
        hooks = self._hooks
        self._logbook.slots = self._scope
        if self._context is None:
            self._returned = returned = self._training_step(batch, batch_idx)
        else:
            with self._context():
                self._returned = returned = self._training_step(batch, batch_idx)
        loss = returned if isinstance(returned, Tensor) else self._loss_of(returned)
        if first:
            self._clear_gradients(batch_idx)
        if loss is None:
            return None
        if self._module_backward is None and (loss.dim() or not loss.requires_grad):
            self._check_loss(loss)
        if self._window_size > 1:
            loss = loss / self._window_size
        for call in hooks.on_before_backward:
            call(loss)
        if not self._plain:
            loss = self._precision.scale(loss)
        if self._module_backward is None:
            loss.backward()
        else:
            self._module_backward(loss)
        self._has_gradients = True
        for call in hooks.on_after_backward:
            call()
        return loss

    def _clear_gradients(self, batch_idx: int) -> None:
        optimizer = self._optimizer
        for call in self._hooks.on_before_zero_grad:
            call(optimizer)
        if self._module_zero_grad is not None:
            self._module_zero_grad(self._progress.epoch, batch_idx, optimizer)
        else:
            zero_grad(optimizer)

    def _check_loss(self, loss: Tensor) -> None:
        """Raise `UsageError` for a loss that has no gradient."""
        name = f"`{type(self._run.module).__name__}.training_step`"
        if loss.numel() != 1:
            raise UsageError(
                f"{name} returned a loss of several elements.",
                received=f"shape {tuple(loss.shape)}",
                expected="a single number",
                fix="loss.mean()",
            )
        if not loss.requires_grad:
            raise UsageError(
                f"{name} returned a loss that depends on no parameter with `requires_grad`.",
                fix="look for .detach(), .item(), torch.no_grad() and frozen parameters on its way",
            )

    def _before_step(self) -> None:
        """Gradients are complete: make them true ones, show them to the hooks, clip them."""
        self._precision.unscale(self._optimizer)
        if self._window_count < self._window_size:  # the end of a loader that did not know its length
            for parameter in _parameters(self._optimizer):
                if parameter.grad is not None:
                    parameter.grad.mul_(self._window_size / self._window_count)
        for call in self._hooks.on_before_optimizer_step:
            call(self._optimizer)
        if self._configure_clipping is not None:
            options = self._run.step_options
            self._configure_clipping(
                self._optimizer,
                gradient_clip_val=options.gradient_clip_val,
                gradient_clip_algorithm=options.gradient_clip_algorithm,
            )

    def _update_with_closure(self, batch: Any, batch_idx: int, first: bool) -> None:
        """For optimizers that call the closure themselves, and for modules that override `optimizer_step`."""
        executed = False

        def closure() -> Any:
            nonlocal executed
            executed = True
            with torch.enable_grad():
                return self._compute_gradients(batch, batch_idx, first)

        self._call_optimizer_step(batch_idx, closure)
        if not executed and self.demands_closure:
            raise UsageError(
                f"`{type(self._run.module).__name__}.optimizer_step` did not execute the closure, "
                "which computes the gradients.",
                fix="optimizer.step(closure=optimizer_closure)",
            )

    demands_closure = True
    """Whether an `optimizer_step` that does not execute its closure is an error."""

    def _call_optimizer_step(self, batch_idx: int, closure: Callable[[], Any]) -> None:
        if self._module_optimizer_step is None:
            self.step_optimizer(self._optimizer, closure)
        else:
            self._module_optimizer_step(self._run.progress.epoch, batch_idx, self._wrapped, closure)

    def step_optimizer(
        self, optimizer: Optimizer, closure: Callable[[], Any] | None = None, **kwargs: Any
    ) -> Any:
        if closure is None:
            self._before_step()
            return self._step(optimizer) if self._has_gradients else None

        def closure_then_hooks() -> Any:
            loss = closure()
            self._before_step()
            return loss

        return self._step(optimizer, closure_then_hooks)

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        raise UsageError(
            "`manual_backward` was called in automatic optimization.",
            fix="set `self.automatic_optimization = False` in __init__, "
            "or return the loss from training_step",
        )


class ManualStep(Step):
    """`training_step` does it all; the run lends it precision, hooks and counting."""

    averages_by_hand = True

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._complete: set[int] = set()
        """Optimizers, by id, whose gradients are those of all processes; until there are new ones."""

    def run(self, batch: Any, batch_idx: int, is_last: bool) -> bool:
        self._logbook.slots = self._scope
        if self._context is None:
            returned = self._training_step(batch, batch_idx)
        else:
            with self._context():
                returned = self._training_step(batch, batch_idx)
        if returned is not None and not isinstance(returned, (Tensor, Mapping)):
            raise UsageError(
                f"`{type(self._run.module).__name__}.training_step` returned a {type(returned).__name__}.",
                expected="None, a tensor or a dict, in manual optimization",
            )
        self._returned = returned
        return True

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        for call in self._hooks.on_before_backward:
            call(loss)
        self._complete.clear()
        (self._module_backward or Tensor.backward)(self._precision.scale(loss), *args, **kwargs)
        for call in self._hooks.on_after_backward:
            call()

    def step_optimizer(
        self, optimizer: Optimizer, closure: Callable[[], Any] | None = None, **kwargs: Any
    ) -> Any:
        def closure_then_hooks() -> Any:
            assert closure is not None
            with torch.enable_grad():
                loss = closure()
            self._before_step(optimizer)
            return loss

        if closure is None:
            self._before_step(optimizer)
        result = self._step(optimizer, None if closure is None else closure_then_hooks, **kwargs)
        self._count_step()
        return result

    def _count_step(self) -> None:
        """One optimizer has stepped."""
        self._progress.optimizer_step += 1

    def _complete_gradients(self, optimizer: Optimizer) -> None:
        if id(optimizer) not in self._complete:
            self._run.strategy.complete_gradients(_parameters(optimizer))
            self._complete.add(id(optimizer))

    def _before_step(self, optimizer: Optimizer) -> None:
        self._complete_gradients(optimizer)
        self._precision.unscale(optimizer)
        for call in self._hooks.on_before_optimizer_step:
            call(optimizer)


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def make_step(run: Run) -> Step:
    """The step that the module's mode of optimization asks for."""
    adapted = None if run.adapter is None else run.adapter.make_step()
    if adapted is not None:
        return adapted
    if not run.module.automatic_optimization:
        return ManualStep(run)
    if len(run.optimizers) > 1:
        raise ConfigError(
            "Automatic optimization works with one optimizer.",
            received=f"{len(run.optimizers)} optimizers",
            fix="set `self.automatic_optimization = False` in __init__ and step them in training_step",
        )
    return AutomaticStep(run)
