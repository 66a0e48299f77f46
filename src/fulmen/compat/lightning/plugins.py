"""Strategies and precisions under the names of plugins."""

from __future__ import annotations

from typing import Any, NoReturn

from fulmen.compat.spelling import say_modern
from fulmen.errors import ConfigError
from fulmen.precision import MixedPrecision
from fulmen.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from fulmen.strategies.ddp import StartMethod

TrainingTypePlugin = Strategy
ParallelPlugin = Strategy


class DDPPlugin(DDPStrategy):
    """`DDPStrategy` that looks for unused parameters unless it is told not to, as all of 1.x did.

    Devices, nodes and the cluster are the Trainer's business: what is said of them here has no effect.
    """

    _starts: StartMethod = "popen"

    def __init__(
        self,
        parallel_devices: Any = None,
        num_nodes: int | None = None,
        cluster_environment: Any = None,
        sync_batchnorm: bool | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        say_modern(f"{type(self).__name__}(...)", f"DDPStrategy(start_method={self._starts!r}, ...)")
        names = ("ddp_comm_state", "ddp_comm_hook", "ddp_comm_wrapper")
        kwargs |= dict(zip(names, args, strict=False))
        kwargs.setdefault("find_unused_parameters", True)
        kwargs.setdefault("start_method", self._starts)
        super().__init__(
            cluster_environment=cluster_environment, sync_batchnorm=bool(sync_batchnorm), **kwargs
        )


class DDPSpawnPlugin(DDPPlugin):
    """`DDPPlugin` whose processes are spawned."""

    _starts: StartMethod = "spawn"


class DDPShardedPlugin(DDPPlugin):
    """`DDPPlugin`: the same numbers, without FairScale's sharding of the optimizer's state."""


class DDPSpawnShardedPlugin(DDPSpawnPlugin):
    """`DDPSpawnPlugin`: the same numbers, without FairScale's sharding of the optimizer's state."""


class DDPSpawnStrategy(DDPSpawnPlugin):
    """`DDPStrategy` whose processes are spawned, by its name in 1.6 to 1.9."""


class DDPShardedStrategy(DDPShardedPlugin):
    """`DDPStrategy`: the same numbers, without FairScale's sharding of the optimizer's state."""


class SingleDevicePlugin(SingleDeviceStrategy):
    """`SingleDeviceStrategy` by its old name."""


class _NotOffered(Strategy):
    """A strategy that code may mention, and that cannot be made."""

    reason = "it is not offered"

    def __new__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise ConfigError(f"{cls.__name__} is not offered here: {cls.reason}.", fix="strategy='ddp'")


class DataParallelPlugin(_NotOffered):
    """Split each batch over devices within one process."""

    reason = "a process for each device is faster, and its batch size is that of each device"


class DDP2Plugin(DataParallelPlugin):
    """Split each batch over the devices of a node."""


class DataParallelStrategy(DataParallelPlugin):
    """`DataParallelPlugin` by its name in 1.6 to 1.9."""


class DDPFullyShardedPlugin(_NotOffered):
    """FairScale's sharding of parameters."""

    reason = "FairScale is no longer developed"


class DDPFullyShardedStrategy(DDPFullyShardedPlugin):
    """`DDPFullyShardedPlugin` by its name in 1.6 to 1.9."""


class DDPFullyShardedNativeStrategy(_NotOffered):
    """Torch's sharding of parameters, in its first form."""

    reason = "it was torch's first FSDP"


class DeepSpeedPlugin(_NotOffered):
    """DeepSpeed's sharding."""

    reason = "DeepSpeed is not a part of this package"


class NativeMixedPrecisionPlugin(MixedPrecision):
    """`MixedPrecision` as 1.2 to 1.9 made it."""

    def __init__(self, precision: Any = 16, device: Any = "cuda", scaler: Any = None) -> None:
        name = {"16": "16-mixed", "bf16": "bf16-mixed"}.get(str(precision), str(precision))
        say_modern("NativeMixedPrecisionPlugin(...)", f"precision={name!r}")
        super().__init__(name, device, scaler)


class ApexMixedPrecisionPlugin:
    """Apex's mixed precision, which is not offered."""

    def __new__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise ConfigError("Apex is not offered: mixed precision is torch's own.", fix="precision='16-mixed'")
