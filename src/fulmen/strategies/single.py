"""One model on one device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fulmen.errors import ConfigError
from fulmen.runtime.collectives import Alone
from fulmen.runtime.launch import InPlace
from fulmen.runtime.world import World
from fulmen.strategies.checkpoint_io import CheckpointIO, TorchCheckpointIO
from fulmen.strategies.strategy import Strategy


class SingleDeviceStrategy(Strategy):
    """The whole model on one device, in this process."""

    name = "single_device"

    def __init__(
        self, device: str | torch.device | None = None, checkpoint_io: CheckpointIO | None = None
    ) -> None:
        self.wanted_device = None if device is None else torch.device(device)
        self.root_device = self.wanted_device or torch.device("cpu")
        self.world = World()
        self.collectives = Alone()
        self.launcher = InPlace()
        self.checkpoint_io = checkpoint_io or TorchCheckpointIO()

    def place(self, devices: list[torch.device], num_nodes: int) -> None:
        if len(devices) > 1 or num_nodes > 1:
            raise ConfigError(
                f"The strategy {self.name!r} runs on one device.",
                received=f"devices={len(devices)}, num_nodes={num_nodes}",
                fix='strategy="ddp"',
            )
        if self.wanted_device is None:
            self.root_device = devices[0]
        elif self.wanted_device.type != devices[0].type:
            raise ConfigError(
                "The strategy is for another kind of device than the accelerator.",
                received=f"{self.wanted_device} and {devices[0].type}",
            )

    def setup(self, module: nn.Module) -> None:
        if self.root_device.type == "cuda":
            torch.cuda.set_device(self.root_device)
        module.to(self.root_device)

    def wrap_step(
        self, module: nn.Module, step: Callable[..., Any], *, by_hand: bool = False
    ) -> Callable[..., Any]:
        return step

    def no_sync(self) -> None:
        return None

    def clip_norm(self, parameters: Iterable[Tensor], max_norm: float) -> Tensor:
        return nn.utils.clip_grad_norm_(parameters, max_norm)

    def teardown(self) -> None:
        self.checkpoint_io.teardown()
