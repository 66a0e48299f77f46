"""Progress where nothing can be drawn over: lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from fulmen.callbacks import PlainProgressBar, ProgressBar, RichProgressBar, TQDMProgressBar
from fulmen.callbacks.progress.meter import Meter, format_metrics

from .progress_runs import Clock, Endless, Validated, batches, make_trainer, passing

EVERY_KIND = [PlainProgressBar, RichProgressBar, TQDMProgressBar]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_one_line_per_epoch(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str], kind: type[ProgressBar]
) -> None:
    trainer = make_trainer(tmp_path, kind(), max_epochs=2, num_sanity_val_steps=1)
    trainer.fit(passing(clock, 0.5, Validated), batches(4), batches(4))
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 0/1: 4/4 [0:00:02, 2.00it/s] loss_step=0.25, score=0.5, loss_epoch=0.25",
        "Epoch 1/1: 4/4 [0:00:02, 2.00it/s] loss_step=1.25, score=0.5, loss_epoch=1.25",
    ]


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_line_every_half_minute(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str], kind: type[ProgressBar]
) -> None:
    make_trainer(tmp_path, kind()).fit(passing(clock, 10.0), batches(8))
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 0/0: 3/8 [0:00:30<0:00:50, 0.10it/s] loss_step=0.25",
        "Epoch 0/0: 6/8 [0:01:00<0:00:20, 0.10it/s] loss_step=0.25",
        "Epoch 0/0: 8/8 [0:01:20, 0.10it/s] loss_step=0.25, loss_epoch=0.25",
    ]


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_long_validation_shows_where_it_is(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str], kind: type[ProgressBar]
) -> None:
    make_trainer(tmp_path, kind()).fit(passing(clock, 20.0, Validated), batches(2), batches(6))
    assert capsys.readouterr().out.splitlines() == [
        "Validation: 3/6 [0:00:40<0:01:00, 0.05it/s]",
        "Validation: 5/6 [0:01:20<0:00:20, 0.05it/s]",
        "Epoch 0/0: 2/2 [0:00:40, 0.05it/s] loss_step=0.25, score=0.5, loss_epoch=0.25",
    ]


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_evaluations(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str], kind: type[ProgressBar]
) -> None:
    trainer = make_trainer(tmp_path, kind())
    for method in (trainer.validate, trainer.test):
        method(passing(clock, 0.5, Validated), batches(2), verbose=False)
    trainer.predict(passing(clock, 0.5, Validated), [batches(2), batches(1)])
    assert capsys.readouterr().out.splitlines() == [
        "Validation: 2/2 [0:00:01, 2.00it/s]",
        "Testing: 2/2 [0:00:01, 2.00it/s]",
        "Predicting: 3/3 [0:00:01, 2.00it/s]",
    ]


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_no_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: type[ProgressBar]
) -> None:
    class Talking(Validated):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.print("batch", [batch_idx], "[bold]", end="!\n")
            return super().training_step(batch, batch_idx)

    trainer = make_trainer(tmp_path, kind(), enable_model_summary=True)
    trainer.fit(Talking(), batches(2), batches(2))
    captured = capsys.readouterr()
    assert captured.out.splitlines()[:2] == ["batch [0] [bold]!", "batch [1] [bold]!"]
    assert not re.search(r"[^\n -~]", captured.out + captured.err)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_unknown_length(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str], kind: type[ProgressBar]
) -> None:
    loader = DataLoader(Endless(4), batch_size=1)
    make_trainer(tmp_path, kind(), max_epochs=-1, max_steps=4).fit(passing(clock, 20.0), loader)
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 0: 2/-- [0:00:40<-:--:--, 0.05it/s] loss_step=0.25",
        "Epoch 0: 4/-- [0:01:20<-:--:--, 0.05it/s] loss_step=0.25",
        "Epoch 0: 4/-- [0:01:20, 0.05it/s] loss_step=0.25, loss_epoch=0.25",
    ]


def test_meter_before_anything_is_known(clock: Clock) -> None:
    meter = Meter(3000, 0)
    assert (meter.count_text, meter.elapsed_text, meter.remaining_text, meter.rate_text) == (
        "0/3000",
        "0:00:00",
        "-:--:--",
        "?it/s",
    )


def test_meter_reads_the_rate_of_late(clock: Clock) -> None:
    meter = Meter(10_000, 0)
    for done in range(1, 3001):
        clock.now_s += 10.0 if done < 100 else 0.5
        meter.note(done)
    assert meter.rate == pytest.approx(2.0)
    assert meter.remaining_text == "0:58:20"
    assert meter.elapsed_text == "0:40:40"


def test_meter_that_starts_in_the_middle(clock: Clock) -> None:
    meter = Meter(10, None)
    clock.now_s += 1.0
    meter.note(5)
    assert meter.rate is None
    clock.now_s += 1.0
    meter.note(6)
    assert meter.rate == pytest.approx(1.0)


def test_metrics_as_text() -> None:
    metrics = {"v_num": 3, "loss": 0.123456, "tiny": 1.5e-7, "epoch": 12.0, "nan": float("nan"), "note": "ok"}
    assert (
        format_metrics(metrics, "=", ", ") == "v_num=3, loss=0.1235, tiny=1.5e-07, epoch=12, nan=nan, note=ok"
    )
    assert format_metrics({"a": 1.0, "b": 2}, ": ", " | ", ".3f") == "a: 1.000 | b: 2"
    assert format_metrics({}, "=", ", ") == ""
