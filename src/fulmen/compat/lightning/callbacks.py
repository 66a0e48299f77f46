"""Callbacks that are gone."""

from __future__ import annotations

from typing import Any

from fulmen.callbacks import DeviceStatsMonitor
from fulmen.compat.spelling import say_modern


class GPUStatsMonitor(DeviceStatsMonitor):
    """Logs load and memory of the devices: all there is, whatever it is asked for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        say_modern("GPUStatsMonitor", "DeviceStatsMonitor()")
        super().__init__()
