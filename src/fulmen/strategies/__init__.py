"""How a model is spread over devices."""

from fulmen.strategies.async_checkpoint_io import AsyncCheckpointIO
from fulmen.strategies.checkpoint_io import CheckpointIO, TorchCheckpointIO
from fulmen.strategies.ddp import DDPStrategy
from fulmen.strategies.single import SingleDeviceStrategy
from fulmen.strategies.strategy import Strategy

__all__ = [
    "AsyncCheckpointIO",
    "CheckpointIO",
    "DDPStrategy",
    "SingleDeviceStrategy",
    "Strategy",
    "TorchCheckpointIO",
]
