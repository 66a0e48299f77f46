"""Progress bars drawn with rich."""

from __future__ import annotations

import builtins
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fulmen.base.extras import available, require
from fulmen.callbacks.progress.drawing import Bar, DrawnProgressBar
from fulmen.callbacks.progress.meter import Meter, format_metrics
from fulmen.callbacks.progress.plain_progress import PlainBar
from fulmen.engine.states import RunningStage

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.progress import BarColumn, Progress, ProgressColumn, TaskID
    from rich.style import Style

    from fulmen.trainer import Trainer

_WIDEST_BAR = 40
_NARROWEST_BAR = 10
_TEXTS = ("count", "time", "rate")  # fields of a task, beside its description and the metrics


def _rich(module: str) -> Any:
    return require(module, extra="rich")


@dataclass
class RichProgressBarTheme:
    """Styles, as rich names them, of the parts of the bar; how metrics are separated, and their format."""

    description: str | Style = ""
    progress_bar: str | Style = "#6206E0"
    progress_bar_finished: str | Style = "#6206E0"
    progress_bar_pulse: str | Style = "#6206E0"
    batch_progress: str | Style = ""
    time: str | Style = "dim"
    processing_speed: str | Style = "dim underline"
    metrics: str | Style = "italic"
    metrics_text_delimiter: str = " "
    metrics_format: str = ".3f"


class RichProgressBar(DrawnProgressBar):
    """Coloured bars; lines of text where there is no terminal. rich's Console gets `console_kwargs`."""

    def __init__(
        self,
        refresh_rate: int = 1,
        leave: bool = False,
        theme: RichProgressBarTheme | None = None,
        console_kwargs: dict[str, Any] | None = None,
    ) -> None:
        require("rich", extra="rich")
        super().__init__(refresh_rate, leave)
        self.theme = theme or RichProgressBarTheme()
        self._console_kwargs = console_kwargs or {}
        self._screen: _Screen | None = None

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        """What a bar consists of; override it for other columns of rich's."""
        columns, theme = _rich("rich.progress"), self.theme
        return [
            columns.TextColumn("{task.description}", theme.description, markup=False),
            columns.BarColumn(
                complete_style=theme.progress_bar,
                finished_style=theme.progress_bar_finished,
                pulse_style=theme.progress_bar_pulse,
            ),
            columns.TextColumn("{task.fields[count]}", theme.batch_progress),
            columns.TextColumn("{task.fields[time]}", theme.time),
            columns.TextColumn("{task.fields[rate]}", theme.processing_speed),
            columns.TextColumn("{task.fields[metrics]}", theme.metrics, markup=False),
        ]

    def _open(self, stage: RunningStage, *, stays: bool) -> Bar:
        if self._training is not None and self._screen is not None:
            return _RichBar(self._screen, nested=True)
        console = self._find_console()
        if not (console.is_interactive or (console.is_jupyter and available("ipywidgets"))):
            return PlainBar(stays=stays)
        self._screen = _Screen(console, self.configure_columns(self.trainer), self.theme, stays=stays)
        return _RichBar(self._screen, nested=False)

    def _close(self) -> None:
        super()._close()
        self._screen = None

    def _find_console(self) -> Console:
        if self._screen is not None:
            return self._screen.live.console
        if self._console_kwargs:
            return _rich("rich.console").Console(**self._console_kwargs)
        return _rich("rich").get_console()  # of all, this is the one above whose bars `rich.print` prints

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar: arguments of `print`, or of `rich.console.Console.print`."""
        if self.is_disabled or not kwargs.keys().isdisjoint(("file", "flush")):
            builtins.print(*args, **kwargs)
            return
        is_renderable = _rich("rich.protocol").is_renderable
        as_it_is = {"markup": False, "highlight": False, "soft_wrap": True}
        shown = (arg if is_renderable(arg) else str(arg) for arg in args)
        self._find_console().print(*shown, **{**as_it_is, **kwargs})


class _Screen:
    """The last lines of the terminal, drawn over and over: a row per bar, and metrics without room there."""

    def __init__(
        self, console: Console, columns: list[ProgressColumn], theme: RichProgressBarTheme, *, stays: bool
    ) -> None:
        self.theme = theme
        self.dot = "<" if console.options.ascii_only else "•"
        self.metrics = ""
        progress = _rich("rich.progress")
        self.rows: Progress = progress.Progress(*columns, console=console)  # lays out, and is never started
        kind: type[BarColumn] = progress.BarColumn
        self._bar_columns = [c for c in columns if isinstance(c, kind) and c.bar_width == _WIDEST_BAR]
        self._has_metrics_below = False
        self.live: Live = _rich("rich.live").Live(
            console=console,
            auto_refresh=False,  # no thread: drawn when that is due
            transient=not stays,
            redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),  # a file is not to lose messages
            get_renderable=self._render,
        )
        self.live.start()

    def draw(self) -> None:
        """Fit the rows to the terminal: by a shorter bar, or else with the metrics below; and show them."""
        tasks = self.rows.tasks
        columns = zip(*((t.description, *(t.fields[name] for name in _TEXTS)) for t in tasks), strict=True)
        width = self.live.console.width - len("^C")  # which a terminal shows behind the last line
        room = width - sum(max(map(len, texts)) + 1 for texts in columns)
        self._has_metrics_below = len(self.metrics) + 1 > room - _NARROWEST_BAR
        beside = "" if self._has_metrics_below else self.metrics
        self.rows.update(tasks[0].id, metrics=beside)
        for column in self._bar_columns:
            column.bar_width = max(_NARROWEST_BAR, min(_WIDEST_BAR, room - len(beside) - bool(beside)))
        self.live.refresh()

    def _render(self) -> RenderableType:
        if not self._has_metrics_below:
            return self.rows
        below = _rich("rich.text").Text(self.metrics, self.theme.metrics)
        return _rich("rich.console").Group(self.rows, below)


class _RichBar(Bar):
    """A row of the screen; one that is not nested is what the screen is there for."""

    def __init__(self, screen: _Screen, *, nested: bool) -> None:
        self._screen = screen
        self._nested = nested
        self._task: TaskID | None = None
        self._meter = Meter(0, 0)

    def restart(self, description: str, total: float, done: int | None) -> None:
        self._meter = Meter(total, done)
        self._drop_row()
        self._task = self._screen.rows.add_task(
            description, total=None if math.isinf(total) else total, **dict.fromkeys((*_TEXTS, "metrics"), "")
        )

    def draw(self, done: int, metrics: Mapping[str, Any]) -> None:
        assert self._task is not None
        meter, theme = self._meter, self._screen.theme
        meter.note(done)
        time = f"{meter.elapsed_text} {self._screen.dot} {meter.remaining_text}"
        self._screen.rows.update(
            self._task, completed=done, count=meter.count_text, time=time, rate=meter.rate_text
        )
        if not self._nested:
            delimiter, spec = theme.metrics_text_delimiter, theme.metrics_format
            self._screen.metrics = format_metrics(metrics, ": ", delimiter, spec)
        self._screen.draw()

    def _drop_row(self) -> None:
        if self._task is not None:
            self._screen.rows.remove_task(self._task)

    def pause(self, done: int) -> None:
        self._meter.note(done)

    def resume(self) -> None:
        self._meter.resume()

    def close(self) -> None:
        if self._nested:
            self._drop_row()
        else:
            self._screen.live.stop()
