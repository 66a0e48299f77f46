"""How one run calls classes that were written for old versions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from fulmen.callbacks import BaseFinetuning, EarlyStopping, ModelCheckpoint, ProgressBar
from fulmen.compat.lightning import hooks, steps
from fulmen.compat.lightning.arguments import UNNAMED, OldSettings
from fulmen.compat.lightning.calls import called_as
from fulmen.compat.lightning.epoch_ends import EpochEnd
from fulmen.compat.lightning.habits import is_ours
from fulmen.compat.lightning.logged import show_last_steps
from fulmen.compat.lightning.loggers import LoggerCollection
from fulmen.compat.lightning.outputs import last_of_batch, of_batch
from fulmen.compat.lightning.progress import RunningLoss
from fulmen.compat.lightning.results import Results
from fulmen.compat.lightning.versions import Era
from fulmen.core.callback import Callback
from fulmen.core.hooks import Hook
from fulmen.core.logger import Logger
from fulmen.core.optimizers import bare
from fulmen.engine.adapter import Adapter, Call
from fulmen.engine.combined_loader import CombinedLoader
from fulmen.engine.data import DataSource
from fulmen.engine.dispatch import spanned
from fulmen.engine.evaluate import load_evaluation_data
from fulmen.engine.options import StepOptions
from fulmen.engine.states import TrainerFn

if TYPE_CHECKING:
    from fulmen.engine.run import Run
    from fulmen.engine.step import Step


FOLLOWED = ("val_loss", "checkpoint_on")
"""What a ModelCheckpoint without a monitor looked for."""


class CombinedOnce:
    """What `trainer.train_dataloader` was from 1.2 to 1.9: the loaders are its `loaders`."""

    def __init__(self, given: Any) -> None:
        self._given = given
        self.loaders = given.iterables if isinstance(given, CombinedLoader) else given

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what copy and pickle look for
            raise AttributeError(name)
        return getattr(self._given, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)


@dataclass
class OldSource(DataSource):
    """Loaders that somebody wants to be told of, or that are combined as the Trainer was told once."""

    combining: str | None = None

    def request(self) -> Any:
        for owner in self.owners:
            if hooks.defines(owner, f"on_{self.kind}_dataloader"):
                getattr(owner, f"on_{self.kind}_dataloader")()
        loaders = super().request()
        if self.kind == "train" and self.combining is not None and isinstance(loaders, (dict, list, tuple)):
            return CombinedLoader(loaders, self.combining)
        return loaders


class LightningAdapter(Adapter):
    """Calls what a run's classes define as the version did that they were written for."""

    def __init__(self, run: Run, era: Era, settings: OldSettings) -> None:
        self.run = run
        self.era = era
        self.truncated_bptt_steps = settings.truncated_bptt_steps or _own_truncation(run.module)
        """How many steps in time a part of a batch has; 0 where batches are not cut."""
        self.step_options = run.trainer._step
        """How the Trainer was told to accumulate and to clip."""
        self._apply(settings)
        before = run.trainer._run
        if era.keeps_metrics and before is not None and before is not run:
            before.logbook.settle()
            run.logbook.put_tables(before.logbook.copy_tables())
        self.results = Results(run, era)
        self.epoch_end = EpochEnd(run, era)
        self.running_loss = RunningLoss()
        self.frequencies: list[int] = []
        """For how many batches in a row each optimizer is used; empty where all are used in each batch."""
        self.optimizer_idx = 0
        """Which optimizer's turn it is."""
        self.hiddens: Any = None
        self._left_evaluation = False

    @property
    def optimizer(self) -> Any:
        """The optimizer whose turn it is."""
        return bare(self.run.optimizers[self.optimizer_idx])

    def _apply(self, settings: OldSettings) -> None:
        """What a Trainer was told once that the run is told now."""
        run = self.run
        if not settings.automatic_optimization:
            run.module.automatic_optimization = False
        if not run.module.automatic_optimization and self.era.manual_optimization != "user":
            run.step_options = StepOptions(1, None, None)  # the step of that version sees to it
        if settings.prepare_data_per_node is not None:
            for owner in (run.module, run.datamodule):
                if owner is not None:
                    owner.prepare_data_per_node = settings.prepare_data_per_node
        for kind, source in run.sources.items():
            combining = settings.multiple_trainloader_mode
            run.sources[kind] = OldSource(kind, source.given, source.owners, combining)
        for callback in run.callbacks:
            if isinstance(callback, ProgressBar) and self._decides_what_is_shown(callback):
                vars(callback)["get_metrics"] = _told_by_module
            elif isinstance(callback, ModelCheckpoint) and hooks.defines(callback, "save_checkpoint"):
                vars(callback)["_decide"] = partial(_save_its_own_way, callback)
            elif isinstance(callback, BaseFinetuning):
                signature = hooks.old_signature(callback, "finetune_function")
                if signature is not None and "finetune_function" not in vars(callback):
                    vars(callback)["finetune_function"] = called_as(
                        signature, callback, callback.finetune_function, self
                    )
        if settings.resume_from_checkpoint and run.fn is TrainerFn.FITTING and run.ckpt_path is None:
            run.ckpt_path = str(settings.resume_from_checkpoint)

    @property
    def shows_loss(self) -> bool:
        """Whether the running loss is among what bars show."""
        run = self.run
        return self.era.bars_show_loss and run.fn is TrainerFn.FITTING and run.module.automatic_optimization

    def _decides_what_is_shown(self, bar: ProgressBar) -> bool:
        """Whether the module does, or the version; and not a bar of the user's own."""
        shows_loss = self.shows_loss and is_ours(type(bar).get_metrics)
        return hooks.defines(self.run.module, "get_progress_bar_dict") or shows_loss

    # ------------------------------------------------------------------------------------------- single calls

    def method(self, owner: Any, name: str) -> Call:
        if name == "predict_step" and hooks.defines(owner, "predict") and not hooks.defines(owner, name):
            return partial(_predict, owner.predict)
        call = getattr(owner, name)
        signature = hooks.old_signature(owner, name)
        if signature is not None:
            call = called_as(signature, owner, call, self)
        if name in ("setup", "teardown"):
            return _by_position(call)
        if isinstance(owner, Callback) and name == "on_save_checkpoint":
            return partial(_keep_state, owner, call)
        if name == "on_train_batch_end":
            shape = last_of_batch if is_ours(type(owner)) else partial(of_batch, era=self.era)
            return partial(_with_outputs, call, shape)
        if owner is not self.run.module:
            return call
        if name == "configure_optimizers":
            return partial(self._configure_optimizers, call)
        if name == "on_validation_model_zero_grad":
            return self.epoch_end.before_validation(call)
        if name in ("on_validation_model_train", "on_test_model_train"):
            return partial(self._leave_evaluation_once, call)
        return self.results.step(name, call)

    def make_step(self) -> Step | None:
        return steps.make_step(self)

    def shown_loaders(self, kind: str, given: Any) -> Any:
        if kind == "train":
            return CombinedOnce(given) if self.era.combines_train_loaders else given
        return [given] if self.era.lists_evaluation_loaders and not isinstance(given, list) else given

    def main_logger(self, loggers: list[Logger]) -> Logger:
        return LoggerCollection(loggers) if self.era.loggers_are_one else loggers[0]

    def _configure_optimizers(self, call: Call) -> Any:
        returned = call()
        if isinstance(returned, (list, tuple)) and all(isinstance(entry, dict) for entry in returned):
            given = [entry.get("frequency") for entry in returned]
            self.frequencies = [n or 1 for n in given] if any(given) else []
        return returned

    def _leave_evaluation_once(self, call: Call) -> None:
        if self._left_evaluation:
            self._left_evaluation = False
        else:
            call()

    # ------------------------------------------------------------------------------------------------- events

    def event(self, hook: Hook, callbacks: list[Callback], calls: list[Call]) -> list[Call]:
        around = self.era.around(hook.name)
        position = around.index("*")
        before = [call for name in around[:position] for call in self._listeners(name, callbacks)]
        after = [call for name in around[position + 1 :] for call in self._listeners(name, callbacks)]
        listeners = [*self._at_its_own_place(hook.name, callbacks), *self.results.collectors(hook.name),
                     *before, *calls, *after, *self._of_the_data(hook.name)]  # fmt: skip
        return self.epoch_end.listeners(listeners) if hook.name == "on_train_epoch_end" else listeners

    def _listeners(self, name: str, callbacks: list[Callback]) -> list[Call]:
        """Who defines a hook that is gone, callbacks first."""
        run = self.run
        listeners: list[Call] = []
        if name == "on_keyboard_interrupt":
            return [
                partial(_if_interrupted, partial(getattr(callback, name), run.trainer, run.module))
                for callback in callbacks
                if hooks.defines(callback, name)
            ]
        for callback in callbacks:
            if _is_gone(name, hooks.CALLBACK) and hooks.defines(callback, name):
                call = partial(getattr(callback, name), run.trainer, run.module)
                listeners.append(_without_arguments(spanned(run, callback, name, call)))
        if _is_gone(name, hooks.MODULE) and hooks.defines(run.module, name):
            call = spanned(run, run.module, name, getattr(run.module, name))
            listeners.append(self.results.epoch_end(name, call) or _without_arguments(call))
        return listeners

    def _of_the_data(self, event: str) -> list[Call]:
        """What a datamodule, and a module in a job that a cluster ends, had for checkpoints."""
        run = self.run
        if event not in ("on_save_checkpoint", "on_load_checkpoint"):
            return []
        of_job = event.replace("_checkpoint", "").replace("on_", "on_hpc_")
        listeners: list[Call] = []
        if run.datamodule is not None and hooks.defines(run.datamodule, event):
            listeners.append(getattr(run.datamodule, event))
        if hooks.defines(run.module, of_job):
            listeners.append(partial(self._if_job_ends, getattr(run.module, of_job)))
        return listeners

    def _if_job_ends(self, call: Call, checkpoint: dict[str, Any]) -> None:
        if self.run.signals.noted is not None or "slurm" in str(self.run.ckpt_path):
            call(checkpoint)

    def _at_its_own_place(self, event: str, callbacks: list[Callback]) -> list[Call]:
        """What this version did before an event that others do elsewhere, or not at all."""
        run, era = self.run, self.era
        listeners: list[Call] = []
        if event == "on_sanity_check_start" and era.loads_validation_data_before_sanity_check:
            listeners.append(lambda: load_evaluation_data(run, "val"))
        if event == "on_train_epoch_start" and era.epoch_is_a_metric:
            listeners.append(lambda: run.logbook.logged_table.update(epoch=run.progress.epoch))
        if event == "on_train_batch_end" and self.shows_loss:
            listeners.append(self.running_loss.take)
        if event.endswith("_epoch_end") and era.plain_names_are_of_last_step:
            stage = event.removeprefix("on_").removesuffix("_epoch_end")
            listeners.append(partial(show_last_steps, run.logbook, stage))
        if event == "on_validation_end" and era.checkpoints_follow_val_loss:
            listeners.append(self._follow_val_loss)
        if event == "on_load_checkpoint" and era.checkpoints_follow_val_loss:
            listeners.append(self._follow_as_saved)
        if event in ("on_validation_end", "on_test_end") and era.leaves_evaluation_mode_first:
            name = event.replace("_end", "_model_train")
            if hooks.defines(run.module, name):
                listeners.append(partial(self._leave_evaluation, getattr(run.module, name)))
        if run.fn is TrainerFn.TESTING and era.testing_is_fitting:
            listeners += self._fitting_hooks(event, callbacks)
        return listeners

    def _follow_val_loss(self) -> None:
        """Without a monitor the best was kept by `val_loss`, or by `checkpoint_on`, if that was logged.

        So did early stopping that nobody named a monitor for.
        """
        logged = self.run.logbook.callback_metrics()
        found = next((name for name in FOLLOWED if name in logged), None)
        for callback in self.run.callbacks:
            if found and isinstance(callback, ModelCheckpoint) and callback.monitor is None:
                callback.monitor = found
            unnamed = isinstance(callback, EarlyStopping) and callback.monitor == UNNAMED
            if unnamed and "val_loss" in logged and UNNAMED not in self.run.logbook.slots:
                self.run.logbook.add_host_values({UNNAMED: float(logged["val_loss"])})

    def _follow_as_saved(self, checkpoint: dict[str, Any]) -> None:
        """Without a monitor, by the one that the saved state of a callback is found by."""
        states = checkpoint.get("callbacks", {})
        for callback in self.run.callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.monitor is None:
                for name in (*FOLLOWED, None):
                    callback.monitor = name
                    if callback.state_key in states:
                        break

    def _leave_evaluation(self, call: Call) -> None:
        call()
        self._left_evaluation = True

    def _fitting_hooks(self, event: str, callbacks: list[Callback]) -> list[Call]:
        """`test` went through `fit` once, whose hooks were called around the evaluation."""
        names = {
            "on_test_start": ("on_fit_start", "on_pretrain_routine_start", "on_pretrain_routine_end"),
            "teardown": ("on_fit_end",),
        }.get(event, ())
        run = self.run
        listeners: list[Call] = []
        for name in names:
            for owner in (*callbacks, run.module):
                if hooks.defines(owner, name):
                    given = (run.trainer, run.module) if isinstance(owner, Callback) else ()
                    listeners.append(_without_arguments(partial(getattr(owner, name), *given)))
        return listeners


