"""Progress as lines of text: for files, pipes, dumb terminals, and where only torch is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fulmen.callbacks.progress.drawing import Bar, DrawnProgressBar
from fulmen.callbacks.progress.meter import Meter, format_metrics
from fulmen.engine.states import RunningStage

_LINE_EVERY_S = 30.0


class PlainBar(Bar):
    """Prints a line at the end of a pass over the data, if it `stays`, and one every 30 seconds before."""

    def __init__(self, *, stays: bool) -> None:
        self._stays = stays
        self._description = ""
        self._meter = Meter(0, 0)
        self._next_line_s = _LINE_EVERY_S

    def restart(self, description: str, total: float, done: int | None) -> None:
        self._description = description
        self._meter = Meter(total, done)
        self._next_line_s = _LINE_EVERY_S

    def draw(self, done: int, metrics: Mapping[str, Any]) -> None:
        self._meter.note(done)
        if self._meter.active_s >= self._next_line_s and done < self._meter.total:
            self._next_line_s = self._meter.active_s + _LINE_EVERY_S
            self._print(f"{self._meter.elapsed_text}<{self._meter.remaining_text}", metrics)

    def finish(self, done: int, metrics: Mapping[str, Any]) -> None:
        self._meter.note(done)
        if self._stays:
            self._print(self._meter.elapsed_text, metrics)

    def _print(self, time: str, metrics: Mapping[str, Any]) -> None:
        pace = f"{self._meter.count_text} [{time}, {self._meter.rate_text}]"
        print(f"{self._description}: {pace} {format_metrics(metrics, '=', ', ')}".rstrip(), flush=True)

    def pause(self, done: int) -> None:
        self._meter.note(done)

    def resume(self) -> None:
        self._meter.resume()

    def close(self) -> None:
        pass


class PlainProgressBar(DrawnProgressBar):
    """Prints a line per epoch, and more of them in long epochs; needs no other package."""

    def __init__(self, refresh_rate: int = 1) -> None:
        super().__init__(refresh_rate)

    def _open(self, stage: RunningStage, *, stays: bool) -> Bar:
        return PlainBar(stays=stays)
