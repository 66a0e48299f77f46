"""How a batch became an update: several optimizers, truncated backpropagation, old ways of stepping."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from fulmen.base.tree import map_leaves
from fulmen.compat.lightning import hooks
from fulmen.compat.lightning.habits import never_calls_closure
from fulmen.compat.lightning.outputs import Turns
from fulmen.core.optimizers import bare
from fulmen.engine.step import AutomaticStep, ManualStep, Step
from fulmen.errors import ConfigError

if TYPE_CHECKING:
    from fulmen.compat.lightning.adapter import LightningAdapter


def make_step(adapter: LightningAdapter) -> Step | None:
    """The step of the adapter's version; None where the modern one does the same."""
    run, era = adapter.run, adapter.era
    if not run.module.automatic_optimization:
        return OldManualStep(adapter)
    several = len(run.optimizers) > 1
    if several and "optimizer_idx" not in hooks.positional(run.module.training_step)[0]:
        return None  # the modern step says what is wrong
    old_override = hooks.old_signature(run.module, "optimizer_step") is not None
    if several or adapter.truncated_bptt_steps or old_override or era.clears_gradients_after_step:
        return TurnsStep(adapter)
    return None


class TurnsStep(AutomaticStep):
    """In each batch, and in each part of it in time, the optimizers take turns.

    Only the parameters of the one whose turn it is require gradients meanwhile. `training_step` is told its
    index and, with truncated backpropagation, the `hiddens` that the part before returned.
    """

    def __init__(self, adapter: LightningAdapter) -> None:
        # In a turn some parameters have no gradient, and DDP would wait for it.
        self.averages_by_hand = len(adapter.run.optimizers) > 1
        super().__init__(adapter.run)
        self._adapter = adapter
        self._era = adapter.era
        self.demands_closure = self._era.closure_must_run
        self._module = module = adapter.run.module
        self._step_override = hooks.defines(module, "optimizer_step")
        self._gradients_first = self._step_override and (
            not self._era.step_hook_holds_closure or never_calls_closure(module.optimizer_step)
        )
        """Whether the override is called with gradients in place, and steps without computing them."""
        self._turns = Turns()

    def run(self, batch: Any, batch_idx: int, is_last: bool) -> bool:
        run, adapter = self._run, self._adapter
        first = self.in_window == 0
        if first:
            self._open_window(batch_idx)
        self._window_count = self.in_window + 1
        closes = is_last or self._window_count >= self._window_size
        active = self._active(run.progress.total_batch)
        self._turns = Turns([] for _ in run.optimizers)
        steps_before = self._steps_taken
        for part in self._parts(batch):
            for index in active:
                self._begin_turn(index)
                self._has_gradients = not first and self._had_gradients[index]
                self._take(part, batch_idx, first=first, closes=closes)
                self._had_gradients[index] = self._has_gradients
                self._note_outputs(index)
                self._end_turn()
            if adapter.truncated_bptt_steps:
                adapter.hiddens = self._next_hiddens()
        adapter.hiddens = None
        self.in_window = 0 if closes else self._window_count
        if closes:
            counted = self._steps_taken - steps_before if self._era.counts_each_optimizer else 1
            run.progress.optimizer_step += counted
        return closes

    _steps_taken = 0

    def _open_window(self, batch_idx: int) -> None:
        self._had_gradients = [False] * len(self._run.optimizers)
        self._window_size = self._run.step_options.accumulate_grad_batches
        if self._window_size > 1:
            self._window_size = self._window_from(batch_idx)

    # -------------------------------------------------------------------------------------------------- turns

    def _active(self, total_batch: int) -> list[int]:
        """Whose turn it is in this batch: everybody's, or by frequency one optimizer's alone."""
        frequencies = self._adapter.frequencies
        if not frequencies:
            return list(range(len(self._run.optimizers)))
        place = total_batch % sum(frequencies)
        for index, frequency in enumerate(frequencies):
            if place < frequency:
                return [index]
            place -= frequency
        raise AssertionError("a place in the cycle is some optimizer's")

    def _begin_turn(self, index: int) -> None:
        adapter = self._adapter
        self._wrapped = self._run.optimizers[index]
        self._optimizer = bare(self._wrapped)
        adapter.optimizer_idx = index
        if len(self._run.optimizers) > 1:
            adapter.method(self._module, "toggle_optimizer")(self._wrapped)

    def _end_turn(self) -> None:
        if len(self._run.optimizers) > 1:
            self._adapter.method(self._module, "untoggle_optimizer")(self._wrapped)

    def _take(self, batch: Any, batch_idx: int, *, first: bool, closes: bool) -> None:
        """Gradients of one optimizer's loss and, at the end of a window, its update."""
        clears = first and not self._era.clears_gradients_after_step
        if not closes:
            self._compute_gradients(batch, batch_idx, clears)
            return
        if self._gradients_first:
            self._compute_gradients(batch, batch_idx, clears)
            self._call_optimizer_step(batch_idx, self._loss_again(batch, batch_idx))
        elif self._step_override or self._always_needs_closure():
            self._update_with_closure(batch, batch_idx, clears)
        else:
            self._compute_gradients(batch, batch_idx, clears)
            self._before_step()
            self._update()
            self._steps_taken += 1
        if self._era.clears_gradients_after_step:
            self._clear_gradients(batch_idx)

    def _before_step(self) -> None:
        if self.averages_by_hand:
            self._run.strategy.complete_gradients(
                [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
            )
        super()._before_step()

    def _always_needs_closure(self) -> bool:
        ours = type(self._optimizer).__module__.startswith("torch.optim")
        return isinstance(self._optimizer, LBFGS) or not ours

    # ------------------------------------------------------------------------------ the hook `optimizer_step`

    def _loss_again(self, batch: Any, batch_idx: int) -> Callable[[], Any]:
        """For an override that is called with gradients in place: those, and new ones as often as it asks."""
        returned = self._returned
        first = True

        def closure() -> Any:
            nonlocal first
            if first:
                first = False
                return returned if isinstance(returned, Tensor) or returned is None else returned["loss"]
            with torch.enable_grad():
                return self._compute_gradients(batch, batch_idx, True)

        return closure

    def _call_optimizer_step(self, batch_idx: int, closure: Callable[[], Any]) -> None:
        if not self._step_override:
            super()._call_optimizer_step(batch_idx, closure)
            return
        known = {
            "epoch": self._run.progress.epoch,
            "current_epoch": self._run.progress.epoch,
            "batch_idx": batch_idx,
            "batch_nb": batch_idx,
            "optimizer": self._wrapped,
            "optimizer_idx": self._adapter.optimizer_idx,
            "opt_idx": self._adapter.optimizer_idx,
            "optimizer_closure": closure,
            "second_order_closure": closure,
            "on_tpu": False,
            "using_native_amp": self._run.precision.name == "16-mixed",
            "using_lbfgs": isinstance(self._optimizer, LBFGS),
        }
        order = ("epoch", "batch_idx", "optimizer", "optimizer_idx", "optimizer_closure")
        names, _, takes_more = hooks.positional(self._module.optimizer_step)
        given = [known.get(name, known[order[place]] if place < len(order) else False)
                 for place, name in enumerate(names)]  # fmt: skip
        if takes_more:
            given += [known[name] for name in order[len(names) :]]
        self._logbook.within("optimizer_step", self._module.optimizer_step)(*given)

    def step_optimizer(
        self, optimizer: Optimizer, closure: Callable[[], Any] | None = None, **kwargs: Any
    ) -> Any:
        self._steps_taken += 1
        return super().step_optimizer(optimizer, closure)

    # ------------------------------------------------------------------------------- parts of a batch in time

    def _parts(self, batch: Any) -> Sequence[Any]:
        length = self._adapter.truncated_bptt_steps
        if not length:
            return [batch]
        if hooks.defines(self._module, "tbptt_split_batch"):
            return self._module.tbptt_split_batch(batch, length)  # pyright: ignore[reportCallIssue]
        return list(split_in_time(batch, length))

    def _next_hiddens(self) -> Any:
        hiddens = self._returned.get("hiddens") if isinstance(self._returned, dict) else None
        return map_leaves(hiddens, Tensor, Tensor.detach)

    # ------------------------------------------------------------------------------------------- what is left

    def _note_outputs(self, index: int) -> None:
        returned = super().outputs
        if self._adapter.truncated_bptt_steps:
            returned.pop("hiddens", None)
        if returned:
            self._turns[index].append(returned)

    @property
    def outputs(self) -> Any:
        return self._turns


class OldManualStep(ManualStep):
    """Manual optimization whose backward may be given the optimizer.

    In 1.0, backward clips; in 1.1, a step accumulates, clips and clears; since 1.2, that is the user's.
    """

    def __init__(self, adapter: LightningAdapter) -> None:
        super().__init__(adapter.run)
        self._mode = adapter.era.manual_optimization
        self._counts_each = adapter.era.counts_each_optimizer
        self._options = adapter.step_options

    def run(self, batch: Any, batch_idx: int, is_last: bool) -> bool:
        updated = super().run(batch, batch_idx, is_last)
        if not self._counts_each and self._closes_window:
            self._progress.optimizer_step += 1
        return updated

    @property
    def _closes_window(self) -> bool:
        size = self._options.accumulate_grad_batches
        return (self._progress.batch + 1) % size == 0 or self._run.is_last_batch

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        given = [value for value in args if not isinstance(value, Optimizer)]
        optimizer = kwargs.pop("optimizer", None) or next(
            (bare(value) for value in args if isinstance(value, Optimizer)), None
        )
        super().manual_backward(loss, *given, **kwargs)
        if self._mode == "backward clips" and optimizer is not None:
            self.clip(bare(optimizer), self._options.gradient_clip_val, self._options.gradient_clip_algorithm)

    def step_optimizer(
        self, optimizer: Optimizer, closure: Callable[[], Any] | None = None, **kwargs: Any
    ) -> Any:
        wanted = kwargs.pop("make_optimizer_step", None)
        if self._mode != "step accumulates and clears":
            return super().step_optimizer(optimizer, closure, **kwargs)
        if not (self._closes_window if wanted is None else wanted):
            return closure() if closure is not None else None
        self.clip(optimizer, self._options.gradient_clip_val, self._options.gradient_clip_algorithm)
        result = super().step_optimizer(optimizer, closure, **kwargs)
        for call in self._hooks.on_before_zero_grad:
            call(optimizer)
        self._run.module.optimizer_zero_grad(self._progress.epoch, self._run.batch_idx, optimizer)
        return result

    def _count_step(self) -> None:
        if self._counts_each:
            super()._count_step()


def split_in_time(batch: Any, length: int) -> Iterator[Any]:
    """Cut every tensor, and every sequence of sequences, of a batch along its second dimension."""
    entries = list(batch) if isinstance(batch, (list, tuple)) else [batch]
    sizes = {len(entry[0]) for entry in entries if isinstance(entry, (Tensor, list, tuple)) and len(entry)}
    if len(sizes) != 1:
        raise ConfigError(
            "The batch cannot be cut in time: its parts differ in their second dimension.",
            received=f"sizes {sorted(sizes)}",
            fix="define `tbptt_split_batch(self, batch, split_size)`",
        )
    for start in range(0, sizes.pop(), length):
        cut = [_cut(entry, start, start + length) for entry in entries]
        yield cut if isinstance(batch, (list, tuple)) else cut[0]


def _cut(entry: Any, start: int, end: int) -> Any:
    if isinstance(entry, Tensor):
        return entry[:, start:end]
    return [row[start:end] for row in entry] if isinstance(entry, (list, tuple)) else entry
