"""A few steps of a run, as often as wanted, that leave no trace."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

from fulmen.base.generators import isolate_rng
from fulmen.core.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule
from fulmen.core.optimizers import bare
from fulmen.engine.agreement import Agreement
from fulmen.engine.dispatch import method, step_caller
from fulmen.engine.evaluate import evaluate, load_evaluation_data
from fulmen.engine.fit import fit_epoch, load_train_data, reason_to_stop
from fulmen.engine.lifecycle import make_optimizers
from fulmen.engine.loaders import generators_of, restore_attributes, sampler_attributes, shut_down_workers
from fulmen.engine.logbook_state import load_metric_states, metric_states, metric_updates
from fulmen.engine.options import FitOptions, ValidationOptions
from fulmen.engine.position import seed_data
from fulmen.engine.predict import Predictions, predict
from fulmen.engine.states import RunningStage, TrainerFn
from fulmen.engine.step import Step
from fulmen.strategies.host_copies import HostCopies

if TYPE_CHECKING:
    from fulmen.engine.run import Run

_KINDS = {
    TrainerFn.FITTING: "train",
    TrainerFn.VALIDATING: "val",
    TrainerFn.TESTING: "test",
    TrainerFn.PREDICTING: "predict",
}


class Rehearsal:
    """What `run` would do next, tried without its callbacks and loggers, and undone afterwards."""

    def __init__(self, run: Run, make_trial: Callable[[list[Callback]], Run]) -> None:
        self._run = run
        self._make_trial = make_trial
        """A new run at the place of `run`, with other callbacks and with nowhere to write to."""

    @property
    def fn(self) -> TrainerFn:
        """What is rehearsed: fit, validate, test or predict."""
        return self._run.fn

    @property
    def module(self) -> LightningModule:
        """The module of the run."""
        return self._run.module

    @property
    def datamodule(self) -> LightningDataModule | None:
        """The datamodule of the run."""
        return self._run.datamodule

    @property
    def optimizers(self) -> list[Optimizer]:
        """Those of the run; what a rehearsal does to them is undone."""
        return [bare(optimizer) for optimizer in self._run.optimizers]

    @property
    def shares_data(self) -> bool:
        """Whether several processes do it together."""
        return self._run.strategy.world.size > 1

    @property
    def has_begun(self) -> bool:
        """Whether the run has trained, here or before it was taken up."""
        return self._run.progress.total_batch > 0

    @property
    def given_loaders(self) -> Any:
        """What was handed over to the Trainer; None where module or datamodule make the loaders."""
        return self._run.sources[_KINDS[self.fn]].given

    def go(self, steps: int | None, *callbacks: Callback, learns: bool = True) -> Any:
        """Take so many optimizer steps, or evaluate so many batches of each loader; gives what was provided.

        With None, one epoch. Fewer steps where a callback stops the training; without `learns`, a step is the
        forward pass alone. What the module keeps in lists and dicts of its own is not undone.
        """
        trial = self._make_trial(list(callbacks))
        kind = _KINDS[self.fn]
        with undone(self._run), ExitStack() as stack:
            stack.callback(_shut_down, trial)
            LightningModule.attach(trial.module, trial.trainer, trial)
            for callback in callbacks:
                Callback.attach(callback, trial.module)
                stack.callback(Callback.attach, callback, None)
            trial.hooks.resolve(trial)
            if self.fn is TrainerFn.FITTING:
                _train(trial, self._run, steps, stack, learns=learns)
            else:
                _evaluate(trial, kind, steps)
            return trial.loaders[kind].given

    def renew_optimizers(self) -> None:
        """Let the run train with what `configure_optimizers` gives now."""
        make_optimizers(self._run)

    def renew_data(self) -> None:
        """Let the run go over what the loaders are now; they must not have begun."""
        run, kind = self._run, _KINDS[self.fn]
        present = run.loaders.pop(kind, None)
        if self.fn is TrainerFn.FITTING:
            run.loaders.pop("val", None)
            if present is not None:
                load_train_data(run)
        elif present is not None:
            vars(present).update(vars(load_evaluation_data(run, kind)))
            run.loaders[kind] = present


def _shut_down(trial: Run) -> None:
    shut_down_workers([part for found in trial.loaders.values() for part in found.loaders])


class ForwardStep(Step):
    """Does what the module does with a batch, and learns nothing from it."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._training_step = step_caller(run, "training_step", method(run, run.module, "training_step"))

    def run(self, batch: Any, batch_idx: int, is_last: bool) -> bool:
        self._logbook.slots = self._scope
        with nullcontext() if self._context is None else self._context():
            self._returned = self._training_step(batch, batch_idx)
        self._progress.optimizer_step += 1
        return True

    def step_optimizer(
        self, optimizer: Optimizer, closure: Callable[[], Any] | None = None, **kwargs: Any
    ) -> Any:
        return None

    def manual_backward(self, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        pass


def _train(trial: Run, run: Run, steps: int | None, stack: ExitStack, *, learns: bool) -> None:
    progress = trial.progress
    if steps is None:
        trial.fit_options = FitOptions(max_epochs=progress.epoch + 1)
    else:
        trial.fit_options = FitOptions(max_epochs=-1, max_steps=progress.optimizer_step + steps)
    trial.data_options = replace(run.data_options, limit_val_batches=0)
    trial.validation_options = ValidationOptions()
    if trial.is_shared_fit:
        trial.together = Agreement(trial.strategy.collectives)
        trial.stop.share()
    progress.start_epoch()
    trial.use_optimizers([bare(optimizer) for optimizer in run.optimizers])
    if not learns:
        trial._step = ForwardStep(trial)
    if not run.module.automatic_optimization:  # else they would step by themselves
        trial.schedulers = run.schedulers
    seed_data(trial)
    load_train_data(trial)
    loaders = trial.train_loaders.loaders
    stack.enter_context(isolate_rng(generators_of(loaders)))
    stack.callback(restore_attributes, loaders, sampler_attributes(loaders))
    trial.stage = RunningStage.TRAINING
    for call in trial.hooks.on_train_start:
        call()
    while not reason_to_stop(trial):
        fit_epoch(trial)
    for call in trial.hooks.on_train_end:
        call()


def _evaluate(trial: Run, kind: str, steps: int | None) -> None:
    if steps is not None:
        trial.data_options = replace(trial.data_options, **{f"limit_{kind}_batches": steps})
    if trial.fn is TrainerFn.PREDICTING:
        predict(trial, Predictions(keep=False))
    else:
        evaluate(trial, "validation" if kind == "val" else kind)


@contextmanager
def undone(run: Run) -> Iterator[None]:
    """Inside, model, optimizers and random numbers may change; afterwards they are as before.

    Copies are on the host: what a device has to hold is what it has to hold in training.
    """
    module, datamodule = run.module, run.datamodule
    trainer = None if datamodule is None else datamodule.trainer
    with isolate_rng(), ExitStack() as stack:
        stack.callback(LightningModule.attach, module, run.trainer, run)
        if datamodule is not None:
            stack.callback(setattr, datamodule, "trainer", trainer)
        if run.fn is TrainerFn.FITTING:
            _undo_training(run, stack)
        _undo_module(module, stack)
        yield


def _undo_training(run: Run, stack: ExitStack) -> None:
    optimizers = [bare(optimizer) for optimizer in run.optimizers]
    stack.callback(run.use_optimizers, optimizers)  # the strategy has followed those of the trial
    owners: list[Any] = [*optimizers, run.precision, *(config.scheduler for config in run.schedulers)]
    for owner in owners:
        stack.callback(owner.load_state_dict, HostCopies().take(owner.state_dict()))


def _undo_module(module: LightningModule, stack: ExitStack) -> None:
    parts = [(part, _public(part), dict(part._buffers)) for part in module.modules()]
    parameters = [(p, p.requires_grad, p.grad) for p in module.parameters()]
    tensors = [*module.parameters(), *module.buffers()]
    values = HostCopies().take(list(tensors))
    metrics = copy.deepcopy(metric_states(module))
    for parameter, _, _ in parameters:
        parameter.grad = None  # those of before are put back as they are

    def undo() -> None:
        for part, attributes, buffers in parts:
            vars(part).update(attributes)
            part._buffers.update(buffers)
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)
        for parameter, requires_grad, gradient in parameters:
            parameter.requires_grad, parameter.grad = requires_grad, gradient
        for path in metric_updates(module).keys() - metrics.keys():
            metric: Any = module.get_submodule(path)
            metric.reset()
        load_metric_states(module, metrics, module.device)

    stack.callback(undo)


def _public(part: torch.nn.Module) -> dict[str, Any]:
    """The attributes that a module's own code may assign to."""
    return {name: value for name, value in vars(part).items() if not name.startswith("_")}
