"""Kinds of devices, and which of them a run gets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeAlias

import torch

from fulmen.base import extras
from fulmen.errors import ConfigError, did_you_mean

Devices: TypeAlias = "int | str | list[int]"


class Accelerator(ABC):
    """One kind of device."""

    name: ClassVar[str]

    @staticmethod
    @abstractmethod
    def is_available() -> bool:
        """Whether this machine has such a device."""

    @staticmethod
    @abstractmethod
    def device_count() -> int:
        """How many there are on this machine."""

    @abstractmethod
    def device(self, index: int) -> torch.device:
        """The device of this index."""

    @abstractmethod
    def stats(self, device: torch.device) -> dict[str, float]:
        """Load and memory of a device, in bytes and percent."""


class CPUAccelerator(Accelerator):
    """The processor. `devices` counts processes."""

    name = "cpu"

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 1

    def device(self, index: int) -> torch.device:
        return torch.device("cpu")

    def stats(self, device: torch.device) -> dict[str, float]:
        psutil: Any = extras.require("psutil", extra="psutil")
        memory = psutil.virtual_memory()
        return {
            "cpu_percent": psutil.cpu_percent(),
            "cpu_vm_percent": memory.percent,
            "cpu_swap_percent": psutil.swap_memory().percent,
        }


class CUDAAccelerator(Accelerator):
    """NVIDIA and AMD GPUs."""

    name = "cuda"

    @staticmethod
    def is_available() -> bool:
        return torch.cuda.is_available()

    @staticmethod
    def device_count() -> int:
        return torch.cuda.device_count()

    def device(self, index: int) -> torch.device:
        return torch.device("cuda", index)

    def stats(self, device: torch.device) -> dict[str, float]:
        return {k: float(v) for k, v in torch.cuda.memory_stats(device).items()}


class MPSAccelerator(Accelerator):
    """Apple GPUs."""

    name = "mps"

    @staticmethod
    def is_available() -> bool:
        return torch.backends.mps.is_available()

    @staticmethod
    def device_count() -> int:
        return 1

    def device(self, index: int) -> torch.device:
        return torch.device("mps", index)

    def stats(self, device: torch.device) -> dict[str, float]:
        return {
            "allocated_bytes": float(torch.mps.current_allocated_memory()),
            "driver_allocated_bytes": float(torch.mps.driver_allocated_memory()),
        }


ACCELERATORS: dict[str, type[Accelerator]] = {
    kind.name: kind for kind in (CPUAccelerator, CUDAAccelerator, MPSAccelerator)
}
_GPU_KINDS = (CUDAAccelerator, MPSAccelerator)


def find_accelerator(wanted: str | Accelerator) -> Accelerator:
    """The accelerator of this name; `"auto"` is the fastest kind here, `"gpu"` any kind of GPU."""
    if isinstance(wanted, Accelerator):
        return wanted
    present = [kind for kind in _GPU_KINDS if kind.is_available()]
    if wanted == "auto":
        return present[0]() if present else CPUAccelerator()
    if wanted == "gpu":
        if present:
            return present[0]()
        raise ConfigError("This machine has no GPU that torch can use.", fix="accelerator='cpu' or 'auto'")
    known = ("auto", "gpu", *ACCELERATORS)
    if not isinstance(wanted, str) or wanted not in ACCELERATORS:
        raise ConfigError(
            "Unknown accelerator.",
            received=repr(wanted),
            expected=", ".join(known),
            fix=did_you_mean(str(wanted), known),
        )
    kind = ACCELERATORS[wanted]
    if not kind.is_available():
        raise ConfigError(f"torch finds no {wanted!r} device on this machine.", fix="accelerator='auto'")
    return kind()


def find_devices(accelerator: Accelerator, wanted: Devices, *, local_rank: int = 0) -> list[torch.device]:
    """The devices that `wanted` names: a count, indices, `"0,1"`, `"auto"`, or -1 for all.

    Where one is asked for, and not which, processes of a host that run beside each other have one each.
    """
    count = accelerator.device_count()
    if isinstance(wanted, str) and wanted != "auto":
        parts = [part.strip() for part in wanted.split(",") if part.strip()]
        if not parts or not all(part.removeprefix("-").isdecimal() for part in parts):
            raise ConfigError(
                "`devices` is not understood.", received=repr(wanted), expected="'auto', a number or '0,1'"
            )
        wanted = int(parts[0]) if "," not in wanted else [int(part) for part in parts]
    indices = wanted if isinstance(wanted, (list, tuple)) else [0 if wanted == "auto" else wanted]
    if not all(type(index) is int for index in indices):
        raise ConfigError(
            "`devices` is not understood.",
            received=repr(wanted),
            expected="a number, a list of indices, 'auto', or -1 for all",
        )
    if wanted == "auto" or wanted == -1:
        wanted = list(range(count))
    elif isinstance(wanted, int):
        if wanted < 1:
            raise ConfigError("`devices` must be at least 1.", received=wanted)
        if wanted > count and accelerator.name != "cpu":
            raise ConfigError(
                f"More devices asked for than this machine has ({accelerator.name}).",
                received=wanted,
                expected=count,
            )
        wanted = [local_rank % count] if wanted == 1 else list(range(wanted))
    if not wanted:
        raise ConfigError("`devices` names no device.", received=repr(wanted))
    if len(set(wanted)) != len(wanted):
        raise ConfigError("`devices` names a device twice.", received=wanted)
    out_of_range = [index for index in wanted if index < 0 or (accelerator.name != "cpu" and index >= count)]
    if out_of_range:
        raise ConfigError(
            f"There is no {accelerator.name} device of this index.",
            received=out_of_range,
            expected=f"0 to {count - 1}",
        )
    return [accelerator.device(int(index)) for index in wanted]
