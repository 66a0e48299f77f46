"""Which devices a run gets."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.base import report
from fulmen.errors import ConfigError
from fulmen.runtime import device as devices
from fulmen.runtime.device import (
    Accelerator,
    CPUAccelerator,
    CUDAAccelerator,
    MPSAccelerator,
    find_accelerator,
    find_devices,
)


class FourGPUs(Accelerator):
    """A machine with four of a kind."""

    name = "four"

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 4

    def device(self, index: int) -> torch.device:
        return torch.device("cuda", index)

    def stats(self, device: torch.device) -> dict[str, float]:
        return {}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("auto", [0, 1, 2, 3]),
        (-1, [0, 1, 2, 3]),
        ("-1", [0, 1, 2, 3]),
        (1, [0]),
        (4, [0, 1, 2, 3]),
        ("1", [0]),
        ("3", [0, 1, 2]),
        (" 2 ", [0, 1]),
        ("0,", [0]),
        ("3,", [3]),
        ("0,1", [0, 1]),
        ("3, 1", [3, 1]),
        ([0], [0]),
        ([2], [2]),
        ([3, 0], [3, 0]),
        ((0, 1), [0, 1]),
    ],
    ids=repr,
)
def test_devices_of_four(given: Any, expected: list[int]) -> None:
    assert find_devices(FourGPUs(), given) == [torch.device("cuda", index) for index in expected]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0, r"at least 1(.|\n)*received: 0"),
        ("0", r"at least 1(.|\n)*received: 0"),
        (-2, r"at least 1(.|\n)*received: -2"),
        (5, r"More devices(.|\n)*received: 5(.|\n)*expected: 4"),
        ("5", r"More devices(.|\n)*received: 5(.|\n)*expected: 4"),
        ([4], r"no four device(.|\n)*received: \[4\](.|\n)*expected: 0 to 3"),
        ("0,9", r"no four device(.|\n)*received: \[9\](.|\n)*expected: 0 to 3"),
        ([-1], r"no four device(.|\n)*received: \[-1\]"),
        ([0, 0], "twice"),
        ("1,1", "twice"),
        ([], "names no device"),
        ("", "not understood"),
        (",", "not understood"),
        ("all", r"not understood(.|\n)*received: 'all'"),
        ("1,x", "not understood"),
        ("--1", "not understood"),
        ("²", "not understood"),
        ("1.5", "not understood"),
        (1.0, "not understood"),
        (True, "not understood"),
        (None, "not understood"),
        ({0: 1}, "not understood"),
        (["0"], "not understood"),
        ([0.5], "not understood"),
        ([True], "not understood"),
        ([[0]], "not understood"),
    ],
    ids=repr,
)
def test_devices_that_there_are_not(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_devices(FourGPUs(), given)


@pytest.mark.parametrize(
    ("given", "count"), [("auto", 1), (-1, 1), (1, 1), ("1", 1), (3, 3), ([0], 1), ([0, 1], 2)]
)
def test_on_the_processor_devices_count_processes(given: Any, count: int) -> None:
    assert find_devices(CPUAccelerator(), given) == [torch.device("cpu")] * count


# ----------------------------------------------------------------------------------------------- accelerators


def only(monkeypatch: pytest.MonkeyPatch, *kinds: type[Accelerator]) -> None:
    """Let this machine have GPUs of these kinds."""
    for kind in (CUDAAccelerator, MPSAccelerator):
        monkeypatch.setattr(kind, "is_available", staticmethod(lambda kind=kind: kind in kinds))


@pytest.mark.parametrize(
    ("present", "wanted", "expected"),
    [
        ((), "auto", CPUAccelerator),
        ((), "cpu", CPUAccelerator),
        ((CUDAAccelerator,), "auto", CUDAAccelerator),
        ((CUDAAccelerator,), "gpu", CUDAAccelerator),
        ((CUDAAccelerator,), "cuda", CUDAAccelerator),
        ((CUDAAccelerator,), "cpu", CPUAccelerator),
        ((MPSAccelerator,), "auto", MPSAccelerator),
        ((MPSAccelerator,), "gpu", MPSAccelerator),
        ((MPSAccelerator,), "mps", MPSAccelerator),
    ],
)
def test_find_accelerator(
    present: tuple[type[Accelerator], ...],
    wanted: str,
    expected: type[Accelerator],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only(monkeypatch, *present)
    assert type(find_accelerator(wanted)) is expected


@pytest.mark.parametrize("wanted", ["gpu", "cuda", "mps"])
def test_an_accelerator_that_is_not_there(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch)
    with pytest.raises(
        ConfigError, match=r"This machine has no GPU|no '\w+' device on this machine"
    ) as raised:
        find_accelerator(wanted)
    assert "auto" in str(raised.value)


@pytest.mark.parametrize(
    ("wanted", "near"),
    [("cud", "cuda"), ("gpus", "gpu"), ("cpus", "cpu"), ("abacus", None), (None, None), (3, None)],
)
def test_an_accelerator_that_does_not_exist(wanted: Any, near: str | None) -> None:
    with pytest.raises(
        ConfigError, match=r"Unknown accelerator(.|\n)*expected: auto, gpu, cpu, cuda, mps"
    ) as raised:
        find_accelerator(wanted)
    assert near is None or f"did you mean {near!r}?" in str(raised.value)


def test_an_accelerator_object_is_taken_as_it_is() -> None:
    four = FourGPUs()
    assert find_accelerator(four) is four


def test_a_class_is_no_accelerator() -> None:
    with pytest.raises(ConfigError, match="Unknown accelerator"):
        find_accelerator(CPUAccelerator)  # pyright: ignore[reportArgumentType]


def test_each_kind_is_listed_by_its_name() -> None:
    assert all(devices.ACCELERATORS[name].name == name for name in devices.ACCELERATORS)
    assert CPUAccelerator.is_available()
    assert CUDAAccelerator.is_available() == torch.cuda.is_available()


def test_stats_of_the_processor() -> None:
    pytest.importorskip("psutil")
    stats = CPUAccelerator().stats(torch.device("cpu"))
    assert set(stats) == {"cpu_percent", "cpu_vm_percent", "cpu_swap_percent"}
    assert all(0 <= value <= 100 for value in stats.values())


# ----------------------------------------------------------------------------------------------- as arguments


@pytest.mark.parametrize("given", ["auto", 1, "1", [0], "0,"])
def test_the_trainers_arguments(given: Any) -> None:
    trainer = pl.Trainer(accelerator="cpu", devices=given, logger=False)
    assert isinstance(trainer.accelerator, CPUAccelerator)
    assert trainer.num_devices == 1
    assert trainer.strategy.root_device == torch.device("cpu")


@pytest.mark.parametrize("arguments", [{"accelerator": "tpus"}, {"devices": "none"}, {"accelerator": "gpu"}])
def test_the_trainers_arguments_are_checked_at_once(arguments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch)
    with pytest.raises(ConfigError):
        pl.Trainer(**arguments)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(1, [1]), ("1", [1]), ([0], [0]), ("0,", [0]), ([2], [2]), (2, [0, 1]), ("auto", [0, 1, 2, 3])],
)
def test_one_device_is_that_of_the_process_unless_it_is_named(given: Any, expected: list[int]) -> None:
    assert [device.index for device in find_devices(FourGPUs(), given, local_rank=1)] == expected
    assert find_devices(FourGPUs(), 1, local_rank=6) == [torch.device("cuda", 2)]
    assert find_devices(CPUAccelerator(), 1, local_rank=6) == [torch.device("cpu")]


@pytest.mark.parametrize("strategy", ["auto", "single_device", "ddp"])
def test_trainers_of_one_device_beside_each_other(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(report.rank_zero_only, "rank", 3)  # of a script that also trains on four
    trainer = pl.Trainer(accelerator=FourGPUs(), devices=1, strategy=strategy, logger=False)
    assert trainer.strategy.root_device == torch.device("cuda", 3)
    assert trainer.world_size == 1
    named = pl.Trainer(accelerator=FourGPUs(), devices=[0], strategy=strategy, logger=False)
    assert named.strategy.root_device == torch.device("cuda", 0)
