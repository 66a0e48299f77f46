"""What profilers see of real runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._inductor  # torch.profiler imports it, and that sets an environment variable
from torch import Tensor, nn
from torch.profiler import schedule
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler


def users_own_function() -> None:
    pass


class Net(pl.LightningModule):
    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.fails = fails

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        users_own_function()
        if self.fails:
            raise ZeroDivisionError
        return self.layer(batch).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.layer(batch)

    def on_train_batch_end(self, *_: Any) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Listener(pl.Callback):
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pass


def make_trainer(profiler: Any, folder: Path) -> pl.Trainer:
    return pl.Trainer(
        profiler=profiler,
        default_root_dir=folder,
        accelerator="cpu",
        max_epochs=2,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Listener()],
    )


def loader(n_batches: int = 3) -> Any:
    data: Any = torch.ones(2 * n_batches, 2)
    return DataLoader(data, batch_size=2)


def test_hooks_and_steps_are_spans(tmp_path: Path) -> None:
    profiler = SimpleProfiler()
    make_trainer(profiler, tmp_path).fit(Net(), loader(), loader())

    calls = {name: duration.calls for name, duration in profiler.durations.items()}
    expected = {
        "[LightningModule]Net.training_step": 6,
        "[LightningModule]Net.validation_step": 6,
        "[LightningModule]Net.on_train_batch_end": 6,
        "[Callback]Listener.on_train_epoch_start": 2,
        "run_training_batch": 6,
    }
    assert expected.items() <= calls.items()


@pytest.mark.parametrize("name", ["simple", "advanced"])
def test_profilers_have_names(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_trainer(name, tmp_path).fit(Net(), loader(), loader())

    (report,) = (text for text in caplog.messages if text.startswith("FIT Profiler Report"))
    assert "[LightningModule]Net.training_step" in report


def test_each_run_is_reported(tmp_path: Path) -> None:
    trainer = make_trainer(SimpleProfiler(tmp_path, "times"), tmp_path)
    net = Net()
    trainer.fit(net, loader(), loader())
    trainer.validate(net, loader(), verbose=False)

    assert "training_step" in (tmp_path / "fit-times.txt").read_text()
    assert "training_step" not in (tmp_path / "validate-times.txt").read_text()
    assert "validation_step" in (tmp_path / "validate-times.txt").read_text()


def test_the_users_functions_are_counted(tmp_path: Path) -> None:
    profiler = AdvancedProfiler()
    make_trainer(profiler, tmp_path).fit(Net(), loader(), loader())

    section = profiler.summary().split("Profile stats for: [LightningModule]Net.training_step\n")[1]
    assert re.search(r"^ +6 .*\(users_own_function\)$", section.split("Profile stats for")[0], re.M)


def test_a_schedule_counts_batches(tmp_path: Path) -> None:
    profiler = PyTorchProfiler(
        tmp_path, "ops", row_limit=100, schedule=schedule(wait=1, warmup=1, active=2, repeat=1)
    )
    make_trainer(profiler, tmp_path).fit(Net(), loader(5), loader())

    assert {path.name for path in tmp_path.iterdir()} == {"fit-ops.txt", "fit-ops-step4.pt.trace.json"}
    report = (tmp_path / "fit-ops.txt").read_text()
    assert re.search(r"^ *run_training_batch .* 2 *$", report, re.M)
    assert re.search(r"^ *\[LightningModule\]Net.training_step .* 2 *$", report, re.M)
    assert "[Module]Linear: layer" in report


@pytest.mark.parametrize("kind", [SimpleProfiler, AdvancedProfiler, PyTorchProfiler])
def test_a_run_that_fails_is_reported_and_the_next_one_is_fine(kind: Any, tmp_path: Path) -> None:
    profiler = kind(tmp_path, "report")
    with pytest.raises(ZeroDivisionError):
        make_trainer(profiler, tmp_path).fit(Net(fails=True), loader(), loader())
    assert (tmp_path / "fit-report.txt").exists()
    assert sys.getprofile() is None

    make_trainer(profiler, tmp_path).fit(Net(), loader(), loader())
    assert "Net.training_step" in (tmp_path / "fit-report.txt").read_text()


class Balance(Profiler):
    """The smallest profiler a user can write."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[str] = []
        self.n_spans = 0

    def start(self, action_name: str) -> None:
        self.running.append(action_name)
        self.n_spans += 1

    def stop(self, action_name: str) -> None:
        assert self.running.pop() == action_name

    def summary(self) -> str:
        return f"{self.n_spans} spans"


def test_spans_end_in_the_order_they_began_and_a_users_report_is_printed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    profiler = Balance()
    make_trainer(profiler, tmp_path).fit(Net(), loader(), loader())

    assert profiler.running == []
    assert f"{profiler.n_spans} spans" in caplog.messages
