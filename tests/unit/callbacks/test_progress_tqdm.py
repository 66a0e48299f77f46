"""What tqdm's bars show in a terminal, and how users change them."""

from __future__ import annotations

import logging
import math
import threading
from pathlib import Path
from typing import Any

import pytest
import tqdm

import fulmen as pl
from fulmen.base.report import info
from fulmen.callbacks import TQDMProgressBar
from fulmen.callbacks.progress.tqdm_progress import Tqdm, convert_inf  # pyright: ignore[reportAttributeAccessIssue]
from fulmen.errors import UsageError

from .progress_runs import Clock, Endless, Shown, Validated, batches, make_trainer, passing
from .terminal import Terminal


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_the_last_epoch_stays(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    trainer = make_trainer(tmp_path, TQDMProgressBar(), max_epochs=3, num_sanity_val_steps=1)
    with terminal.in_use():
        trainer.fit(passing(clock, 9.0, Validated), batches(2), batches(2))
    line = terminal.lines[0]
    assert line.startswith("Epoch 2/2: 100%|")
    assert "| 2/2 [00:00<00:00, " in line
    assert line.endswith("it/s, loss_step=2.25, score=0.5, loss_epoch=2.25]")
    assert terminal.lines[1:] == []


def test_with_leave_every_epoch_stays(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    with terminal.in_use():
        make_trainer(tmp_path, TQDMProgressBar(leave=True), max_epochs=3).fit(
            passing(clock, 9.0, Shown), batches(2)
        )
    assert [line[:9] for line in terminal.lines] == ["Epoch 0/2", "Epoch 1/2", "Epoch 2/2"]


def test_validation_is_shown_below_and_goes(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    seen: list[list[str]] = []
    module = passing(clock, 9.0, Validated, lambda name, index: seen.append([name, *terminal.lines]))
    with terminal.in_use():
        make_trainer(tmp_path, TQDMProgressBar(), num_sanity_val_steps=1).fit(module, batches(2), batches(3))
    assert seen[0][1].startswith("Sanity Checking:   0%|")
    name, training, validation = seen[-1]
    assert name == "validation"
    assert training.startswith("Epoch 0/0: 100%|")
    assert validation.startswith("Validation:  67%|")
    assert [line[:9] for line in terminal.lines] == ["Epoch 0/0"]


def test_evaluations_stay(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    trainer = make_trainer(tmp_path, TQDMProgressBar())
    with terminal.in_use():
        trainer.validate(passing(clock, 9.0, Validated), batches(2), verbose=False)
        trainer.test(passing(clock, 9.0, Validated), [batches(3), batches(1)], verbose=False)
        trainer.predict(passing(clock, 9.0, Validated), batches(4))
    assert [line.split("|")[0] for line in terminal.lines] == [
        "Validation: 100%",
        "Testing: 100%",
        "Predicting: 100%",
    ]
    assert [line.split("|")[2].split()[0] for line in terminal.lines] == ["2/2", "4/4", "4/4"]


def test_prints_and_messages_are_above_the_bar(
    tmp_path: Path, terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    class Talking(Shown):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.print("batch", batch_idx, sep=": ", flush=True)
            info("a message")
            return super().training_step(batch, batch_idx)

    bar = TQDMProgressBar()
    with terminal.in_use():
        make_trainer(tmp_path, bar).fit(passing(clock, 9.0, Talking), batches(2))
        bar.print("after", "all", sep="-")
    assert terminal.lines[:4] == ["batch: 0", "a message", "batch: 1", "a message"]
    assert terminal.lines[4].startswith("Epoch 0/0: 100%|")
    assert terminal.lines[-1] == "after-all"


def test_no_thread_watches(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    threads: set[str] = set()
    module = Shown(
        lambda name, index: threads.update(type(thread).__name__ for thread in threading.enumerate())
    )
    with terminal.in_use():
        make_trainer(tmp_path, TQDMProgressBar()).fit(module, batches(2))
    assert "TMonitor" not in threads


def test_unknown_length(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    from torch.utils.data import DataLoader

    loader = DataLoader(Endless(3), batch_size=1)
    trainer = make_trainer(tmp_path, TQDMProgressBar(), max_epochs=-1, max_steps=3)
    with terminal.in_use():
        trainer.fit(passing(clock, 9.0, Shown), loader)
    assert terminal.lines[0].startswith("Epoch 0: ")
    assert "| 3/? [" in terminal.lines[0]


@pytest.mark.parametrize("where", ["train", "validation"])
def test_an_error_leaves_the_terminal_in_order(
    tmp_path: Path,
    terminal: Terminal,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def at(name: str, index: int) -> None:
        if (name, index) == (where, 1):
            raise RuntimeError("broken")

    trainer = make_trainer(tmp_path, TQDMProgressBar())
    with pytest.raises(RuntimeError, match="broken"), terminal.in_use():
        trainer.fit(passing(clock, 9.0, Validated, at), batches(3), batches(3))
    assert terminal.column == 0
    assert [line[:9] for line in terminal.lines] == ["Epoch 0/0"]
    assert not tqdm.tqdm._instances  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    info("to stderr again")
    assert capsys.readouterr().err == "to stderr again\n"


class OwnBars(TQDMProgressBar):
    """Every hook for overriding is overridden."""

    def init_sanity_tqdm(self) -> Any:
        return self._described(super().init_sanity_tqdm(), "sanity")

    def init_train_tqdm(self) -> Any:
        return self._described(super().init_train_tqdm(), "train")

    def init_validation_tqdm(self) -> Any:
        return self._described(super().init_validation_tqdm(), "validation")

    def init_test_tqdm(self) -> Any:
        return self._described(super().init_test_tqdm(), "test")

    def init_predict_tqdm(self) -> Any:
        return self._described(super().init_predict_tqdm(), "predict")

    def _described(self, bar: Any, unit: str) -> Any:
        bar.bar_format = unit + " {n_fmt} of {total_fmt} {postfix}"
        return bar

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        return {"mine": len(super().get_metrics(trainer, pl_module))}


def test_own_bars(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    seen: list[list[str]] = []
    module = passing(clock, 9.0, Validated, lambda name, index: seen.append(terminal.lines))
    trainer = make_trainer(tmp_path, OwnBars(), num_sanity_val_steps=2)
    with terminal.in_use():
        trainer.fit(module, batches(1), batches(2))
    assert seen[1] == ["sanity 1 of 2"]
    assert seen[-1] == ["train 1 of 1 , mine=1", "validation 1 of 2"]
    with terminal.in_use():
        trainer.validate(module, batches(2), verbose=False)
        trainer.test(module, batches(2), verbose=False)
        trainer.predict(module, batches(2))
    assert terminal.lines == [
        "train 1 of 1 , mine=3",
        "validation 2 of 2",
        "test 2 of 2",
        "predict 2 of 2",
    ]


def test_a_bar_that_is_switched_off(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    class NoValidation(TQDMProgressBar):
        def init_validation_tqdm(self) -> Any:
            return Tqdm(disable=True)

    with terminal.in_use():
        make_trainer(tmp_path, NoValidation()).fit(passing(clock, 9.0, Validated), batches(2), batches(2))
    assert "Validation" not in terminal.written
    assert "Epoch 0/0" in terminal.written


def test_bars_are_at_hand_in_hooks(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    seen: list[Any] = []

    class Looking(TQDMProgressBar):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            super().on_train_start(trainer, pl_module)
            self.train_progress_bar = Tqdm(disable=True)
            seen.append(self.train_progress_bar)

        def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            super().on_validation_start(trainer, pl_module)
            self.val_progress_bar.set_description("mine")
            seen.append(self.val_progress_bar)

    bar = Looking()
    with pytest.raises(UsageError, match="train_progress_bar"):
        _ = bar.train_progress_bar
    with terminal.in_use():
        make_trainer(tmp_path, bar).fit(passing(clock, 9.0, Validated), batches(2), batches(2))
    assert seen[0].disable
    assert seen[1].desc == "Validation: "  # of the run, from the first drawing on
    assert seen[1].total == 2


def test_position_leaves_lines_free(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    bar = TQDMProgressBar(process_position=2)
    positions: list[int] = []

    def at(name: str, index: int) -> None:
        own = bar.train_progress_bar if name == "train" else bar.val_progress_bar
        positions.append(abs(own.pos))

    with terminal.in_use():
        make_trainer(tmp_path, bar).fit(passing(clock, 9.0, Validated, at), batches(1), batches(1))
    assert positions == [4, 5]
    assert bar.process_position == 2


def test_names_that_scripts_import() -> None:
    assert issubclass(Tqdm, tqdm.tqdm)
    assert convert_inf(math.inf) is None
    assert convert_inf(math.nan) is None
    assert convert_inf(None) is None
    assert convert_inf(3) == 3
