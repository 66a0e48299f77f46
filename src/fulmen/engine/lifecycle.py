"""The beginning and the end of every run, whatever it does in between."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from fulmen.base.overrides import is_overridden
from fulmen.base.report import info, own_rank
from fulmen.base.seams import outer
from fulmen.core.callback import Callback
from fulmen.core.module import LightningModule
from fulmen.core.optimizers import parse_configuration
from fulmen.engine import checkpoint as checkpoints
from fulmen.engine.agreement import Agreement
from fulmen.engine.dispatch import method
from fulmen.engine.loaders import shut_down_workers
from fulmen.engine.position import seed_data
from fulmen.engine.states import TrainerFn
from fulmen.engine.validation import report_unused_validation
from fulmen.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from fulmen.engine.run import Run


def begin(run: Run, *, weights_only: bool | None) -> None:
    """Everything up to the moment at which a loop can start."""
    LightningModule.attach(run.module, run.trainer, run)  # users have methods of such names
    run.hooks.resolve(run)  # what fails from here on is told to the callbacks
    attach_callbacks(run)
    run.adapter = outer().adapter(run)
    run.hooks.resolve(run)
    if run.datamodule is not None:
        run.datamodule.trainer = run.trainer
    prepare_data(run)
    if run.profiler is not None:
        together = run.strategy.world.size > 1
        rank = run.strategy.world.local_rank if together else own_rank() or None
        run.profiler.setup(str(run.fn), rank, run.trainer.log_dir)
    for call in run.hooks.setup:
        call(stage=run.fn)
    configure_model(run)
    if run.ckpt_path is not None:
        run.checkpoint = checkpoints.read(run, run.ckpt_path, weights_only=weights_only)
        checkpoints.take_up_model(run, run.checkpoint, run.ckpt_path)
        info(f"Restored from {run.ckpt_path}")
    run.strategy.setup(run.module)
    if run.profiler is not None:
        run.profiler.watch(run.module)
    if run.fn is TrainerFn.FITTING:
        begin_training(run)
    run.checkpoint = None
    run.hooks.resolve(run)
    if run.goes_on and run.ckpt_path is None:
        for logger in run.loggers:
            logger.mark_beginning()
    log_hyperparameters(run)
    if run.signals.noted:
        raise run.signals.interrupt()


def prepare_data(run: Run) -> None:
    """Call what downloads on one process of each node, or on one of all; the others wait for it."""
    world = run.strategy.world
    for owner in (run.datamodule, run.module):
        if owner is not None and (world.local_rank if owner.prepare_data_per_node else world.rank) == 0:
            owner.prepare_data()
    run.strategy.barrier("prepare_data")


def configure_model(run: Run) -> None:
    """Let the module make its layers, in the numbers that they will compute in."""
    context = run.precision.module_context()
    if context is None:
        run.module.configure_model()
    else:
        with context():
            run.module.configure_model()
    run.precision.convert_module(run.module)


def begin_training(run: Run) -> None:
    """Optimizers, schedulers, and what a checkpoint says of them."""
    run.module.to(run.strategy.root_device)
    make_optimizers(run)
    run.progress.start_epoch()  # an epoch that an earlier fit did not finish begins again
    seed_data(run)
    if run.checkpoint is not None:
        assert run.ckpt_path is not None
        checkpoints.take_up_training(run, run.checkpoint, run.ckpt_path)
    run.signals.batches_before = run.progress.total_batch
    if run.is_shared_fit:
        run.together = Agreement(run.strategy.collectives)
        run.stop.share()


def make_optimizers(run: Run) -> None:
    """Ask the module for optimizers and schedulers."""
    optimizers, run.schedulers = parse_configuration(
        method(run, run.module, "configure_optimizers")(),
        automatic=run.module.automatic_optimization,
        custom_scheduler_step=is_overridden("lr_scheduler_step", run.module, LightningModule),
    )
    run.use_optimizers(optimizers)


def attach_callbacks(run: Run) -> None:
    """Add the module's own callbacks, which replace those of the same class, and put checkpointing last."""
    own = run.module.configure_callbacks()
    own = [own] if isinstance(own, Callback) else list(own or [])
    kinds = {type(callback) for callback in own}
    kept = [callback for callback in run.callbacks if type(callback) not in kinds or callback in own]
    run.callbacks[:] = kept + [callback for callback in own if callback not in kept]
    run.callbacks.sort(key=lambda callback: callback.saves_checkpoints)
    for callback in run.callbacks:
        Callback.attach(callback, run.module)
    seen: dict[str, Callback] = {}
    for callback in run.callbacks:
        other = seen.setdefault(callback.state_key, callback)
        if other is not callback and is_overridden("state_dict", callback, Callback):
            raise ConfigError(
                "Two callbacks would be saved under one name.",
                received=f"{callback.state_key!r} twice",
                fix="give the class a `state_key` that tells them apart",
            )


