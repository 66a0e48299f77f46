"""How processes talk. Alone, every operation is the identity."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T")


class Collectives(ABC):
    """The operations that the rest of fulmen needs from a group of processes."""

    @abstractmethod
    def all_reduce(self, tensor: Tensor, op: str) -> Tensor:
        """Combine the tensors of all ranks elementwise; `op` is sum, mean, min or max."""

    @abstractmethod
    def all_gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all ranks, stacked in a new first dimension of length `world.size`."""

    @abstractmethod
    def broadcast(self, value: T, source: int = 0) -> T:
        """The value that rank `source` has."""

    @abstractmethod
    def barrier(self, name: str | None = None) -> None:
        """Wait until every rank is here."""


class Alone(Collectives):
    """A world of one process."""

    def all_reduce(self, tensor: Tensor, op: str) -> Tensor:
        return tensor

    def all_gather(self, tensor: Tensor) -> Tensor:
        return tensor.unsqueeze(0)

    def broadcast(self, value: Any, source: int = 0) -> Any:
        return value

    def barrier(self, name: str | None = None) -> None:
        pass
