"""A copy of the model in every process, each with its own share of the data; gradients are averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fulmen.errors import ConfigError
from fulmen.runtime import watch
from fulmen.runtime.clusters import ClusterEnvironment, LightningEnvironment, detect, world_of
from fulmen.runtime.collectives import Alone, ProcessGroup
from fulmen.runtime.launch import InPlace, Launcher, Spawned, Subprocesses
from fulmen.runtime.rendezvous import connect
from fulmen.runtime.world import World
from fulmen.strategies.checkpoint_io import CheckpointIO, TorchCheckpointIO
from fulmen.strategies.gradients import average_gradients, copy_from_rank_0
from fulmen.strategies.strategy import Strategy

StartMethod = Literal["popen", "spawn", "fork", "forkserver"]


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
        sync_batchnorm: bool = False,
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
        self._arguments = arguments
        self._devices = [torch.device("cpu")]
        self._nodes = 1
        self._averages_by_hand = False
        self.model: nn.Module | None = None
        """What is called in each step: the wrapped model, or the model itself."""
        self.root_device = self._devices[0]
        self.world = World()
        self.collectives = Alone()
        self.launcher: Launcher = InPlace()

    def place(self, devices: list[torch.device], num_nodes: int) -> None:
        """Run on these devices of each node; find out who starts the processes, and which one this is."""
        self._devices, self._nodes = devices, num_nodes
        self.environment = self.environment or detect()
        self.launcher = self._find_launcher(self.environment)
        self._find_place()

    def _find_launcher(self, environment: ClusterEnvironment) -> Launcher:
        if environment.creates_processes_externally:
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
            parent_tells=isinstance(self.launcher, Spawned),
        )  # fmt: skip

    def setup(self, module: nn.Module) -> None:
        if self.sync_batchnorm:
            if self.root_device.type == "cpu":
                raise ConfigError(
                    "torch cannot synchronise batch norm on the CPU.", fix="sync_batchnorm=False"
                )
            nn.SyncBatchNorm.convert_sync_batchnorm(module)
        if self.root_device.type == "cuda":
            torch.cuda.set_device(self.root_device)
        module.to(self.root_device)
        self.model = module

    def wrap_step(self, module: nn.Module, step: Callable[..., Any]) -> Callable[..., Any]:
        if self.world.size == 1:  # there is nobody to average with
            return step
        self._averages_by_hand = not getattr(module, "automatic_optimization", True)
        trained = any(parameter.requires_grad for parameter in module.parameters())
        if self._averages_by_hand or not trained:
            copy_from_rank_0(module, self.collectives)
            return step
        self.model = wrapped = DistributedDataParallel(
            TrainingStep(module, step),
            device_ids=None if self.root_device.type == "cpu" else [self.root_device],
            **self._arguments,
        )
        if self._comm_hook is not None:
            wrapped.register_comm_hook(self._comm_state, self._comm_hook)
        return wrapped

    def no_sync(self) -> AbstractContextManager[Any] | None:
        return self.model.no_sync() if isinstance(self.model, DistributedDataParallel) else None

    def complete_gradients(self, parameters: Iterable[Tensor]) -> None:
        if self._averages_by_hand:
            average_gradients(list(parameters), self.collectives)

    def clip_norm(self, parameters: Iterable[Tensor], max_norm: float) -> Tensor:
        return nn.utils.clip_grad_norm_(parameters, max_norm)

    def teardown(self) -> None:
        self.model = None
        self.checkpoint_io.teardown()


class TrainingStep(nn.Module):
    """What DistributedDataParallel wraps: a module whose `forward` is the training step."""

    def __init__(self, module: nn.Module, step: Callable[..., Any]) -> None:
        super().__init__()
        self.module = module
        self._step = step

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """One training step."""
        return self._step(*args, **kwargs)
