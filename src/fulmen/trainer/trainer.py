"""The facade: arguments become frozen option groups and objects, and each method makes a Run of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

from fulmen import build
from fulmen.base import files
from fulmen.base.report import info, warn
from fulmen.base.seams import AsksOutside, outer, respelled
from fulmen.core.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.logger import Logger
from fulmen.core.module import LightningModule
from fulmen.core.profiler import Profiler
from fulmen.engine import checkpoint as checkpoints
from fulmen.engine import lifecycle
from fulmen.engine.compiled import compiled_calls, within_compiled
from fulmen.engine.data import DataSource
from fulmen.engine.determinism import TorchSwitches
from fulmen.engine.evaluate import evaluate
from fulmen.engine.fit import fit, reason_to_stop
from fulmen.engine.interruption import saved_when_interrupted
from fulmen.engine.logbook import Logbook
from fulmen.engine.options import (
    DataOptions,
    FitOptions,
    Limit,
    ReportOptions,
    StepOptions,
    ValidationOptions,
    limit_for_debugging,
    parse_duration,
    parse_interval,
)
from fulmen.engine.predict import Predictions, predict
from fulmen.engine.progress import Progress
from fulmen.engine.result import FitResult
from fulmen.engine.run import Run
from fulmen.engine.states import RunningStage, TrainerFn, TrainerStatus
from fulmen.errors import ConfigError, UsageError
from fulmen.precision import Precision
from fulmen.runtime import watch
from fulmen.runtime.device import Accelerator, Devices, find_accelerator, find_devices
from fulmen.strategies import SingleDeviceStrategy, Strategy
from fulmen.trainer.checking import checked, checked_subjects, owners_without_datamodule
from fulmen.trainer.checkpoint_path import (
    find_checkpoint_to_evaluate,
    find_checkpoint_to_fit,
    path_when_interrupted,
)
from fulmen.trainer.launching import METHODS, call_in_all_processes
from fulmen.trainer.requeue import Requeue, of_next_fit
from fulmen.trainer.view import RunView


class Trainer(RunView, metaclass=AsksOutside):
    """Owns the engineering of a training: devices, precision, checkpoints, logging, evaluation."""

    @checked
    def __init__(
        self,
        *,
        accelerator: str | Accelerator = "auto",
        strategy: str | Strategy = "auto",
        devices: Devices = "auto",
        num_nodes: int = 1,
        precision: str | int | Precision | None = None,
        logger: Logger | list[Logger] | bool | None = None,
        callbacks: Callback | list[Callback] | None = None,
        fast_dev_run: int | bool = False,
        max_epochs: int | None = None,
        min_epochs: int | None = None,
        max_steps: int = -1,
        min_steps: int | None = None,
        max_time: str | timedelta | dict[str, int] | None = None,
        limit_train_batches: Limit | None = None,
        limit_val_batches: Limit | None = None,
        limit_test_batches: Limit | None = None,
        limit_predict_batches: Limit | None = None,
        overfit_batches: Limit = 0.0,
        val_check_interval: Limit | str | timedelta | dict[str, int] | None = None,
        check_val_every_n_epoch: int | None = 1,
        num_sanity_val_steps: int | None = None,
        log_every_n_steps: int | None = None,
        enable_checkpointing: bool | None = None,
        enable_progress_bar: bool | None = None,
        enable_model_summary: bool | None = None,
        enable_autolog_hparams: bool = True,
        accumulate_grad_batches: int = 1,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
        deterministic: bool | str | None = None,
        benchmark: bool | None = None,
        inference_mode: bool = True,
        use_distributed_sampler: bool = True,
        profiler: str | Profiler | None = None,
        detect_anomaly: bool = False,
        barebones: bool = False,
        plugins: Any = None,
        sync_batchnorm: bool = False,
        reload_dataloaders_every_n_epochs: int = 0,
        default_root_dir: files.AnyPath | None = None,
        model_registry: str | None = None,
        exact_data: bool = True,
    ) -> None:
        """Every argument is optional; the documentation of each is in `docs/trainer.md`."""
        on = not barebones
        self._default_root_dir = files.absolute(os.getcwd() if default_root_dir is None else default_root_dir)
        fit_options = FitOptions(
            max_epochs, min_epochs, max_steps, min_steps, parse_duration(max_time, "max_time")
        )
        data_options = DataOptions(
            limit_train_batches=_default(limit_train_batches, 1.0),
            limit_val_batches=_default(limit_val_batches, 1.0),
            limit_test_batches=_default(limit_test_batches, 1.0),
            limit_predict_batches=_default(limit_predict_batches, 1.0),
            overfit_batches=overfit_batches,
            fast_dev_run=fast_dev_run,
            num_sanity_val_steps=_default(num_sanity_val_steps, 2 if on else 0),
            reload_dataloaders_every_n_epochs=reload_dataloaders_every_n_epochs,
            use_distributed_sampler=use_distributed_sampler,
            exact_data=exact_data,
        )
        validation_options = ValidationOptions(
            _default(parse_interval(val_check_interval), 1.0), check_val_every_n_epoch
        )
        self._fit, self._data, self._validation = limit_for_debugging(
            fit_options, data_options, validation_options
        )
        self._step = StepOptions(accumulate_grad_batches, gradient_clip_val, gradient_clip_algorithm)
        self._report = ReportOptions(
            log_every_n_steps=_default(log_every_n_steps, 50 if on else 0),
            enable_autolog_hparams=enable_autolog_hparams,
            inference_mode=inference_mode,
            barebones=barebones,
        )
        self._torch_switches = TorchSwitches(deterministic, benchmark, detect_anomaly)

        plugin_precision, checkpoint_io, environment = build.sort_plugins(plugins)
        if plugin_precision is not None and precision is not None:
            raise ConfigError("The precision is given twice, as `precision` and in `plugins`.")
        if accelerator == "auto" and isinstance(strategy, Strategy) and strategy.wanted_device:
            accelerator = strategy.wanted_device.type
        self.accelerator = find_accelerator(accelerator)
        single = strategy == "single_device" or isinstance(strategy, SingleDeviceStrategy)
        environment = build.find_environment(strategy, environment)
        self._devices = find_devices(
            self.accelerator, 1 if single and devices == "auto" else devices,
            local_rank=environment.local_rank() if environment.detect() else 0,
        )  # fmt: skip
        self.strategy = build.make_strategy(
            strategy, self._devices, num_nodes, io=checkpoint_io, environment=environment,
            sync_batchnorm=sync_batchnorm,
        )  # fmt: skip
        self._precision = plugin_precision or build.make_precision(precision, self.strategy.root_device)
        self.loggers = build.make_loggers(
            False if barebones else logger, self._default_root_dir, fast_dev_run=bool(fast_dev_run)
        )
        self.profiler = build.make_profiler(profiler)
        self.callbacks = build.make_callbacks(
            callbacks,
            checkpointing=enable_checkpointing
            if enable_checkpointing is not None
            else (on and not fast_dev_run) or None,
            progress_bar=_default(enable_progress_bar, on),
            model_summary=_default(enable_model_summary, on),
            max_time=self._fit.max_time,
        )
        self.predict_loop = Predictions()
        self._progress = Progress()
        self._status = TrainerStatus.INITIALIZING
        self._run = None
        call_in_all_processes(self)

    # -------------------------------------------------------------------------------------------- the methods

    def fit(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: files.AnyPath | None = None,
        weights_only: bool | None = None,
        **otherwise: Any,
    ) -> FitResult:
        """Train `model`, from `ckpt_path` on if it is given.

        That is a path, "best", "last" for the newest one that is intact, or "auto": the same, and from the
        beginning where there is none.
        """
        if otherwise:
            return Trainer.fit(self, **respelled("fit", locals()))
        given = {"train": train_dataloaders, "val": val_dataloaders}
        run = self._new_run(TrainerFn.FITTING, RunningStage.TRAINING, model, datamodule, given)
        lifecycle.check_fit(run)
        requeue = of_next_fit(self)
        left = None if requeue is None else requeue.checkpoint()
        run.ckpt_path = self.strategy.broadcast(find_checkpoint_to_fit(self, ckpt_path, left))
        run.goes_on = ckpt_path in ("last", "auto")
        with self._session(run, weights_only, requeue):
            fit(run)
        return self._result(run)

    def validate(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: files.AnyPath | None = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
        **otherwise: Any,
    ) -> list[dict[str, float]]:
        """Score `model`, or the last fit's best one, on the validation data; a dict of metrics per loader."""
        if otherwise:
            return Trainer.validate(self, **respelled("validate", locals()))
        return self._evaluate(
            TrainerFn.VALIDATING, RunningStage.VALIDATING, model, {"val": dataloaders}, ckpt_path, verbose,
            datamodule, weights_only,
        )  # fmt: skip

    def test(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: files.AnyPath | None = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
        **otherwise: Any,
    ) -> list[dict[str, float]]:
        """Score `model`, or the last fit's best one, on the test data; a dict of metrics per loader."""
        if otherwise:
            return Trainer.test(self, **respelled("test", locals()))
        return self._evaluate(
            TrainerFn.TESTING, RunningStage.TESTING, model, {"test": dataloaders}, ckpt_path, verbose,
            datamodule, weights_only,
        )  # fmt: skip

    def predict(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        return_predictions: bool | None = None,
        ckpt_path: files.AnyPath | None = None,
        weights_only: bool | None = None,
        **otherwise: Any,
    ) -> Any:
        """What `predict_step` gives for each batch: a list, or a list per loader where there are several."""
        if otherwise:
            return Trainer.predict(self, **respelled("predict", locals()))
        fn, given = TrainerFn.PREDICTING, {"predict": dataloaders}
        run = self._new_run(fn, RunningStage.PREDICTING, self._model_or_last(model, fn), datamodule, given)
        lifecycle.check_evaluation(run, "predict_step")
        run.ckpt_path = self._evaluation_checkpoint(model, ckpt_path)
        self.predict_loop = Predictions(keep=return_predictions is not False)
        with self._session(run, weights_only):
            if self._data.limit_predict_batches:
                predict(run, self.predict_loop)
        made = self.predict_loop.predictions
        if return_predictions is False or not made:
            return None
        return made[0] if len(made) == 1 else made

    def save_checkpoint(
        self, filepath: files.AnyPath, weights_only: bool | None = None, storage_options: Any = None
    ) -> None:
        """Write all that `fit(ckpt_path=filepath)` needs; with `weights_only`, what inference needs."""
        if self._run is None:
            raise UsageError(
                "There is nothing to save yet: no model is attached to this Trainer.",
                fix="call it during or after a run",
            )
        self._run.last_saved = files.absolute(filepath)
        if not weights_only:
            self._run.last_whole = self._run.last_saved
        checkpoints.save(
            self._run,
            files.absolute(filepath),
            weights_only=bool(weights_only),
            storage_options=storage_options,
            wait=self._status is not TrainerStatus.RUNNING,  # nobody else does, or would learn of an error
        )

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print once for all processes, without tearing the progress bar."""
        if self.is_global_zero:
            bar = self.progress_bar_callback
            if bar is None:
                print(*args, **kwargs)
            else:
                bar.print(*args, **kwargs)

    @contextmanager
    def init_module(self, empty_init: bool | None = None) -> Iterator[None]:
        """Modules made inside have their parameters on the device, and in the precision, they train in."""
        precision_context = self._precision.module_context()
        with ExitStack() as stack:
            stack.enter_context(self.strategy.root_device)
            if precision_context is not None:
                stack.enter_context(precision_context())
            yield

    # -------------------------------------------------------------------------------------------- their parts

    def _evaluate(
        self, fn: TrainerFn, stage: RunningStage, model: LightningModule | None, given: dict[str, Any],
        ckpt_path: files.AnyPath | None, verbose: bool, datamodule: LightningDataModule | None,
        weights_only: bool | None,
    ) -> list[dict[str, float]]:  # fmt: skip
        run = self._new_run(fn, stage, self._model_or_last(model, fn), datamodule, given)
        name = "validation" if fn is TrainerFn.VALIDATING else "test"
        lifecycle.check_evaluation(run, f"{name}_step")
        run.ckpt_path = self._evaluation_checkpoint(model, ckpt_path)
        results: list[dict[str, float]] = []
        with self._session(run, weights_only):
            if self._data.limit("val" if name == "validation" else name):
                results = evaluate(run, name)
        if verbose and self.is_global_zero and any(results):
            self.print(build.results_table(results, str(fn)))
        return results

    def _model_or_last(self, model: LightningModule | None, fn: TrainerFn) -> LightningModule:
        if model is not None:
            return model
        if self._run is None:
            raise UsageError("No model is attached to this Trainer.", fix=f"pass one: trainer.{fn}(model)")
        return self._run.module

    def _evaluation_checkpoint(
        self, model: LightningModule | None, ckpt_path: files.AnyPath | None
    ) -> str | None:
        """Without a model and a path, the best model of the last fit is scored, where one was saved."""
        if model is None and ckpt_path is None:
            best = getattr(self.checkpoint_callback, "best_model_path", "")
            if not best:
                warn(
                    "Neither a model nor a checkpoint was given, and none was saved: "
                    "the present weights are used."
                )
                return None
            ckpt_path = "best"
        return self.strategy.broadcast(find_checkpoint_to_evaluate(self, ckpt_path))

    def _new_run(
        self, fn: TrainerFn, stage: RunningStage, model: LightningModule,
        datamodule: LightningDataModule | None, given: dict[str, Any],
    ) -> Run:  # fmt: skip
        model, compiled = within_compiled(model, self._run)
        datamodule, given = checked_subjects(fn, model, datamodule, given)
        owners = (model,) if datamodule is None else (datamodule, model)
        if datamodule is None and self._run is not None and self._run.module is model:
            datamodule = self._run.datamodule  # which stays the model's, with its hooks
            owners = owners_without_datamodule(model, datamodule, given)
        run = Run(
            fn=fn,
            stage=stage,
            trainer=self,
            module=model,
            datamodule=datamodule,
            callbacks=self.callbacks,
            loggers=self.loggers if self.is_global_zero else [],
            profiler=self.profiler,
            strategy=self.strategy,
            precision=self._precision,
            fit_options=self._fit,
            data_options=self._data,
            validation_options=self._validation,
            step_options=self._step,
            report_options=self._report,
            progress=self._progress,
            logbook=Logbook(self.strategy, self.loggers if self.is_global_zero else [], model),
            sources={k: DataSource(k, given.get(k), owners) for k in ("train", "val", "test", "predict")},
            compile=compiled,
        )
        run.adapter = outer().adapter(run)
        if fn is not TrainerFn.FITTING and self._run is not None:
            run.optimizers, run.schedulers = self._run.optimizers, self._run.schedulers
        return run

    def __getstate__(self) -> dict[str, Any]:
        own = {name: value for name, value in vars(self).items() if name not in METHODS}
        return {**own, "_run": None}  # which are of this process

    def show_run_of(self, model: LightningModule, tables: list[dict[str, Any]]) -> None:
        """Show what a run in other processes came to."""
        self._run = self._new_run(TrainerFn.FITTING, RunningStage.TRAINING, model, None, {})
        self._run.logbook.put_tables(tables)
        self._status = TrainerStatus.FINISHED

    @contextmanager
    def _session(self, run: Run, weights_only: bool | None, requeue: Requeue | None = None) -> Iterator[None]:
        """Around every loop: what comes before it, what follows, and what happens when it fails."""
        self._run = run
        run.signals.requeue_signal = None if requeue is None else requeue.signal
        self._status = TrainerStatus.RUNNING
        for logger in self.loggers if self.world_size > 1 else ():
            logger.agree_on_version(self.strategy.broadcast)
        outcome = "failed"
        with run.signals.handled():
            try:
                with self._torch_switches.applied(), saved_when_interrupted(run), compiled_calls(run):
                    lifecycle.begin(run, weights_only=weights_only)
                    run.interrupted_path = path_when_interrupted(self, requeue)
                    yield
                    lifecycle.end(run)
                interrupted = run.signals.noted is not None
                self._status = TrainerStatus.INTERRUPTED if interrupted else TrainerStatus.FINISHED
                outcome = "interrupted" if interrupted else "success"
            except BaseException as error:
                self._status = TrainerStatus.INTERRUPTED
                watch.note(error)
                run.cannot_wait = True
                checkpoints.save_what_waits_in_vain(run)
                for call in run.hooks.on_exception:
                    call(error)
                gentle = isinstance(error, KeyboardInterrupt) and run.signals.presses <= 1
                if not (gentle and run.fn is TrainerFn.FITTING):
                    raise
                outcome = "interrupted"
                lifecycle.end(run)
            finally:
                lifecycle.close(run, status=outcome)
            if requeue is not None:
                requeue.end(run, interrupted=outcome == "interrupted")

    def _result(self, run: Run) -> FitResult:
        interrupted = self._status is TrainerStatus.INTERRUPTED
        reason = "interrupted" if interrupted else reason_to_stop(run) or "there was nothing to train on"
        info(f"Training ended: {reason}.")
        return FitResult(
            stopped_because=reason,
            interrupted=interrupted,
            epochs=run.progress.epoch,
            steps=run.progress.optimizer_step,
            best_checkpoint=getattr(self.checkpoint_callback, "best_model_path", None) or None,
            last_checkpoint=run.last_saved,
            history=run.logbook.history,
        )


def _default(value: Any, default: Any) -> Any:
    return default if value is None else value
