"""What knows of other processes, as users of Lightning know it."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, distributed

from fulmen.base import report
from fulmen.base.report import FulmenWarning, rank_zero_only
from fulmen.compat.spelling import OldSpelling
from fulmen.runtime import ports
from fulmen.runtime.collectives import ProcessGroup

LightningDeprecationWarning = OldSpelling
PossibleUserWarning = FulmenWarning

_STACKLEVEL = 4
"""What callers give who mean the line that called them."""


@rank_zero_only
def rank_zero_debug(message: str, *args: Any, **kwargs: Any) -> None:
    """Log a detail, once for all processes."""
    report.log.debug(message, *args)


@rank_zero_only
def rank_zero_info(message: str, *args: Any, **kwargs: Any) -> None:
    """Tell the user something, once for all processes."""
    report.log.info(message, *args)


def rank_zero_warn(
    message: str | Warning,
    category: type[Warning] = UserWarning,
    stacklevel: int = _STACKLEVEL,
    **kwargs: Any,
) -> None:
    """Warn the user, once for all processes."""
    kind = type(message) if isinstance(message, Warning) else category
    report.warn(str(message), kind, stacklevel=max(1, stacklevel - _STACKLEVEL + 2))


def rank_zero_deprecation(message: str, stacklevel: int = _STACKLEVEL + 1, **kwargs: Any) -> None:
    """Warn the user that something is not spelled like this any more."""
    rank_zero_warn(message, LightningDeprecationWarning, stacklevel)


def rank_prefixed_message(message: str, rank: int | None) -> str:
    """The message, and before it whose it is."""
    return message if rank is None else f"[rank: {rank}] {message}"


class WarningCache(set[str]):
    """Says each thing once."""

    def warn(self, message: str, stacklevel: int = _STACKLEVEL + 1, **kwargs: Any) -> None:
        """Warn the user of it."""
        if self._is_new(message):
            rank_zero_warn(message, stacklevel=stacklevel, **kwargs)

    def deprecation(self, message: str, stacklevel: int = _STACKLEVEL + 1, **kwargs: Any) -> None:
        """Warn the user that it is not spelled like this any more."""
        if self._is_new(message):
            rank_zero_deprecation(message, stacklevel=stacklevel + 1)

    def info(self, message: str, **kwargs: Any) -> None:
        """Tell the user."""
        if self._is_new(message):
            rank_zero_info(message)

    def _is_new(self, message: str) -> bool:
        known = message in self
        self.add(message)
        return not known


def disable_possible_user_warnings(module: str = "") -> None:
    """Say nothing about what works, but probably not as the user thinks."""
    warnings.filterwarnings("ignore", module=module, category=PossibleUserWarning)


def distributed_available() -> bool:
    """Whether this process is one of a group."""
    return distributed.is_available() and distributed.is_initialized()


def gather_all_tensors(result: Tensor, group: Any = None) -> list[Tensor]:
    """The tensor of each process, of whatever shape it is there."""
    if not distributed_available():
        return [result]
    shapes: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(shapes, tuple(result.shape), group=group)
    largest = max(torch.Size(shape).numel() for shape in shapes)
    padded = result.new_zeros(largest)
    padded[: result.numel()] = result.reshape(-1)
    gathered = [torch.empty_like(padded) for _ in shapes]
    distributed.all_gather(gathered, padded, group=group)
    return [
        flat[: torch.Size(shape).numel()].reshape(shape) for flat, shape in zip(gathered, shapes, strict=True)
    ]


def sync_ddp(result: Tensor, group: Any = None, reduce_op: Any = None) -> Tensor:
    """The sum over all processes, in place; the mean with "mean" or "avg"; or another operation."""
    mean = isinstance(reduce_op, str) and reduce_op.lower() in ("mean", "avg")
    named = (
        getattr(distributed.ReduceOp, reduce_op.upper()) if isinstance(reduce_op, str) and not mean else None
    )
    operation: Any = distributed.ReduceOp.SUM if mean or reduce_op is None else named or reduce_op
    distributed.all_reduce(result, operation, group=group)
    return result.div_(distributed.get_world_size(group)) if mean else result


def sync_ddp_if_available(result: Tensor, group: Any = None, reduce_op: Any = None) -> Tensor:
    """As `sync_ddp`; `result` itself where there is one process."""
    return sync_ddp(result, group, reduce_op) if distributed_available() else result


def all_gather_ddp_if_available(tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
    """The tensors of all processes, stacked; `tensor` itself where there is one process."""
    if not distributed_available():
        return tensor
    collectives = ProcessGroup(group)
    if sync_grads:
        return collectives.all_gather_with_gradients(tensor)
    return collectives.all_gather(tensor.detach())


class AllGatherGrad:
    """The tensors of all processes, stacked; gradients flow back to each."""

    @staticmethod
    def apply(tensor: Tensor, group: Any = None) -> Tensor:
        """As a function of torch's would."""
        return ProcessGroup(group).all_gather_with_gradients(tensor)


def get_default_process_group_backend_for_device(device: torch.device) -> str:
    """How processes on such devices talk."""
    return "nccl" if device.type == "cuda" else "gloo"


def find_free_network_port() -> int:
    """A port of this host on which nobody listens now."""
    with ports.listen() as listener:
        return listener.getsockname()[1]
