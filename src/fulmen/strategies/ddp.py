"""A copy of the model in every process, each with its own share of the data; gradients are averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import LBFGS, Optimizer
from torch.utils.hooks import RemovableHandle

from fulmen.base.report import warn
from fulmen.errors import ConfigError
from fulmen.runtime import watch
from fulmen.runtime.clusters import ClusterEnvironment, LightningEnvironment, world_of
from fulmen.runtime.collectives import Alone, ProcessGroup
from fulmen.runtime.launch import InPlace, Launcher, Spawned, Subprocesses, runs_once_more
from fulmen.runtime.rendezvous import connect
from fulmen.runtime.world import World
from fulmen.strategies.checkpoint_io import CheckpointIO, TorchCheckpointIO
from fulmen.strategies.gradients import PeriodicAverage, average_gradients, copy_from_rank_0
from fulmen.strategies.strategy import Strategy
from fulmen.strategies.training_step import TrainingStep, check_join, join_error, naming_unused

StartMethod = Literal["popen", "spawn", "fork", "forkserver"]
Uneven = Literal["pad", "join"]


class DDPStrategy(Strategy):
    """torch's DistributedDataParallel around `training_step`.

    In manual optimization gradients are averaged when an optimizer steps: those that this optimizer has, so
    that models that train in turns need no flag.

    Args:
        cluster_environment: what started the processes; by default, that is found out.
        start_method: how they are started where nothing did: "popen" runs the script again, "spawn", "fork"
            and "forkserver" run the Trainer's method in new processes.
        process_group_backend: of torch.distributed; by default NCCL for CUDA, else gloo.
        timeout: how long a collective operation may take.
        hang_timeout_s: within this time of an accident (one process fails, dies, is stopped or leaves out an
            operation that the others wait in) all processes have ended and the terminal says who, where and
            why; less where one died. Never because somebody is slow: `runtime.watch` says what is certain.
            None for no watch, as for a debugger that stops a process.
        ddp_comm_hook, ddp_comm_state, ddp_comm_wrapper: how gradients are compressed on their way.
        model_averaging_period: of post-local SGD (a PostLocalSGDState as `ddp_comm_state`): after how many
            updates the weights become their mean over all processes.
        uneven: what is done where training batches cannot be divided evenly. "pad": a few samples come twice
            in an epoch, so that all processes have equally many batches; where each has a loader of its own,
            an epoch ends with the shortest. "join": each sample comes once, and processes that have no batch
            left take part in the steps of the others. The gradient of a step is the mean over its samples
            where a batch was divided over the processes, else over the batches that there are; the last,
            uneven step is that of a single process with batches of that size.
        arguments: of DistributedDataParallel, such as `find_unused_parameters` and `static_graph`.
    """

    name = "ddp"

    def __init__(
        self,
        *,
        cluster_environment: ClusterEnvironment | None = None,
        checkpoint_io: CheckpointIO | None = None,
        start_method: StartMethod = "popen",
        process_group_backend: str | None = None,
        timeout: timedelta = timedelta(minutes=30),
        hang_timeout_s: float | None = 30.0,
        ddp_comm_state: Any = None,
        ddp_comm_hook: Callable[..., Any] | None = None,
        ddp_comm_wrapper: Callable[..., Any] | None = None,
        model_averaging_period: int | None = None,
        sync_batchnorm: bool = False,
        uneven: Uneven = "pad",
        **arguments: Any,
    ) -> None:
        self.environment = cluster_environment
        self.checkpoint_io = checkpoint_io or TorchCheckpointIO()
        self.start_method: StartMethod = start_method
        self.backend = process_group_backend
        self.timeout = timeout
        if hang_timeout_s is not None and not hang_timeout_s > 0:
            raise ConfigError("`hang_timeout_s` is no time.", received=hang_timeout_s, expected="seconds")
        self.hang_timeout_s = hang_timeout_s
        self.sync_batchnorm = sync_batchnorm
        self._comm_hook = ddp_comm_hook
        if ddp_comm_hook is not None and ddp_comm_wrapper is not None:
            self._comm_hook = ddp_comm_wrapper(ddp_comm_hook)
        self._comm_state = ddp_comm_state
        self._averaging_period = model_averaging_period
        self._check_averaging()
        if uneven not in ("pad", "join"):
            raise ConfigError("`uneven` is unknown.", received=repr(uneven), expected="'pad' or 'join'")
        self.joins = uneven == "join"
        self._arguments = arguments
        self._devices = [torch.device("cpu")]
        self._nodes = 1
        self._averages_by_hand = False
        self._step: TrainingStep | None = None
        self._hooks: list[RemovableHandle] = []
        self.model: nn.Module | None = None
        """What is called in each step: the wrapped model, or the model itself."""
        self.root_device = self._devices[0]
        self.world = World()
        self.collectives = Alone()
        self.launcher: Launcher = InPlace()

    def place(self, devices: list[torch.device], num_nodes: int) -> None:
        """Run on these devices of each node; find out who starts the processes, and which one this is."""
        self._devices, self._nodes = devices, num_nodes
        self._check_batchnorm()
        assert self.environment is not None
        self.launcher = self._find_launcher(self.environment)
        self._find_place()

    def _check_averaging(self) -> None:
        period = self._averaging_period
        if period is None and self._comm_state is None:
            return
        # Only here, for the import takes long.
        from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState

        if (period is not None) != isinstance(self._comm_state, PostLocalSGDState):
            raise ConfigError(
                "Post-local SGD needs both a state of gradients that stay local and a period of averaging.",
                received=f"model_averaging_period={period}, ddp_comm_state={self._comm_state}",
                fix="DDPStrategy(ddp_comm_state=PostLocalSGDState(...), ddp_comm_hook=post_localSGD_hook, "
                "model_averaging_period=4)",
            )
        if period is not None and period < 1:
            raise ConfigError("`model_averaging_period` is not a number of updates.", received=period)

    def _check_batchnorm(self) -> None:
        several = len(self._devices) * self._nodes > 1
        if self.sync_batchnorm and several and self._devices[0].type == "cpu":
            raise ConfigError(
                "torch cannot synchronise batch norm on the CPU.", fix="sync_batchnorm=False, or GPUs"
            )
        if self.sync_batchnorm and self.joins:
            raise join_error("sync_batchnorm=True, whose layers wait for one another in each step")

    def _find_launcher(self, environment: ClusterEnvironment) -> Launcher:
        is_refused = self.start_method != "popen" and runs_once_more()  # by `Spawned`, when a run begins
        if environment.creates_processes_externally and not is_refused:
            return InPlace()
        if self.start_method == "popen":
            return Subprocesses(environment, len(self._devices))
        return Spawned(environment, len(self._devices), self.start_method)

    def _find_place(self) -> None:
        assert self.environment is not None
        self.world = world_of(self.environment, len(self._devices), self._nodes)
        self.root_device = self._devices[self.world.local_rank]

    def connect(self) -> None:
        if isinstance(self.environment, LightningEnvironment):
            self._find_place()  # which a new process has now got
        assert self.environment is not None
        if self.root_device.type == "cuda":
            torch.cuda.set_device(self.root_device)
        connect(
            self.environment, self.world,
            backend=self.backend or ("nccl" if self.root_device.type == "cuda" else "gloo"),
            timeout=self.timeout, device=self.root_device,
        )  # fmt: skip
        self.collectives = ProcessGroup()
        watch.begin(
            self.world, self.collectives,
            address=self.environment.main_address, hang_timeout_s=self.hang_timeout_s,
        )  # fmt: skip

    def setup(self, module: nn.Module) -> None:
        if self.sync_batchnorm and self.world.size > 1:
            nn.SyncBatchNorm.convert_sync_batchnorm(module)
        if self.root_device.type == "cuda":
            torch.cuda.set_device(self.root_device)
        module.to(self.root_device)
        self.model = module

    def wrap_step(
        self, module: nn.Module, step: Callable[..., Any], *, by_hand: bool = False
    ) -> Callable[..., Any]:
        if self.world.size == 1:  # there is nobody to average with
            return step
        self._averages_by_hand = by_hand
        trained = any(parameter.requires_grad for parameter in module.parameters())
        if self.joins:
            check_join(module, self._arguments, by_hand=by_hand)
        if by_hand or not trained:
            if self._comm_hook is not None:
                warn(
                    "`ddp_comm_hook` is not used in manual optimization, where gradients travel as they are."
                )
            copy_from_rank_0(module, self.collectives)
            return step
        finds_unused = bool(self._arguments.get("find_unused_parameters"))
        self._step = TrainingStep(module, step, may_leave_out_parameters=self.joins and finds_unused)
        self.model = wrapped = DistributedDataParallel(
            self._step,
            device_ids=None if self.root_device.type == "cpu" else [self.root_device],
            **self._arguments,
        )
        if self._comm_hook is not None:
            wrapped.register_comm_hook(self._comm_state, self._comm_hook)
        return naming_unused(wrapped)

    def weigh(self, weight: float) -> None:
        if self._step is not None:
            self._step.weight = weight

    def follow(self, optimizers: list[Optimizer]) -> None:
        if self.joins and any(isinstance(optimizer, LBFGS) for optimizer in optimizers):
            raise join_error("LBFGS, which calls the training step as often as the loss asks for")
        if self._averaging_period is not None and self.world.size > 1:
            first_updates = self._comm_state.start_localSGD_iter
            self._hooks = [
                optimizer.register_step_post_hook(
                    PeriodicAverage(self._averaging_period, first_updates, self.collectives)
                )
                for optimizer in optimizers
            ]

    def obstacles(self) -> list[str]:
        if self._comm_state is None:
            return []
        return [f"what {type(self._comm_state).__name__} keeps, as `ddp_comm_state`, is in no checkpoint"]

    def no_sync(self) -> AbstractContextManager[Any] | None:
        return self.model.no_sync() if isinstance(self.model, DistributedDataParallel) else None

    def complete_gradients(self, parameters: Iterable[Tensor]) -> None:
        if self._averages_by_hand:
            average_gradients(list(parameters), self.collectives)

    def clip_norm(self, parameters: Iterable[Tensor], max_norm: float) -> Tensor:
        return nn.utils.clip_grad_norm_(parameters, max_norm)

    def teardown(self) -> None:
        self.model = self._step = None
        while self._hooks:
            self._hooks.pop().remove()
        self.checkpoint_io.teardown()
