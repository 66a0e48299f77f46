"""What users read of a run: each property looks into it, or into what the next one will use."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fulmen.base.seams import outer
from fulmen.callbacks import Checkpoint, EarlyStopping, GradientAccumulationScheduler, ProgressBar
from fulmen.core.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.logger import Logger
from fulmen.core.module import LightningModule
from fulmen.core.optimizers import LRSchedulerConfig, bare
from fulmen.core.profiler import Profiler
from fulmen.engine.fit import load_train_data
from fulmen.engine.predict import Predictions
from fulmen.engine.progress import Progress
from fulmen.engine.rehearsal import Rehearsal
from fulmen.engine.states import RunningStage, TrainerFn, TrainerState, TrainerStatus
from fulmen.errors import UsageError
from fulmen.precision import Precision
from fulmen.runtime.device import Accelerator
from fulmen.strategies import Strategy
from fulmen.trainer.arguments import ArgumentsView
from fulmen.trainer.loops import EvaluationLoopView, FitLoopView
from fulmen.trainer.rehearsals import T, rehearsal_of, rehearse


class RunView(ArgumentsView):
    """What a Trainer knows, by the names that user code asks for."""

    accelerator: Accelerator
    strategy: Strategy
    callbacks: list[Callback]
    loggers: list[Logger]
    predict_loop: Predictions
    profiler: Profiler | None
    _precision: Precision
    _devices: list[torch.device]
    _progress: Progress
    _status: TrainerStatus
    _default_root_dir: str

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):  # what copy and pickle look for
                raise AttributeError(name)
            return outer().attribute(self, name)

    # ------------------------------------------------------------------------------------------------ the run

    @property
    def state(self) -> TrainerState:
        """Status, method and stage."""
        run = self._run
        return TrainerState(self._status, run.fn if run else None, run.stage if run else None)

    def _in_stage(self, *stages: RunningStage) -> bool:
        return self._status is TrainerStatus.RUNNING and self._run is not None and self._run.stage in stages

    @property
    def training(self) -> bool:
        """Whether training batches are under way."""
        return self._in_stage(RunningStage.TRAINING)

    @property
    def validating(self) -> bool:
        """Whether validation batches are under way."""
        return self._in_stage(RunningStage.VALIDATING)

    @property
    def testing(self) -> bool:
        """Whether test batches are under way."""
        return self._in_stage(RunningStage.TESTING)

    @property
    def predicting(self) -> bool:
        """Whether batches are being predicted."""
        return self._in_stage(RunningStage.PREDICTING)

    @property
    def sanity_checking(self) -> bool:
        """Whether the validation batches before training are under way."""
        return self._in_stage(RunningStage.SANITY_CHECKING)

    @property
    def evaluating(self) -> bool:
        """Whether validation, sanity check or test batches are under way."""
        return self._run is not None and self._status is TrainerStatus.RUNNING and self._run.stage.evaluating

    @property
    def interrupted(self) -> bool:
        """Whether the last run was ended by Ctrl-C or an error."""
        return self._status is TrainerStatus.INTERRUPTED

    @property
    def received_sigterm(self) -> bool:
        """Whether the process was asked to terminate."""
        return self._run is not None and self._run.signals.noted == signal.SIGTERM

    @property
    def should_stop(self) -> bool:
        """Whether training ends after the current step, or as soon as `min_epochs` and `min_steps` allow."""
        return self._run is not None and self._run.stop.requested

    @should_stop.setter
    def should_stop(self, stop: bool) -> None:
        if self._run is not None:
            self._run.stop.requested = stop

    def stop(self, reason: str) -> None:
        """Set `should_stop`; `reason` is shown, and is in the result of `fit`."""
        if self._run is not None:
            self._run.stop.request(reason)

    @property
    def rehearsal(self) -> Rehearsal:
        """Tries what the run under way would do next, and leaves no trace."""
        if self._run is None or self._status is not TrainerStatus.RUNNING:
            raise UsageError(
                "There is nothing to rehearse: no run is under way.", fix="trainer.rehearse(...)"
            )
        return rehearsal_of(self._run)

    def rehearse(
        self, act: Callable[[Rehearsal], T], fn: TrainerFn, model: LightningModule,
        datamodule: LightningDataModule | None = None, **loaders: Any,
    ) -> T:  # fmt: skip
        """What `act` makes of a rehearsal of `fn`; `loaders` are by kind: train, val, test, predict."""
        return rehearse(self, act, fn, model, datamodule, loaders)  # pyright: ignore[reportArgumentType]

    # ----------------------------------------------------------------------------------------------- progress

    @property
    def current_epoch(self) -> int:
        """Number of finished training epochs."""
        return self._progress.epoch

    @property
    def global_step(self) -> int:
        """Number of optimizer steps, of all optimizers."""
        return self._progress.optimizer_step

    @property
    def logger_step(self) -> int:
        """The step that loggers are given for the batch under way."""
        return self._run.log_step if self._run else 0

    @property
    def fit_loop(self) -> FitLoopView:
        """Limits and position of training; setting the limits of a finished fit lets it train on."""
        return FitLoopView(self)

    @property
    def validate_loop(self) -> EvaluationLoopView:
        """The loaders of validation."""
        return EvaluationLoopView(self, "val")

    @property
    def test_loop(self) -> EvaluationLoopView:
        """The loaders of testing."""
        return EvaluationLoopView(self, "test")

    @property
    def is_last_batch(self) -> bool:
        """Whether the batch under way is the last of its loader."""
        return self._run is not None and self._run.is_last_batch

    @property
    def accumulating(self) -> bool:
        """Whether an accumulation window is open, in which nothing can be saved."""
        return self._run is not None and self._run.fn is TrainerFn.FITTING and self._run.accumulating

    @property
    def validation_is_due(self) -> bool:
        """Whether a validation follows the training batch under way."""
        return self._run is not None and self._run.validation_is_due

    @property
    def estimated_stepping_batches(self) -> int | float:
        """Optimizer steps that the whole training will take; infinite where nothing limits it.

        Made for `configure_optimizers`, where a schedule needs its length: loads the train data if need be.
        """
        if self._run is None or self._run.fn is not TrainerFn.FITTING:
            return self.max_steps if self.max_steps != -1 else math.inf
        varying = next((c for c in self.callbacks if isinstance(c, GradientAccumulationScheduler)), None)
        if varying is not None and len(varying.scheduling) > 1:
            raise UsageError(
                "The number of optimizer steps is not known while GradientAccumulationScheduler changes it.",
                fix="tell the schedule its length yourself",
            )
        load_train_data(self._run)
        length = self._run.train_loaders.lengths[0]
        epochs = self._fit.epoch_limit
        if math.inf in (length, epochs):
            return self._fit.step_limit if self._fit.step_limit == math.inf else int(self._fit.step_limit)
        steps = math.ceil(length / self.accumulate_grad_batches) * max(epochs, 1)
        return int(min(steps, self._fit.step_limit))

    @property
    def ckpt_path(self) -> str | None:
        """What the run was, or is about to be, taken up from; a callback may set it in `setup`."""
        return self._run.ckpt_path if self._run else None

    @ckpt_path.setter
    def ckpt_path(self, path: str | None) -> None:
        if self._run is not None:
            self._run.ckpt_path = path

    # ------------------------------------------------------------------------------------------------ metrics

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """The latest value of all that was logged, up to date at any moment, as tensors on their device."""
        return self._run.logbook.callback_metrics() if self._run else {}

    @property
    def logged_metrics(self) -> dict[str, Tensor]:
        """What loggers were given last, by name."""
        return self._run.logbook.logged_metrics() if self._run else {}

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """What the progress bar shows: numbers, as of the last flush."""
        return self._run.logbook.progress_bar_metrics() if self._run else {}

    def add_metrics(self, metrics: dict[str, float]) -> None:
        """Show numbers in `callback_metrics` that something else than `self.log` found out."""
        if self._run is not None:
            self._run.logbook.add_host_values(metrics)

    # ----------------------------------------------------------------------------------------- model and data

    @property
    def lightning_module(self) -> LightningModule:
        """The module of the run."""
        return self._run.module if self._run else None  # pyright: ignore[reportReturnType]  # as it has always been

    @property
    def model(self) -> LightningModule:
        """The module, wrapped if the strategy wraps it."""
        return self.lightning_module

    @property
    def datamodule(self) -> LightningDataModule | None:
        """The datamodule of the run."""
        return self._run.datamodule if self._run else None

    @property
    def optimizers(self) -> list[Any]:
        """The optimizers of the fit."""
        return [bare(optimizer) for optimizer in self._run.optimizers] if self._run else []

    @optimizers.setter
    def optimizers(self, optimizers: list[Any]) -> None:
        if self._run is not None:
            self._run.use_optimizers(optimizers)

    @property
    def lr_scheduler_configs(self) -> list[LRSchedulerConfig]:
        """The learning-rate schedulers of the fit, and when they step."""
        return self._run.schedulers if self._run else []

    def _given(self, kind: str) -> Any:
        loaders = self._run.loaders.get(kind) if self._run else None
        if loaders is None:
            return None
        adapter = self._run.adapter if self._run else None
        return loaders.given if adapter is None else adapter.shown_loaders(kind, loaders.given)

    @property
    def train_dataloader(self) -> Any:
        """What was given to train on."""
        return self._given("train")

    @property
    def val_dataloaders(self) -> Any:
        """What was given to validate on."""
        return self._given("val")

    @property
    def test_dataloaders(self) -> Any:
        """What was given to test on."""
        return self._given("test")

    @property
    def predict_dataloaders(self) -> Any:
        """What was given to predict on."""
        return self._given("predict")

    def _lengths(self, kind: str) -> list[float]:
        loaders = self._run.loaders.get(kind) if self._run else None
        return [] if loaders is None else list(loaders.lengths)

    @property
    def num_training_batches(self) -> int | float:
        """Training batches of an epoch; infinite where nobody knows."""
        return next(iter(self._lengths("train")), math.inf)

    @property
    def num_val_batches(self) -> list[int | float]:
        """Validation batches of each loader."""
        return self._lengths("val")

    @property
    def num_sanity_val_batches(self) -> list[int | float]:
        """Batches of each loader in the sanity check."""
        steps = self.num_sanity_val_steps
        return [min(steps, length) for length in self._lengths("val")]

    @property
    def num_test_batches(self) -> list[int | float]:
        """Test batches of each loader."""
        return self._lengths("test")

    @property
    def num_predict_batches(self) -> list[int | float]:
        """Batches of each loader to predict."""
        return self._lengths("predict")

    @property
    def val_check_batch(self) -> int | float:
        """Training batches between validations; infinite for the end of an epoch of unknown length."""
        return self._run.val_check_batch if self._run else math.inf

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """How samplers are sharded over ranks."""
        world = self.strategy.world
        return {"num_replicas": world.size, "rank": world.rank}

    # ------------------------------------------------------------------------------------------------ devices

    @property
    def precision(self) -> str:
        """The canonical spelling, such as "bf16-mixed"."""
        return self._precision.name

    @property
    def precision_plugin(self) -> Precision:
        """The object behind `precision`."""
        return self._precision

    @property
    def scaler(self) -> Any:
        """The gradient scaler of 16-mixed, else None."""
        return getattr(self._precision, "scaler", None)

    @property
    def device_ids(self) -> list[int]:
        """Indices of the devices of this process's machine."""
        return [device.index or 0 for device in self._devices]

    @property
    def num_devices(self) -> int:
        """How many devices there are on each machine."""
        return len(self._devices)

    @property
    def num_nodes(self) -> int:
        """How many machines there are."""
        return self.strategy.world.nodes

    @property
    def world_size(self) -> int:
        """How many processes there are."""
        return self.strategy.world.size

    @property
    def global_rank(self) -> int:
        """This process's rank among all."""
        return self.strategy.world.rank

    @property
    def local_rank(self) -> int:
        """This process's rank on its machine."""
        return self.strategy.world.local_rank

    @property
    def node_rank(self) -> int:
        """This machine's rank."""
        return self.strategy.world.node

    @property
    def is_global_zero(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.strategy.is_global_zero

    # ---------------------------------------------------------------------------- callbacks, loggers, folders

    @property
    def checkpoint_callback(self) -> Any:
        """The first callback that saves checkpoints."""
        return next(iter(self.checkpoint_callbacks), None)

    @property
    def checkpoint_callbacks(self) -> list[Any]:
        """The callbacks that save checkpoints."""
        return [callback for callback in self.callbacks if isinstance(callback, Checkpoint)]

    @property
    def early_stopping_callback(self) -> EarlyStopping | None:
        """The first EarlyStopping callback."""
        return next(iter(self.early_stopping_callbacks), None)

    @property
    def early_stopping_callbacks(self) -> list[EarlyStopping]:
        """The EarlyStopping callbacks."""
        return [callback for callback in self.callbacks if isinstance(callback, EarlyStopping)]

    @property
    def progress_bar_callback(self) -> ProgressBar | None:
        """The progress bar."""
        return next((callback for callback in self.callbacks if isinstance(callback, ProgressBar)), None)

    @property
    def logger(self) -> Logger | None:
        """The first logger."""
        if len(self.loggers) > 1 and self._run is not None and self._run.adapter is not None:
            return self._run.adapter.main_logger(self.loggers)
        return self.loggers[0] if self.loggers else None

    @logger.setter
    def logger(self, logger: Logger | None) -> None:
        self.loggers = [logger] if logger else []

    @property
    def log_dir(self) -> str | None:
        """The folder that the first logger writes to; the root folder without one."""
        if not self.loggers:
            return self.default_root_dir
        return self.strategy.broadcast(self.loggers[0].log_dir or self.loggers[0].save_dir)

    @property
    def default_root_dir(self) -> str:
        """Where logs and checkpoints go unless they are told otherwise."""
        return self._default_root_dir
