"""The one mutable object of a fit, validate, test or predict. Loops are functions of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from fulmen.base.generators import RandomState
from fulmen.core.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.logger import Logger
from fulmen.core.module import LightningModule
from fulmen.core.optimizers import LightningOptimizer, LRSchedulerConfig, bare
from fulmen.core.profiler import Profiler
from fulmen.engine.adapter import Adapter
from fulmen.engine.compiled import Compile
from fulmen.engine.data import BatchStream, DataSource, Loaders
from fulmen.engine.dispatch import Dispatch
from fulmen.engine.loaders import Attributes
from fulmen.engine.logbook import Logbook
from fulmen.engine.options import DataOptions, FitOptions, ReportOptions, StepOptions, ValidationOptions
from fulmen.engine.progress import Progress, QuietPoint
from fulmen.engine.signals import SignalWatch
from fulmen.engine.states import RunningStage, TrainerFn
from fulmen.engine.step import Step, make_step
from fulmen.engine.stop import Stop
from fulmen.precision.precision import Precision
from fulmen.strategies.strategy import Strategy

if TYPE_CHECKING:
    from fulmen.engine.agreement import Agreement
    from fulmen.trainer import Trainer


@dataclass(eq=False)
class Run:
    """Everything that one call of a Trainer's method works with."""

    fn: TrainerFn
    stage: RunningStage
    trainer: Trainer
    """Handed on to callbacks; the engine does not look inside."""
    module: LightningModule
    datamodule: LightningDataModule | None
    callbacks: list[Callback]
    loggers: list[Logger]
    profiler: Profiler | None
    strategy: Strategy
    precision: Precision
    fit_options: FitOptions
    data_options: DataOptions
    validation_options: ValidationOptions
    step_options: StepOptions
    report_options: ReportOptions
    progress: Progress
    logbook: Logbook
    sources: dict[str, DataSource]
    """By kind: train, val, test, predict."""
    compile: Compile | None = None
    """How steps are compiled, if the model that was given is."""
    stop: Stop = field(default_factory=Stop)
    together: Agreement | None = None
    """How the processes of a training do the same at the same step, where there are several."""
    hooks: Dispatch = field(default_factory=Dispatch)
    adapter: Adapter | None = None
    """How user's methods are called, where that is not as the catalogue of hooks has it."""
    optimizers: list[LightningOptimizer] = field(default_factory=list)
    schedulers: list[LRSchedulerConfig] = field(default_factory=list)
    loaders: dict[str, Loaders] = field(default_factory=dict)
    """By kind, once they were asked for."""
    batches_seen: dict[tuple[str, int], int] = field(default_factory=dict)
    """Evaluation batches so far, by stage and loader: the step of what evaluation logs per batch."""
    log_step: int = 0
    """The step that loggers are given: accumulation windows finished before the batch under way."""
    batch_idx: int = -1
    """Index of the training batch under way, or of the last one."""
    is_last_batch: bool = False
    flush_is_due: bool = False
    """Whether the step values of the batch under way are still to be flushed."""
    validates_within_epochs: bool = False
    """Whether a validation may be due before the last batch of an epoch."""
    validation_is_due: bool = False
    """Whether a validation follows the training batch under way."""
    time_says_validate: bool = False
    """Whether the processes have agreed that it is time for a validation."""
    last_validation_s: float = 0.0
    """When the last validation ended, by the monotonic clock."""
    val_check_batch: float = float("inf")
    """A validation is due after so many training batches."""
    in_the_middle: bool = False
    """Whether a training step or an evaluation is under way: no moment to save."""
    cannot_wait: bool = False
    """Whether the run ends, or has ended: what is saved now is saved at once."""
    pending_saves: list[Callable[[], None]] = field(default_factory=list)
    """Saves that wait for a moment at which the state is complete."""
    data_seed: int = 0
    """What the random numbers that are drawn for a batch are derived from."""
    sampler_attributes: Attributes = field(default_factory=list)
    """What of the samplers' attributes had changed when the epoch under way began."""
    shared_anew: tuple[int, int] = (0, 0)
    """Where another number of processes took the epoch over: its batch, and how far its order was done."""
    train_stream: BatchStream | None = None
    """Where the batches of the epoch under way come from."""
    resumed_position: dict[str, Any] = field(default_factory=dict)
    """What a checkpoint says of the loader's position, until the loader is opened."""
    resumed_loading_epochs: dict[str, int] = field(default_factory=dict)
    """By kind, when a checkpoint's run had asked for its loaders; until this run has asked for its own."""
    training_random_state: RandomState | None = None
    """While random numbers are drawn apart from those of training: the state of those."""
    epoch_random_state: RandomState | None = None
    """What the generators were like when the loader of the epoch under way was started."""
    resumed_random_state: RandomState | None = None
    """What a checkpoint says they were like at its quiet point."""
    goes_on: bool = False
    """Whether it goes on from the newest checkpoint, if there is one."""
    ckpt_path: str | None = None
    last_saved: str | None = None
    """The checkpoint that was written last."""
    last_whole: str | None = None
    """The last one that training can go on from: not of weights only."""
    checkpoint: dict[str, Any] | None = None
    """What this run was started from, until it has been taken up."""
    unplaced: dict[str, Any] | None = None
    """What somebody else's checkpoint has to say of where it was saved, until that is known."""
    interrupted_path: str | None = None
    """Where a signal that ends the run has it saved; None for nowhere."""
    logger_positions: list[dict[str, Any]] | None = None
    """Where the loggers' records ended before the validation that was interrupted."""
    not_undone: list[str] = field(default_factory=list)
    """Why a validation that was interrupted has left its traces."""
    signals: SignalWatch = field(init=False)
    _step: Step | None = None

    def __post_init__(self) -> None:
        self.signals = SignalWatch(self)

    def use_optimizers(self, optimizers: list[Optimizer]) -> None:
        """Step these from now on."""
        self.optimizers = [LightningOptimizer(bare(optimizer)) for optimizer in optimizers]
        self._step = make_step(self)
        self.strategy.follow([bare(optimizer) for optimizer in optimizers])

    @property
    def step(self) -> Step:
        """How a batch becomes an update; there once there are optimizers."""
        assert self._step is not None
        return self._step

    @property
    def train_loaders(self) -> Loaders:
        """What is trained on."""
        return self.loaders["train"]

    @property
    def waits_for_first_batch(self) -> bool:
        """Whether the loader of an epoch was opened, and has not given anything."""
        begun = self.progress.point is QuietPoint.VALIDATED and self.progress.batch == 0
        return begun and self.train_stream is not None and self.train_stream.taken == 0

    @property
    def is_shared_fit(self) -> bool:
        """Whether it is a training that several processes do together."""
        return self.fn is TrainerFn.FITTING and self.strategy.world.size > 1

    @property
    def accumulating(self) -> bool:
        """Whether an accumulation window is open."""
        return bool(self.batches_in_window)

    @property
    def batches_in_window(self) -> int:
        """Batches of an open accumulation window that are done."""
        return 0 if self._step is None else self._step.in_window
