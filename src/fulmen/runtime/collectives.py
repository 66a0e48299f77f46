"""How processes talk. Alone, every operation is the identity."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


class Collectives(ABC):
    """The operations that the rest of fulmen needs from a group of processes."""

    size: int
    """How many processes there are."""

    @abstractmethod
    def all_reduce(self, tensor: Tensor, op: str) -> Tensor:
        """Combine the tensors of all ranks elementwise; `op` is sum, mean, min or max."""

    @abstractmethod
    def all_gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all ranks, stacked in a new first dimension of length `world.size`."""

    @abstractmethod
    def all_gather_with_gradients(self, tensor: Tensor) -> Tensor:
        """The same; a rank's gradient is the sum of those that all ranks have for its tensor."""

    @abstractmethod
    def broadcast(self, value: T, source: int = 0) -> T:
        """The value that rank `source` has."""

    @abstractmethod
    def broadcast_tensor(self, tensor: Tensor, source: int = 0) -> Tensor:
        """The tensor that rank `source` has; those of the others are as large."""

    @abstractmethod
    def gather_objects(self, value: Any) -> list[Any]:
        """What each rank has, in the order of ranks; anything that can be pickled."""

    @abstractmethod
    def begin_gather(self, number: int) -> Callable[[], list[int]]:
        """Begin to gather a number from each rank, from host to host; what is returned waits for them."""

    @abstractmethod
    def barrier(self, name: str | None = None) -> None:
        """Wait until every rank is here."""


class Alone(Collectives):
    """A world of one process."""

    size = 1

    def all_reduce(self, tensor: Tensor, op: str) -> Tensor:
        return tensor

    def all_gather(self, tensor: Tensor) -> Tensor:
        return tensor.unsqueeze(0)

    def all_gather_with_gradients(self, tensor: Tensor) -> Tensor:
        return tensor.unsqueeze(0)

    def broadcast(self, value: Any, source: int = 0) -> Any:
        return value

    def broadcast_tensor(self, tensor: Tensor, source: int = 0) -> Tensor:
        return tensor

    def gather_objects(self, value: Any) -> list[Any]:
        return [value]

    def begin_gather(self, number: int) -> Callable[[], list[int]]:
        return lambda: [number]

    def barrier(self, name: str | None = None) -> None:
        pass


class LastCall:
    """The collective operation that this process has begun last, for others to read at any time."""

    number = 0
    name = ""

    def note(self, name: str) -> None:
        """One more begins."""
        self.number += 1
        self.name = name


last_call = LastCall()


class ProcessGroup(Collectives):
    """A group of `torch.distributed`; by default, all processes."""

    def __init__(self, group: Any = None) -> None:
        self.group = group
        self.size = distributed.get_world_size(group)
        on_accelerator = distributed.get_backend(group) == "nccl"
        self._device = torch.device("cuda", torch.cuda.current_device()) if on_accelerator else None
        self._host_group = group
        self._talks_on_host = distributed.get_backend(group) == "gloo"

    def all_reduce(self, tensor: Tensor, op: str) -> Tensor:
        last_call.note("all_reduce")
        reduced = self._sent(tensor).clone()
        operation = getattr(distributed.ReduceOp, "SUM" if op == "mean" else op.upper())
        distributed.all_reduce(reduced, operation, group=self.group)
        return (reduced / self.size if op == "mean" else reduced).to(tensor.device)

    def all_gather(self, tensor: Tensor) -> Tensor:
        last_call.note("all_gather")
        sent = self._sent(tensor).contiguous()
        gathered = [torch.empty_like(sent) for _ in range(self.size)]
        distributed.all_gather(gathered, sent, group=self.group)
        return torch.stack(gathered).to(tensor.device)

    def all_gather_with_gradients(self, tensor: Tensor) -> Tensor:
        last_call.note("all_gather_with_gradients")
        # Only here, for the import writes a file.
        from torch.distributed.nn.functional import all_gather

        return torch.stack(all_gather(self._sent(tensor), group=self.group)).to(tensor.device)

    def broadcast(self, value: Any, source: int = 0) -> Any:
        last_call.note("broadcast")
        values = [value]
        distributed.broadcast_object_list(values, source, group=self.group, device=self._device)
        return values[0]

    def broadcast_tensor(self, tensor: Tensor, source: int = 0) -> Tensor:
        last_call.note("broadcast_tensor")
        received = self._sent(tensor).clone()
        distributed.broadcast(received, source, group=self.group)
        return received.to(tensor.device)

    def gather_objects(self, value: Any) -> list[Any]:
        last_call.note("gather_objects")
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value, group=self.group)
        return values

    def begin_gather(self, number: int) -> Callable[[], list[int]]:
        last_call.note("begin_gather")
        if not self._talks_on_host:
            ranks = None if self.group is None else distributed.get_process_group_ranks(self.group)
            self._host_group, self._talks_on_host = distributed.new_group(ranks, backend="gloo"), True
        gathered = torch.empty(self.size, 1, dtype=torch.int64)
        own = torch.tensor([number])
        work = distributed.all_gather(list(gathered), own, group=self._host_group, async_op=True)
        return partial(wait_for, work, gathered)

    def barrier(self, name: str | None = None) -> None:
        last_call.note("barrier" if name is None else f"barrier {name!r}")
        distributed.barrier(group=self.group)

    def _sent(self, tensor: Tensor) -> Tensor:
        """The tensor where the backend can see it."""
        return tensor if self._device is None else tensor.to(self._device)


def read(numbers: Tensor) -> list[Any]:
    """What has become of them in an operation: on a GPU, the operation may be under way."""
    return numbers.tolist()


def wait_for(work: Any, numbers: Tensor) -> list[int]:
    """The numbers that an operation fills in, when it is done."""
    work.wait()
    return numbers.flatten().tolist()
