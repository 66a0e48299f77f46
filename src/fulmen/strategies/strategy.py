"""The narrow waist between the engine and the ways to spread a model over devices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fulmen.base.report import own_rank
from fulmen.runtime.clusters import ClusterEnvironment
from fulmen.runtime.collectives import Collectives
from fulmen.runtime.launch import Launcher
from fulmen.runtime.world import World
from fulmen.strategies.checkpoint_io import CheckpointIO
from fulmen.strategies.own_folder import is_own, own_folder

T = TypeVar("T")


class Strategy(ABC):
    """Abstract or final: a concrete strategy is never subclassed by another."""

    name: str
    root_device: torch.device
    wanted_device: torch.device | None = None
    """The device that the user has named, if any."""
    environment: ClusterEnvironment | None = None
    """What has started this process; known when the strategy is placed."""
    world: World
    collectives: Collectives
    launcher: Launcher
    checkpoint_io: CheckpointIO
    joins = False
    """Whether processes that have no batch left take part in the steps of the others."""

    @abstractmethod
    def place(self, devices: list[torch.device], num_nodes: int) -> None:
        """Run on these devices of each of so many nodes; called when the Trainer is made."""

    def connect(self) -> None:
        """Meet the other processes; called in each of them when a run begins."""

    @abstractmethod
    def setup(self, module: nn.Module) -> None:
        """Put the parameters where they train."""

    @abstractmethod
    def wrap_step(
        self, module: nn.Module, step: Callable[..., Any], *, by_hand: bool = False
    ) -> Callable[..., Any]:
        """The callable that the loop calls in place of `module.training_step`.

        With `by_hand`, gradients of all processes are asked for by `complete_gradients`, before each update.
        """

    def weigh(self, weight: float) -> None:
        """Say how much this process counts in the gradients of the next batch; 0 where it has none."""

    def follow(self, optimizers: list[Optimizer]) -> None:
        """See to what has to happen after each of their steps."""

    def obstacles(self) -> list[str]:
        """Why a run that is taken up from a checkpoint may not do what this one does."""
        return []

    @abstractmethod
    def no_sync(self) -> AbstractContextManager[Any] | None:
        """Inside, gradients stay on their rank; None where there is nothing to hold back."""

    def complete_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Have the gradients of all ranks, where `backward` does not see to it: in manual optimization."""

    @abstractmethod
    def clip_norm(self, parameters: Iterable[Tensor], max_norm: float) -> Tensor:
        """Scale the gradients so that their norm over all ranks is at most `max_norm`; returns that norm."""

    @abstractmethod
    def teardown(self) -> None:
        """Give devices and processes back."""

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The optimizer's state as a checkpoint holds it."""
        return optimizer.state_dict()

    def save(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
        """Write a checkpoint, once for all ranks."""
        if self._writes_to(path):
            self.checkpoint_io.save_checkpoint(checkpoint, path, storage_options)
        self.collectives.barrier("save")

    def load(self, path: str, *, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint."""
        return self.checkpoint_io.load_checkpoint(path, weights_only=weights_only)

    def remove(self, path: str) -> None:
        """Delete a checkpoint."""
        if self._writes_to(path):
            self.checkpoint_io.remove_checkpoint(path)

    def folder_for(self, folder: str) -> str:
        """Where this process keeps checkpoints that are to lie there.

        Elsewhere, for as long as it lives, where it runs on its own and leaves writing to another one: it may
        come to other files than that one, or need them sooner.
        """
        return folder if self.world.size > 1 or self.is_global_zero else own_folder(folder)

    def _writes_to(self, path: str) -> bool:
        return self.is_global_zero or is_own(path)

    def reduce(self, tensor: Tensor, op: str = "mean") -> Tensor:
        """Combine a tensor over all ranks; `op` is sum, mean, min or max."""
        return self.collectives.all_reduce(tensor, op)

    def broadcast(self, value: T, src: int = 0) -> T:
        """The value that rank `src` has."""
        return self.collectives.broadcast(value, src)

    def barrier(self, name: str | None = None) -> None:
        """Wait until every rank is here."""
        self.collectives.barrier(name)

    @property
    def is_global_zero(self) -> bool:
        """Whether this process speaks and writes for all, those included that run the same on their own."""
        return self.world.is_global_zero and own_rank() == 0