def _predict(call: Call, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
    return call(batch, batch_idx, dataloader_idx)


def _with_outputs(call: Call, shape: Call, *args: Any) -> Any:
    """`on_train_batch_end`, which is given the outputs last but two, in a shape of theirs."""
    return call(*args[:-3], shape(args[-3]), *args[-2:])


def _own_truncation(module: Any) -> int:
    return int(module.truncated_bptt_steps or 0) if hooks.defines(module, "truncated_bptt_steps") else 0


def _told_by_module(trainer: Any, module: Any) -> dict[str, Any]:
    return module.get_progress_bar_dict()


def _save_its_own_way(callback: Any, trainer: Any) -> None:
    count = len(hooks.positional(callback.save_checkpoint)[0])
    callback.save_checkpoint(*(trainer, trainer.lightning_module)[:count])


def _is_gone(name: str, kind: str) -> bool:
    return any(hook.name == name and kind in hook.owners for hook in hooks.GONE)


def _without_arguments(call: Call) -> Call:
    return lambda *args, **kwargs: call()


def _by_position(call: Call) -> Call:
    """Whatever the parameter is called that the stage is for."""
    return lambda *args, stage: call(*args, str(stage))


def _if_interrupted(call: Call, error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt):
        call()


def _keep_state(
    callback: Callback, call: Call, trainer: Any, module: Any, checkpoint: dict[str, Any]
) -> None:
    """What `on_save_checkpoint` of a callback returned was its state once."""
    state = call(trainer, module, checkpoint)
    if state:
        checkpoint.setdefault("callbacks", {})[callback.state_key] = state
