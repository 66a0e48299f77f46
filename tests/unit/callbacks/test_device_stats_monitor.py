"""Statistics of devices in the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.callbacks import DeviceStatsMonitor
from fulmen.errors import ConfigError, MissingExtra
from fulmen.runtime.device import Accelerator, CPUAccelerator

from .progress_runs import Shown, Validated, batches, make_trainer

CPU_STATS = {"cpu_percent", "cpu_vm_percent", "cpu_swap_percent"}


class Noting(pl.loggers.CSVLogger):
    """Keeps the rows that speak of devices."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        if any(name.startswith("DeviceStatsMonitor") for name in metrics):
            self.rows.append((step, dict(metrics)))

    @property
    def hooks(self) -> list[tuple[str, int | None]]:
        return [(next(iter(row)).partition("/")[0].partition(".")[2], step) for step, row in self.rows]


class OtherDevice(Accelerator):
    """A processor that says it is something else."""

    name = "other"

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 1

    def device(self, index: int) -> torch.device:
        return torch.device("cpu")

    def stats(self, device: torch.device) -> dict[str, float]:
        return {"memory": 5.0}


def run(folder: Path, monitor: DeviceStatsMonitor, method: str = "fit", **arguments: Any) -> Noting:
    logger = Noting(folder)
    trainer = make_trainer(folder, monitor, enable_progress_bar=False, logger=logger, **arguments)
    getattr(trainer, method)(Shown(), batches(6))
    return logger


def test_names_and_steps(tmp_path: Path) -> None:
    logger = run(tmp_path, DeviceStatsMonitor(), log_every_n_steps=3)
    assert logger.hooks == [
        ("on_train_batch_start", 2),
        ("on_train_batch_end", 2),
        ("on_train_batch_start", 5),
        ("on_train_batch_end", 5),
    ]
    assert set(logger.rows[0][1]) == {f"DeviceStatsMonitor.on_train_batch_start/{name}" for name in CPU_STATS}
    assert all(isinstance(value, float) for value in logger.rows[0][1].values())


def test_short_epochs_are_logged_too(tmp_path: Path) -> None:
    logger = run(tmp_path, DeviceStatsMonitor(), log_every_n_steps=10, max_epochs=2)
    assert [step for _, step in logger.hooks] == [9, 9]


def test_accumulated_batches_count_as_one_step(tmp_path: Path) -> None:
    logger = run(tmp_path, DeviceStatsMonitor(), log_every_n_steps=3, accumulate_grad_batches=2)
    assert {step for _, step in logger.hooks} == {2}


def test_evaluation(tmp_path: Path) -> None:
    logger = run(tmp_path, DeviceStatsMonitor(), "test", log_every_n_steps=4)
    assert logger.hooks == [("on_test_batch_start", 0), ("on_test_batch_end", 0)]


def test_validation_but_not_the_sanity_check(tmp_path: Path) -> None:
    logger = Noting(tmp_path)
    trainer = make_trainer(
        tmp_path, DeviceStatsMonitor(), enable_progress_bar=False, logger=logger, num_sanity_val_steps=2
    )
    trainer.fit(Validated(), batches(1), batches(1))
    assert [hook for hook, _ in logger.hooks] == [
        "on_train_batch_start",
        "on_train_batch_end",
        "on_validation_batch_start",
        "on_validation_batch_end",
    ]


@pytest.mark.parametrize(
    ("accelerator", "cpu_stats", "names"),
    [
        (CPUAccelerator, None, CPU_STATS),
        (CPUAccelerator, True, CPU_STATS),
        (CPUAccelerator, False, set()),
        (OtherDevice, None, {"memory"}),
        (OtherDevice, True, {"memory", *CPU_STATS}),
        (OtherDevice, False, {"memory"}),
    ],
)
def test_whose_statistics(
    tmp_path: Path, accelerator: type[Accelerator], cpu_stats: bool | None, names: set[str]
) -> None:
    logger = run(tmp_path, DeviceStatsMonitor(cpu_stats), accelerator=accelerator())
    found = {name.partition("/")[2] for _, row in logger.rows for name in row}
    assert found == names


def test_without_a_logger(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, DeviceStatsMonitor(), enable_progress_bar=False)
    with pytest.raises(ConfigError, match="logger"):
        trainer.fit(Shown(), batches(1))


def test_without_psutil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fulmen.base.extras.available", lambda package: package != "psutil")
    with pytest.raises(MissingExtra, match=r"fulmen\[psutil\]"):
        run(tmp_path, DeviceStatsMonitor())
    run(tmp_path, DeviceStatsMonitor(cpu_stats=False))
