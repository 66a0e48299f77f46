"""Sets of words."""

from __future__ import annotations

from enum import Enum
from typing import Any

from fulmen.engine.states import TrainerState


class LightningEnum(str, Enum):
    """Members that are equal to their value in letters of any case."""

    @classmethod
    def from_str(cls, value: str) -> LightningEnum | None:
        """The member of this name, None where there is none."""
        return next((member for member in cls if member.name.lower() == value.lower()), None)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Enum):
            return self is other
        return isinstance(other, str) and self.value.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.value.lower())


class TrainerStateOnce(Enum):
    """What `trainer.state` was up to 1.2; equal to a state of today's whose status it is."""

    INITIALIZING = "INITIALIZING"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    INTERRUPTED = "INTERRUPTED"

    def __eq__(self, other: Any) -> bool:
        return other.status.name == self.name if isinstance(other, TrainerState) else self is other

    def __hash__(self) -> int:
        return hash(self.value)


class GradClipAlgorithmType(LightningEnum):
    """How gradients are clipped."""

    VALUE = "value"
    NORM = "norm"

    @staticmethod
    def supported_type(val: str) -> bool:
        """Whether there is such a way."""
        return val in GradClipAlgorithmType.supported_types()

    @staticmethod
    def supported_types() -> list[str]:
        """All ways."""
        return [member.value for member in GradClipAlgorithmType]


class AMPType(LightningEnum):
    """Who computes in mixed precision."""

    APEX = "apex"
    NATIVE = "native"


class PrecisionType(LightningEnum):
    """In which numbers a model computes."""

    HALF = "16"
    FLOAT = "32"
    FULL = "64"
    BFLOAT = "bf16"
    MIXED = "mixed"


class DeviceType(LightningEnum):
    """Kinds of devices."""

    CPU = "CPU"
    GPU = "GPU"
    IPU = "IPU"
    TPU = "TPU"


class DistributedType(LightningEnum):
    """How a model is spread over devices."""

    DP = "dp"
    DDP = "ddp"
    DDP2 = "ddp2"
    DDP_CPU = "ddp_cpu"
    DDP_SPAWN = "ddp_spawn"
    TPU_SPAWN = "tpu_spawn"
    DEEPSPEED = "deepspeed"
    HOROVOD = "horovod"
    DDP_SHARDED = "ddp_sharded"
    DDP_SHARDED_SPAWN = "ddp_sharded_spawn"
    DDP_FULLY_SHARDED = "ddp_fully_sharded"