def check_fit(run: Run) -> None:
    """What a fit needs from the module and the options, before anything is built."""
    module = run.module
    name = type(module).__name__
    for hook, example in (
        ("training_step", "def training_step(self, batch, batch_idx): ... return loss"),
        (
            "configure_optimizers",
            "def configure_optimizers(self): return torch.optim.Adam(self.parameters())",
        ),
    ):
        if not is_overridden(hook, module, LightningModule):
            raise UsageError(f"{name} has no `{hook}`, which `fit` needs.", fix=example)
    if not run.sources["train"].exists:
        run.sources["train"].request()  # raises, and says how to mend it
    if not module.automatic_optimization:
        for option, neutral in (("accumulate_grad_batches", 1), ("gradient_clip_val", None)):
            value = getattr(run.step_options, option)
            if value != neutral:
                raise ConfigError(
                    f"`{option}` has no effect in manual optimization.",
                    received=f"Trainer({option}={value})",
                    fix="do it in training_step: self.clip_gradients(...), step every n batches",
                )
    report_unused_validation(run)
    given = run.fit_options
    if given.max_epochs is None and given.max_steps == -1 and given.max_time is None:
        info("Neither `max_epochs` nor `max_steps` nor `max_time` is set: training for up to 1000 epochs.")


def check_evaluation(run: Run, step: str) -> None:
    """What an evaluation needs from the module."""
    if not is_overridden(step, run.module, LightningModule):
        if step == "predict_step" and is_overridden("forward", run.module, LightningModule):
            return
        raise UsageError(
            f"{type(run.module).__name__} has no `{step}`, which `{run.fn}` needs.",
            fix=f"def {step}(self, batch, batch_idx): ...",
        )


def log_hyperparameters(run: Run) -> None:
    """Tell the loggers what the run was started with, and the graph of the model."""
    if not run.report_options.enable_autolog_hparams:
        return
    owners = [run.module] if run.datamodule is None else [run.module, run.datamodule]
    merged: dict[str, Any] = {}
    for owner in owners:
        hparams = owner.hparams_initial if owner._log_hyperparams else {}
        for name, value in hparams.items():
            if name in merged and repr(merged[name]) != repr(value):
                raise ConfigError(
                    f"The hyperparameter {name!r} differs between module and datamodule.",
                    received=f"{merged[name]!r} and {value!r}",
                    fix="save_hyperparameters(logger=False) in one of them",
                )
            merged[name] = value
    for logger in run.loggers:
        if merged:
            logger.log_hyperparams(merged)
        logger.log_graph(run.module)


def end(run: Run) -> None:
    """The hooks and reports that follow a run that was not ended by an error."""
    for call in run.hooks.teardown:
        call(stage=run.fn)
    if run.goes_on:
        for logger in run.loggers:
            logger.forget_beginning()


def close(run: Run, *, status: str) -> None:
    """What has to happen however a run ended."""
    with ExitStack() as stack:  # an error in one of them keeps none of the others from being called
        stack.callback(LightningModule.attach, run.module, run.trainer, None)
        stack.callback(run.strategy.teardown)
        run.train_stream, run.cannot_wait = None, True
        stack.callback(shut_down_workers, [part for found in run.loaders.values() for part in found.loaders])
        for callback in run.callbacks:
            stack.callback(Callback.attach, callback, None)
        if run.profiler is not None:
            stack.callback(run.profiler.teardown, str(run.fn))
            stack.callback(run.profiler.describe)
        for logger in reversed(run.loggers):
            stack.callback(logger.finalize, status)
