"""Durations, and a run that ends when its time is up."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fulmen.callbacks import ModelCheckpoint, Timer
from fulmen.callbacks.clock import has_passed
from fulmen.callbacks.timer import Interval
from fulmen.errors import ConfigError

from .scenarios import Scripted, batches, fit, make_trainer


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        (None, None),
        ("00:00:00:10", 10),
        ("01:02:03:04", 93784),
        ("00:25:61:00", 93660),
        (timedelta(minutes=2), 120),
        ({"days": 1, "hours": 2}, 93600),
        ({"weeks": 1}, 604800),
    ],
)
def test_durations(duration: Any, seconds: float | None) -> None:
    assert Timer(duration).time_remaining() == seconds


@pytest.mark.parametrize("duration", ["12:30:00", "1:2:3:4", "x", "", "-1:00:00:00", 5, {"hour": 1}])
def test_durations_that_cannot_be_read(duration: Any) -> None:
    with pytest.raises(ConfigError, match="DD:HH:MM:SS"):
        Timer(duration)


def test_an_unknown_interval() -> None:
    with pytest.raises(ConfigError, match="did you mean 'epoch'"):
        Timer(interval="epochs")
    assert Timer(interval="epoch")._interval is Interval.epoch


def test_an_unknown_stage() -> None:
    with pytest.raises(ConfigError, match="did you mean 'validate'"):
        Timer().time_elapsed("validation")


def test_before_a_run() -> None:
    timer = Timer()
    assert (timer.start_time(), timer.end_time(), timer.time_elapsed()) == (None, None, 0)


def test_stages_are_measured(tmp_path: Path) -> None:
    timer = Timer()
    trainer = fit(tmp_path, timer, num_sanity_val_steps=1)
    trainer.test(Scripted(), batches(1), verbose=False)
    trainer.predict(Scripted(), batches(1))
    elapsed = timer.state_dict()["time_elapsed"]
    assert list(elapsed) == ["train", "sanity_check", "validate", "test", "predict"]
    assert all(seconds > 0 for seconds in elapsed.values())
    assert elapsed["train"] == timer.time_elapsed() > elapsed["validate"]
    start, end = timer.start_time("test"), timer.end_time("test")
    assert start is not None
    assert end is not None
    assert end - start == elapsed["test"]


def test_training_ends_after_the_batch_in_which_the_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    trainer = fit(tmp_path, Timer(timedelta(seconds=25)), clock.callback(per_batch=10))
    assert trainer.global_step == 3
    assert trainer.should_stop


def test_by_epoch_training_ends_after_the_epoch_in_which_the_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    trainer = fit(tmp_path, Timer(timedelta(seconds=45), "epoch"), clock.callback(per_batch=10))
    assert (trainer.global_step, trainer.current_epoch) == (8, 2)


def test_without_time_left_there_is_no_step(tmp_path: Path) -> None:
    assert fit(tmp_path, Timer(timedelta(0))).global_step == 0


def test_min_epochs_come_first(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Timer(timedelta(0)), min_epochs=2)
    assert (trainer.global_step, trainer.current_epoch) == (8, 2)


def test_max_time_of_the_trainer(tmp_path: Path) -> None:
    assert fit(tmp_path, max_time="00:00:00:00").global_step == 0


def test_time_before_a_resume_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    limit = timedelta(seconds=65)
    fit(
        tmp_path,
        Timer(limit),
        clock.callback(per_batch=10),
        ModelCheckpoint(tmp_path, filename="x"),
        max_epochs=1,
    )
    state = torch.load(tmp_path / "x.ckpt", weights_only=True)["callbacks"]["Timer"]
    assert state == {
        "time_elapsed": dict.fromkeys(("sanity_check", "validate", "test", "predict"), 0) | {"train": 40}
    }

    clock.now_s += 1000  # between the runs
    timer = Timer(limit)
    trainer = make_trainer(tmp_path, timer, clock.callback(per_batch=10))
    trainer.fit(Scripted(), batches(), batches(1), ckpt_path=tmp_path / "x.ckpt")
    assert trainer.global_step == 7
    assert timer.time_elapsed() == 70


class Clock:
    """Time that passes only while batches are trained on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr("fulmen.callbacks.timer.monotonic", lambda: self.now_s)
        monkeypatch.setattr("fulmen.callbacks.clock.monotonic", lambda: self.now_s)

    def callback(self, *, per_batch: float) -> Any:
        from fulmen.callbacks import LambdaCallback

        def pass_time(*args: Any) -> None:
            self.now_s += per_batch

        return LambdaCallback(on_train_batch_start=pass_time)


def test_several_ranks_go_by_the_clock_of_rank_0_and_rarely_talk(monkeypatch: pytest.MonkeyPatch) -> None:
    """This rank's clock is far behind; rank 0 says that time is up."""
    asked: list[bool] = []

    def broadcast(value: bool) -> bool:
        asked.append(value)
        return True

    monkeypatch.setattr("fulmen.callbacks.clock.monotonic", lambda: 0.0)
    strategy = SimpleNamespace(broadcast=broadcast)
    trainer: Any = SimpleNamespace(world_size=2, log_every_n_steps=5, global_step=0, strategy=strategy)
    passed = []
    for trainer.global_step in range(1, 6):
        passed.append(has_passed(trainer, 10.0))
    assert passed == [False, False, False, False, True]
    assert asked == [False]
    trainer.global_step = 7
    assert has_passed(trainer, 10.0, at_once=True)
