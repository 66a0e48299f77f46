"""Names for annotations."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypedDict, runtime_checkable

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader

from fulmen.core.optimizers import LRSchedulerConfig

__all__ = ["DistributedDataParallel", "LRScheduler", "LRSchedulerConfig", "ReduceLROnPlateau"]

STEP_OUTPUT: TypeAlias = Tensor | Mapping[str, Any] | None
EPOCH_OUTPUT: TypeAlias = list[STEP_OUTPUT]
TRAIN_DATALOADERS: TypeAlias = Any
EVAL_DATALOADERS: TypeAlias = DataLoader | Sequence[DataLoader]

_EVALUATE_OUTPUT: TypeAlias = list[Mapping[str, float]]
_PREDICT_OUTPUT: TypeAlias = list[Any]
_METRIC: TypeAlias = Any
_METRIC_COLLECTION: TypeAlias = Any
_PATH: TypeAlias = str | os.PathLike
_DEVICE: TypeAlias = torch.device | str | int
_MAP_LOCATION_TYPE: TypeAlias = (
    _DEVICE
    | Callable[[torch.UntypedStorage, str], torch.UntypedStorage | None]
    | dict[_DEVICE, _DEVICE]
    | None
)
_PARAMETERS: TypeAlias = Any

LRSchedulerTypeTuple = (LRScheduler, ReduceLROnPlateau)
LRSchedulerTypeUnion: TypeAlias = LRScheduler | ReduceLROnPlateau
LRSchedulerPLType: TypeAlias = LRSchedulerTypeUnion


@runtime_checkable
class Optimizable(Protocol):
    """What has the parts of an optimizer."""

    param_groups: list[dict[str, Any]]

    def state_dict(self) -> dict[str, Any]:
        """Its state."""
        ...

    def step(self, closure: Any = None) -> Any:
        """Update the parameters."""
        ...


class LRSchedulerConfigType(TypedDict, total=False):
    """What `configure_optimizers` may return for a scheduler."""

    scheduler: LRSchedulerTypeUnion
    name: str | None
    interval: str
    frequency: int
    reduce_on_plateau: bool
    monitor: str | None
    strict: bool


class OptimizerConfig(TypedDict):
    """What it may return for an optimizer."""

    optimizer: Optimizer


class OptimizerLRSchedulerConfig(TypedDict, total=False):
    """What it may return for both."""

    optimizer: Optimizer
    lr_scheduler: LRSchedulerTypeUnion | LRSchedulerConfigType
    monitor: str


OptimizerLRScheduler: TypeAlias = Any
"""Everything that `configure_optimizers` may return."""
