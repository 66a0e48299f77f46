"""This machine's devices and their memory, as users of Lightning know them."""

from __future__ import annotations

import gc
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from fulmen.errors import ConfigError
from fulmen.runtime.device import CPUAccelerator, CUDAAccelerator, find_accelerator, find_devices


def num_cuda_devices() -> int:
    """How many CUDA devices there are."""
    return torch.cuda.device_count()


def is_cuda_available() -> bool:
    """Whether there are any."""
    return num_cuda_devices() > 0


def find_usable_cuda_devices(num_devices: int = -1) -> list[int]:
    """Indices of so many CUDA devices that take work now; -1 for all that do."""
    usable = []
    for index in range(num_cuda_devices()):
        with suppress(RuntimeError):  # of a device that somebody else has for himself
            torch.zeros(1, device=torch.device("cuda", index))
            usable.append(index)
    if num_devices == -1:
        return usable
    if len(usable) < num_devices:
        raise ConfigError(
            "There are fewer CUDA devices to be had.",
            received=f"{len(usable)}: {usable}",
            expected=num_devices,
        )
    return usable[:num_devices]


def pick_multiple_gpus(nb: int) -> list[int]:
    """As `find_usable_cuda_devices`."""
    return find_usable_cuda_devices(nb)


def pick_single_gpu(exclude_gpus: list[int] | None = None) -> int:
    """The first usable one, but for these."""
    free = [index for index in find_usable_cuda_devices() if index not in (exclude_gpus or ())]
    if not free:
        raise ConfigError("There is no CUDA device to be had.", received=f"all but {exclude_gpus}")
    return free[0]


def parse_gpu_ids(gpus: Any, *args: Any, **kwargs: Any) -> list[int] | None:
    """Indices of the GPUs that a count, a list or a text name; None for none."""
    if gpus in (None, 0, "0", [], ""):
        return None
    return [device.index or 0 for device in find_devices(find_accelerator("gpu"), gpus)]


def determine_root_gpu_device(gpus: list[int] | None) -> int | None:
    """The first of them."""
    return gpus[0] if gpus else None


def get_cpu_stats() -> dict[str, float]:
    """Load and memory of this machine."""
    return CPUAccelerator().stats(torch.device("cpu"))


def get_nvidia_gpu_stats(device: torch.device) -> dict[str, float]:
    """Memory of a CUDA device."""
    return CUDAAccelerator().stats(device)


class _AcceleratorConnector:
    """What libraries ask which devices a Trainer with such arguments would have."""

    def __init__(self, *, devices: Any = "auto", accelerator: Any = "auto", **others: Any) -> None:
        found = find_accelerator(accelerator)
        self._accelerator_flag = found.name
        self._devices_flag = found.device_count() if devices == "auto" else devices


# ----------------------------------------------------------------------------------------------------- memory


def garbage_collection_cuda() -> None:
    """Give memory back that nobody uses."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def is_cuda_out_of_memory(exception: BaseException) -> bool:
    """Whether a CUDA device had too little memory."""
    return isinstance(exception, torch.cuda.OutOfMemoryError) or _says(exception, "CUDA", "out of memory")


def is_cudnn_snafu(exception: BaseException) -> bool:
    """Whether cuDNN failed as it does when memory ends."""
    return _says(exception, "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED.")


def is_out_of_cpu_memory(exception: BaseException) -> bool:
    """Whether this machine had too little memory."""
    return _says(exception, "DefaultCPUAllocator: can't allocate memory")


def is_oom_error(exception: BaseException) -> bool:
    """Whether memory ended, of whatever device."""
    return any(ended(exception) for ended in (is_cuda_out_of_memory, is_cudnn_snafu, is_out_of_cpu_memory))


def _says(exception: BaseException, *words: str) -> bool:
    # Only the message tells these errors of torch's from its others.
    return isinstance(exception, RuntimeError) and all(word in str(exception) for word in words)


def get_model_size_mb(model: nn.Module) -> float:
    """Size of the parameters and buffers, in MB."""
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers())) / 1e6


def get_gpu_memory_map() -> dict[str, float]:
    """Memory in use on each CUDA device, in MB."""
    return {f"gpu_id: {index}/memory.used (MB)": _used_mb(index) for index in range(num_cuda_devices())}


def _used_mb(index: int) -> float:
    free, total = torch.cuda.mem_get_info(index)
    return (total - free) / 1e6


def get_memory_profile(mode: str) -> dict[str, float]:
    """As `get_gpu_memory_map`; with "min_max", the least and the most."""
    used = get_gpu_memory_map()
    if mode != "min_max" or not used:
        return used
    return {"min_gpu_mem": min(used.values()), "max_gpu_mem": max(used.values())}
