"""This machine's devices and their memory, where there may be no GPU."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fulmen.compat.lightning import devices
from fulmen.errors import ConfigError


def test_devices_are_counted() -> None:
    assert devices.num_cuda_devices() == torch.cuda.device_count()
    assert devices.is_cuda_available() == (torch.cuda.device_count() > 0)
    assert len(devices.find_usable_cuda_devices()) <= torch.cuda.device_count()
    with pytest.raises(ConfigError, match="fewer CUDA devices"):
        devices.pick_multiple_gpus(10_000)
    with pytest.raises(ConfigError, match="no CUDA device"):
        devices.pick_single_gpu(list(range(10_000)))


@pytest.mark.parametrize("nothing", [None, 0, "0", [], ""])
def test_no_gpus(nothing: object) -> None:
    assert devices.parse_gpu_ids(nothing) is None
    assert devices.determine_root_gpu_device(None) is None
    assert devices.determine_root_gpu_device([2, 3]) == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs")
def test_gpus_that_there_are_not() -> None:
    with pytest.raises(ConfigError, match="no GPU"):
        devices.parse_gpu_ids(1)


def test_which_devices_a_trainer_would_have() -> None:
    asked = devices._AcceleratorConnector(accelerator="cpu", devices=3)
    assert (asked._accelerator_flag, asked._devices_flag) == ("cpu", 3)
    assert devices._AcceleratorConnector(accelerator="cpu")._devices_flag == 1


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), "cuda"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if"), "cudnn"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "cpu"),
        (RuntimeError("size mismatch"), None),
        (ValueError("CUDA out of memory"), None),
    ],
)
def test_errors_of_memory(error: Exception, where: str | None) -> None:
    assert devices.is_cuda_out_of_memory(error) == (where == "cuda")
    assert devices.is_cudnn_snafu(error) == (where == "cudnn")
    assert devices.is_out_of_cpu_memory(error) == (where == "cpu")
    assert devices.is_oom_error(error) == (where is not None)


def test_sizes() -> None:
    layer = nn.Linear(1000, 1000, bias=False)
    layer.register_buffer("more", torch.zeros(1000, dtype=torch.float64))

    assert devices.get_model_size_mb(layer) == 4.008
    assert len(devices.get_gpu_memory_map()) == torch.cuda.device_count()
    devices.garbage_collection_cuda()
