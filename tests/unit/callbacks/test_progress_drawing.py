"""When bars are drawn, and what is then said of the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.callbacks.progress.drawing import Bar, DrawnProgressBar
from fulmen.engine.states import RunningStage
from fulmen.errors import ConfigError

from .progress_runs import Clock, Endless, Shown, Validated, batches, make_trainer, passing


class NotedBar(Bar):
    def __init__(self, notes: list[tuple], name: str, clock: Clock | None, cost_s: float) -> None:
        self.notes = notes
        self.name = name
        self.clock = clock
        self.cost_s = cost_s

    def restart(self, description: str, total: float, done: int | None) -> None:
        self.notes.append((self.name, "restart", description, total))

    def draw(self, done: int, metrics: Mapping[str, Any]) -> None:
        self._note("draw", done, metrics)

    def finish(self, done: int, metrics: Mapping[str, Any]) -> None:
        self._note("finish", done, metrics)

    def _note(self, what: str, done: int, metrics: Mapping[str, Any]) -> None:
        self.notes.append((self.name, what, done, dict(metrics)))
        if self.clock is not None:
            self.clock.now_s += self.cost_s

    def pause(self, done: int) -> None:
        self.notes.append((self.name, "pause", done))

    def resume(self) -> None:
        self.notes.append((self.name, "resume"))

    def close(self) -> None:
        self.notes.append((self.name, "close"))


class NotingProgressBar(DrawnProgressBar):
    """Notes what it is told to draw; each drawing takes `cost_s`."""

    def __init__(self, clock: Clock | None = None, cost_s: float = 0.0, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.clock = clock
        self.cost_s = cost_s
        self.notes: list[tuple] = []
        self.asked = 0

    def _open(self, stage: RunningStage, *, stays: bool) -> Bar:
        self.notes.append((stage.value, "open", stays))
        return NotedBar(self.notes, stage.value, self.clock, self.cost_s)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        self.asked += 1
        return super().get_metrics(trainer, pl_module)

    def drawn(self, name: str) -> list[int]:
        """The numbers of batches of the drawings of one bar."""
        return [note[2] for note in self.notes if note[0] == name and note[1] in ("draw", "finish")]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_slow_batches_are_all_drawn(tmp_path: Path, clock: Clock) -> None:
    bar = NotingProgressBar()
    make_trainer(tmp_path, bar).fit(passing(clock, 1.0), batches(4))
    assert sorted(set(bar.drawn("train"))) == [0, 1, 2, 3, 4]
    assert bar.notes[:2] == [("train", "open", True), ("train", "restart", "Epoch 0/0", 4)]
    assert bar.notes[-2][:3] == ("train", "finish", 4)
    assert bar.notes[-1] == ("train", "close")


def test_at_most_ten_drawings_a_second(tmp_path: Path, clock: Clock) -> None:
    bar = NotingProgressBar()
    make_trainer(tmp_path, bar).fit(passing(clock, 0.001), batches(1000))
    changes = 3  # the beginning of the epoch, its end, the end of training
    assert len(bar.drawn("train")) <= 10 + changes
    assert len(bar.drawn("train")) >= 10
    assert bar.asked == len(bar.drawn("train"))


@pytest.mark.parametrize("cost_s", [0.001, 0.02, 0.5])
def test_drawing_takes_one_percent_of_the_time(tmp_path: Path, clock: Clock, cost_s: float) -> None:
    bar = NotingProgressBar(clock, cost_s)
    began_s = clock.now_s
    trainer = make_trainer(tmp_path, bar, max_epochs=40, val_check_interval=5)
    trainer.fit(passing(clock, 0.2, Validated), batches(10), batches(5))
    drawings = sum(note[1] in ("draw", "finish") for note in bar.notes)
    # A second's worth of rest may have been saved up, and the first and the last drawing are free.
    assert drawings * cost_s <= 0.01 * (clock.now_s - began_s + 1.0) + 2 * cost_s


def test_epochs_that_are_too_short_to_be_seen_are_not_drawn(tmp_path: Path, clock: Clock) -> None:
    bar = NotingProgressBar(clock, 0.002)
    make_trainer(tmp_path, bar, max_epochs=50).fit(passing(clock, 0.0001), batches(3))
    assert len(bar.drawn("train")) < 50
    assert [note[1:3] for note in bar.notes if note[1] == "restart"][-1] == ("restart", "Epoch 49/49")
    assert bar.drawn("train")[-1] == 3


def test_refresh_rate_leaves_batches_out(tmp_path: Path, clock: Clock) -> None:
    bar = NotingProgressBar(refresh_rate=3)
    make_trainer(tmp_path, bar).fit(passing(clock, 1.0), batches(8))
    assert sorted(set(bar.drawn("train"))) == [0, 3, 6, 8]


@pytest.mark.parametrize("rate", [0, -1])
def test_refresh_rate_zero_shows_nothing(tmp_path: Path, clock: Clock, rate: int) -> None:
    bar = NotingProgressBar(refresh_rate=rate)
    assert bar.is_disabled
    trainer = make_trainer(tmp_path, bar)
    trainer.fit(passing(clock, 1.0, Validated), batches(2), batches(2))
    trainer.test(passing(clock, 1.0), batches(2))
    assert bar.notes == []


@pytest.mark.parametrize("rate", [1.5, "1", None, True])
def test_refresh_rate_is_a_number_of_batches(rate: Any) -> None:
    with pytest.raises(ConfigError, match="refresh_rate"):
        NotingProgressBar(refresh_rate=rate)


def test_disabled_in_the_middle(tmp_path: Path, clock: Clock) -> None:
    bar = NotingProgressBar()

    def at(name: str, index: int) -> None:
        clock.now_s += 1
        if index == 2:
            bar.disable()

    make_trainer(tmp_path, bar).fit(Validated(at), batches(5), batches(1))
    assert bar.drawn("train") == [0, 1, 2]
    assert bar.notes[-1] == ("train", "close")
    assert not any(note[0] == "validate" for note in bar.notes)


def test_validation_is_below_training_and_its_time_does_not_count(tmp_path: Path, clock: Clock) -> None:
    bar = NotingProgressBar()
    make_trainer(tmp_path, bar).fit(passing(clock, 1.0, Validated), batches(2), batches(2))
    notes = [note[:3] for note in bar.notes]
    start = notes.index(("train", "pause", 2))
    assert notes[start:] == [
        ("train", "pause", 2),
        ("validate", "open", False),
        ("validate", "restart", "Validation"),
        ("validate", "draw", 1),
        ("validate", "draw", 2),
        ("validate", "close"),
        ("train", "resume"),
        ("train", "draw", 2),  # validated
        ("train", "draw", 2),  # at the end of the epoch
        ("train", "finish", 2),  # with the values of the epoch
        ("train", "close"),
    ]
    assert bar.notes[-4][3] == {"loss_step": 0.25, "score": 0.5}
    assert bar.notes[-2][3] == {"loss_step": 0.25, "score": 0.5, "loss_epoch": 0.25}


def test_every_epoch_ends_with_its_own_values(tmp_path: Path, clock: Clock) -> None:
    bar = NotingProgressBar()
    make_trainer(tmp_path, bar, max_epochs=3).fit(passing(clock, 1.0), batches(2))
    finished = [(note[2], note[3]["loss_epoch"]) for note in bar.notes if note[1] == "finish"]
    assert finished == [(2, 0.25), (2, 1.25), (2, 2.25)]


def test_validation_that_is_over_at_once_is_not_opened(tmp_path: Path, clock: Clock) -> None:
    bar = NotingProgressBar()
    make_trainer(tmp_path, bar).fit(passing(clock, 0.01, Validated), batches(2), batches(3))
    assert not any(note[0] == "validate" for note in bar.notes)


def test_sanity_check(tmp_path: Path, clock: Clock) -> None:
    bar = NotingProgressBar()
    trainer = make_trainer(tmp_path, bar, num_sanity_val_steps=2)
    trainer.fit(passing(clock, 1.0, Validated), batches(1), batches(5))
    sanity = [note[:3] for note in bar.notes[:6]]
    assert sanity == [
        ("sanity_check", "open", False),
        ("sanity_check", "restart", "Sanity Checking"),
        ("sanity_check", "draw", 0),
        ("sanity_check", "draw", 1),
        ("sanity_check", "draw", 2),
        ("sanity_check", "close"),
    ]
    assert bar.notes[1][3] == 2
    assert bar.notes[6] == ("train", "open", True)


@pytest.mark.parametrize(
    ("method", "stage", "label"),
    [
        ("validate", "validate", "Validation"),
        ("test", "test", "Testing"),
        ("predict", "predict", "Predicting"),
    ],
)
def test_evaluation_on_its_own_stays(
    tmp_path: Path, clock: Clock, method: str, stage: str, label: str
) -> None:
    bar = NotingProgressBar()
    getattr(make_trainer(tmp_path, bar), method)(passing(clock, 1.0, Validated), batches(2))
    assert bar.notes == [
        (stage, "open", True),
        (stage, "restart", label, 2),
        (stage, "draw", 0, {}),
        (stage, "draw", 1, {}),
        (stage, "draw", 2, {}),
        (stage, "finish", 2, {}),
        (stage, "close"),
    ]


def test_several_loaders_are_one_bar(tmp_path: Path, clock: Clock) -> None:
    bar = NotingProgressBar()
    make_trainer(tmp_path, bar).test(passing(clock, 1.0), [batches(2), batches(3)])
    assert ("test", "restart", "Testing", 5) in bar.notes
    assert sorted(set(bar.drawn("test"))) == [0, 1, 2, 3, 4, 5]


def test_length_that_nobody_knows(tmp_path: Path, clock: Clock) -> None:
    bar = NotingProgressBar()
    loader = torch.utils.data.DataLoader(Endless(3), batch_size=1)
    make_trainer(tmp_path, bar, max_epochs=-1, max_steps=3).fit(passing(clock, 1.0), loader)
    assert bar.notes[1] == ("train", "restart", "Epoch 0", float("inf"))
    assert sorted(set(bar.drawn("train"))) == [0, 1, 2, 3]


def test_resumed_in_the_middle_of_an_epoch(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "middle.ckpt"

    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            if trainer.global_step == 3:
                trainer.save_checkpoint(path)

    make_trainer(tmp_path, Save(), enable_progress_bar=False).fit(Shown(), batches(5))
    bar = NotingProgressBar()
    make_trainer(tmp_path, bar).fit(passing(clock, 1.0), batches(5), ckpt_path=path)
    assert sorted(set(bar.drawn("train"))) == [4, 5]
    assert bar.notes[1] == ("train", "restart", "Epoch 0/0", 5)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["train", "validation"])
def test_errors_close_every_bar(tmp_path: Path, clock: Clock, where: str, error: type[BaseException]) -> None:
    def at(name: str, index: int) -> None:
        clock.now_s += 1
        if name == where and index == 1:
            raise error

    bar = NotingProgressBar()
    trainer = make_trainer(tmp_path, bar)
    if error is RuntimeError:
        with pytest.raises(error):
            trainer.fit(Validated(at), batches(3), batches(3))
    else:
        trainer.fit(Validated(at), batches(3), batches(3))
    opened = [note[0] for note in bar.notes if note[1] == "open"]
    closed = [note[0] for note in bar.notes if note[1] == "close"]
    assert closed == opened[::-1]
    assert opened == (["train"] if where == "train" else ["train", "validate"])


def test_with_leave_each_epoch_has_a_bar_of_its_own(tmp_path: Path, clock: Clock) -> None:
    bar = NotingProgressBar(leave=True)
    make_trainer(tmp_path, bar, max_epochs=3).fit(passing(clock, 1.0), batches(1))
    outline = [note[1] for note in bar.notes if note[1] in ("open", "finish", "close")]
    assert outline == ["open", "finish", "close"] * 3


def test_a_second_run_starts_anew(tmp_path: Path, clock: Clock) -> None:
    bar = NotingProgressBar()
    trainer = make_trainer(tmp_path, bar)
    trainer.test(passing(clock, 1.0), batches(1))
    first = list(bar.notes)
    bar.notes.clear()
    trainer.test(passing(clock, 1.0), batches(1))
    assert bar.notes == first
