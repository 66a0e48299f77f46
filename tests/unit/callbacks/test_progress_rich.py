"""What rich's bar shows in a terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import fulmen as pl
from fulmen.callbacks import RichProgressBar, RichProgressBarTheme

from .progress_runs import Clock, Shown, Validated, batches, make_trainer, passing
from .terminal import Terminal

TERMINAL = {"force_terminal": True, "legacy_windows": False, "color_system": None}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def bar_in(terminal: Terminal, *, width: int = 120, **arguments: Any) -> RichProgressBar:
    return RichProgressBar(console_kwargs={**TERMINAL, "file": terminal, "width": width}, **arguments)


def texts(line: str) -> list[str]:
    """The words beside the bar itself."""
    return [word for word in line.split() if not set(word) <= set("━╸╺•")]


def test_the_last_epoch_stays(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    trainer = make_trainer(tmp_path, bar_in(terminal), max_epochs=3, num_sanity_val_steps=1)
    trainer.fit(passing(clock, 9.0, Validated), batches(2), batches(2))
    (line,) = terminal.lines
    assert texts(line)[:3] == ["Epoch", "2/2", "2/2"]
    assert line.endswith("it/s loss_step: 2.250 score: 0.500 loss_epoch: 2.250")
    assert terminal.shows_cursor


def test_with_leave_every_epoch_stays(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    make_trainer(tmp_path, bar_in(terminal, leave=True), max_epochs=3).fit(
        passing(clock, 9.0, Shown), batches(2)
    )
    assert [texts(line)[:3] for line in terminal.lines] == [["Epoch", f"{e}/2", "2/2"] for e in range(3)]


def test_validation_is_shown_below_and_goes(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    seen: list[list[str]] = []
    module = passing(clock, 9.0, Validated, lambda name, index: seen.append([name, *terminal.lines]))
    make_trainer(tmp_path, bar_in(terminal)).fit(module, batches(2), batches(3))
    name, training, validation = seen[-1]
    assert name == "validation"
    assert texts(training)[:3] == ["Epoch", "0/0", "2/2"]
    assert texts(validation)[:2] == ["Validation", "2/3"]
    assert len(terminal.lines) == 1


def test_sanity_check_is_shown_and_goes(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    seen: list[list[str]] = []
    module = passing(clock, 9.0, Validated, lambda name, index: seen.append(terminal.lines))
    trainer = make_trainer(tmp_path, bar_in(terminal), num_sanity_val_steps=2)
    trainer.fit(module, batches(1), batches(3))
    assert [texts(line)[:3] for line in seen[1]] == [["Sanity", "Checking", "1/2"]]
    assert not any("Sanity" in line for line in terminal.lines)


def test_evaluations_stay(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    trainer = make_trainer(tmp_path, bar_in(terminal))
    trainer.validate(passing(clock, 9.0, Validated), batches(2), verbose=False)
    trainer.test(passing(clock, 9.0, Validated), batches(3), verbose=False)
    trainer.predict(passing(clock, 9.0, Validated), batches(4))
    assert [texts(line)[:2] for line in terminal.lines] == [
        ["Validation", "2/2"],
        ["Testing", "3/3"],
        ["Predicting", "4/4"],
    ]


def test_prints_are_above_the_bar(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    class Talking(Shown):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.print("list", [1, 2], "[red]", sep="; ")
            print("bare")
            print("error", file=sys.stderr)
            return super().training_step(batch, batch_idx)

    make_trainer(tmp_path, bar_in(terminal)).fit(passing(clock, 9.0, Talking), batches(1))
    assert terminal.lines[:2] == ["list; [1, 2]; [red]", "bare"]
    assert texts(terminal.lines[-1])[:2] == ["Epoch", "0/0"]


def test_what_rich_prints_itself_is_above_the_bar(
    tmp_path: Path, terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rich
    from rich.console import Console

    console = Console(file=terminal, width=120, force_terminal=True, legacy_windows=False, color_system=None)
    monkeypatch.setattr(rich, "_console", console)
    module = passing(clock, 9.0, Shown, lambda name, index: rich.print("[bold]loud[/]"))
    make_trainer(tmp_path, RichProgressBar()).fit(module, batches(2))
    assert terminal.lines[:2] == ["loud", "loud"]
    assert len(terminal.lines) == 3


def test_print_takes_what_rich_and_python_take(terminal: Terminal, capsys: pytest.CaptureFixture) -> None:
    from rich.panel import Panel

    bar = bar_in(terminal)
    bar.print(Panel("in a box"), style="bold")
    assert terminal.lines[1].strip("│ ") == "in a box"
    bar.print("to stderr", file=sys.stderr, flush=True)
    assert capsys.readouterr().err == "to stderr\n"


def test_metrics_without_room_are_below(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    make_trainer(tmp_path, bar_in(terminal, width=60)).fit(passing(clock, 9.0, Shown), batches(2))
    bar, metrics = terminal.lines
    assert texts(bar)[:3] == ["Epoch", "0/0", "2/2"]
    assert len(bar) <= 60
    assert metrics == "loss_step: 0.250 loss_epoch: 0.250"


def test_the_bar_is_shortened_before_metrics_move(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    lengths = {}
    for width in (200, 100):
        screen = Terminal()
        make_trainer(tmp_path, bar_in(screen, width=width)).fit(passing(clock, 9.0, Shown), batches(2))
        (line,) = screen.lines
        lengths[width] = sum(line.count(piece) for piece in "━╸╺")
    assert lengths[200] == 40
    assert 10 <= lengths[100] < 40


def test_unknown_length(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    from torch.utils.data import DataLoader

    from .progress_runs import Endless

    loader = DataLoader(Endless(3), batch_size=1)
    make_trainer(tmp_path, bar_in(terminal), max_epochs=-1, max_steps=3).fit(
        passing(clock, 9.0, Shown), loader
    )
    assert texts(terminal.lines[0])[:3] == ["Epoch", "0", "3/--"]
    assert "-:--:--" in terminal.lines[0]


def test_a_terminal_that_knows_ascii_only(tmp_path: Path, clock: Clock) -> None:
    terminal = Terminal(encoding="ascii")
    make_trainer(tmp_path, bar_in(terminal)).fit(passing(clock, 9.0), batches(2))
    assert terminal.written.isascii()
    assert terminal.lines[0].startswith("Epoch 0/0 ---")


@pytest.mark.parametrize("where", ["train", "validation"])
def test_an_error_leaves_the_terminal_in_order(
    tmp_path: Path, terminal: Terminal, clock: Clock, where: str
) -> None:
    before = sys.stdout, sys.stderr

    def at(name: str, index: int) -> None:
        if (name, index) == (where, 1):
            raise RuntimeError("broken")

    trainer = make_trainer(tmp_path, bar_in(terminal))
    with pytest.raises(RuntimeError, match="broken"):
        trainer.fit(passing(clock, 9.0, Validated, at), batches(3), batches(3))
    assert "\x1b[?25l" in terminal.written  # it was hidden
    assert terminal.shows_cursor
    assert (sys.stdout, sys.stderr) == before
    assert terminal.column == 0
    assert [texts(line)[0] for line in terminal.lines] == ["Epoch"]


def test_theme(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    theme = RichProgressBarTheme(metrics_text_delimiter=" | ", metrics_format=".1e")
    make_trainer(tmp_path, bar_in(terminal, theme=theme)).fit(passing(clock, 9.0, Shown), batches(1))
    assert terminal.lines[0].endswith("loss_step: 2.5e-01 | loss_epoch: 2.5e-01")


def test_own_columns_and_metrics(tmp_path: Path, terminal: Terminal, clock: Clock) -> None:
    class Own(RichProgressBar):
        def configure_columns(self, trainer: pl.Trainer) -> list[Any]:
            from rich.progress import MofNCompleteColumn, TextColumn

            return [
                TextColumn("{task.description}:"),
                MofNCompleteColumn(),
                *super().configure_columns(trainer)[-1:],
            ]

        def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
            return {"mine": super().get_metrics(trainer, pl_module)["loss_step"] * 2}

    class Late(Own):
        def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
            return super().get_metrics(trainer, pl_module) if trainer.progress_bar_metrics else {}

    bar = Late(console_kwargs={**TERMINAL, "file": terminal, "width": 80})
    make_trainer(tmp_path, bar).fit(passing(clock, 9.0, Shown), batches(2))
    assert terminal.lines == ["Epoch 0/0: 2/2 mine: 0.500"]
