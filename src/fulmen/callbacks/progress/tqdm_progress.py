"""Progress bars drawn with tqdm."""

from __future__ import annotations

import builtins
import math
import sys
from collections.abc import Mapping
from functools import cache
from time import monotonic
from typing import Any, TextIO

from fulmen.base import environ
from fulmen.base.extras import available, require
from fulmen.base.report import print_messages_with
from fulmen.base.seams import understood
from fulmen.callbacks.progress.drawing import Bar, DrawnProgressBar
from fulmen.callbacks.progress.meter import format_metrics
from fulmen.callbacks.progress.plain_progress import PlainBar
from fulmen.engine.states import RunningStage
from fulmen.errors import UsageError

_SMOOTHING = 0.05  # weight of the latest of ten drawings per second: the rate of some two seconds


def _bar_in_use(name: str) -> Any:
    def find(self: TQDMProgressBar) -> Any:
        if name == "val" and self._evaluating is not None and self._evaluation is None:
            self._open_evaluation()
        if name not in self._bars:
            raise UsageError(f"There is no {name}_progress_bar before that bar is open.")
        return self._bars[name]

    def put(self: TQDMProgressBar, bar: Any) -> None:
        self._bars[name] = bar

    return property(find, put, doc=f"The tqdm object for {name}; set it to show another one.")


class TQDMProgressBar(DrawnProgressBar):
    """Bars of tqdm's; lines of text where there is no terminal.

    Override `init_train_tqdm` and its like to change a bar: each makes a tqdm object; its total is set later.
    `process_position` is the number of lines to leave free above, for bars of other processes.
    """

    BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"

    @understood
    def __init__(self, refresh_rate: int = 1, process_position: int = 0, leave: bool = False) -> None:
        require("tqdm", extra="tqdm")
        super().__init__(refresh_rate, leave)
        self._process_position = process_position
        self._bars: dict[str, Any] = {}

    @property
    def process_position(self) -> int:
        """Lines left free above the bar."""
        return self._process_position

    def init_sanity_tqdm(self) -> Any:
        """The bar for the sanity check."""
        return self._make(self.sanity_check_description, leave=False)

    def init_train_tqdm(self) -> Any:
        """The bar for training."""
        return self._make(self.train_description, leave=True)

    def init_validation_tqdm(self) -> Any:
        """The bar for validation, on its own or during a fit."""
        return self._make(self.validation_description, leave=self._training is None)

    def init_test_tqdm(self) -> Any:
        """The bar for testing."""
        return self._make(self.test_description, leave=True)

    def init_predict_tqdm(self) -> Any:
        """The bar for prediction."""
        return self._make(self.predict_description, leave=True)

    def _make(self, description: str, *, leave: bool) -> Any:
        return tqdm_class()(
            desc=description,
            leave=leave,
            position=2 * self._process_position + (self._training is not None),
            disable=self.is_disabled or not is_interactive(),
            file=sys.stdout,
            dynamic_ncols=True,
            bar_format=self.BAR_FORMAT,
            smoothing=_SMOOTHING,
            mininterval=0,  # when to draw is decided elsewhere
            miniters=0,
        )

    train_progress_bar = _bar_in_use("train")
    val_progress_bar = _bar_in_use("val")
    test_progress_bar = _bar_in_use("test")
    predict_progress_bar = _bar_in_use("predict")

    def _open(self, stage: RunningStage, *, stays: bool) -> Bar:
        make, name = {
            RunningStage.SANITY_CHECKING: (self.init_sanity_tqdm, "val"),
            RunningStage.TRAINING: (self.init_train_tqdm, "train"),
            RunningStage.VALIDATING: (self.init_validation_tqdm, "val"),
            RunningStage.TESTING: (self.init_test_tqdm, "test"),
            RunningStage.PREDICTING: (self.init_predict_tqdm, "predict"),
        }[stage]
        self._bars[name] = make()
        if self._bars[name].disable and not is_interactive():
            return PlainBar(stays=stays)
        print_messages_with(lambda line: tqdm_class().write(line, file=sys.stderr))
        return _TqdmBar(self._bars, name)

    def _close_evaluation(self) -> None:
        super()._close_evaluation()
        if self._training is None:
            print_messages_with(None)

    def _close(self) -> None:
        super()._close()
        self._bars.clear()
        print_messages_with(None)

    def print(
        self, *args: Any, sep: str = " ", end: str = "\n", file: TextIO | None = None, flush: bool = False
    ) -> None:
        """Print above the bar."""
        if self._training is None and self._evaluation is None:
            builtins.print(*args, sep=sep, end=end, file=file, flush=flush)
        else:
            tqdm_class().write(sep.join(map(str, args)), file=file, end=end)


class _TqdmBar(Bar):
    """The tqdm object of this name in `bars`; a user may put another one in its place."""

    def __init__(self, bars: dict[str, Any], name: str) -> None:
        self._bars = bars
        self._name = name
        self._next: tuple[str, float] | None = None
        self._paused_s = 0.0

    def restart(self, description: str, total: float, done: int | None) -> None:
        self._next = (description, total)

    def draw(self, done: int, metrics: Mapping[str, Any]) -> None:
        bar = self._bars[self._name]
        if self._next is not None:
            description, total = self._next
            bar.set_description(description, refresh=False)
            bar.total = None  # reset takes None for "as before"
            bar.reset(convert_inf(total))
            bar.initial = bar.n = bar.last_print_n = done
            self._next = None
        if metrics:
            bar.set_postfix_str(format_metrics(metrics, "=", ", "), refresh=False)
        if not bar.update(done - bar.n):
            bar.refresh()

    def pause(self, done: int) -> None:
        self._paused_s = monotonic()

    def resume(self) -> None:
        bar = self._bars[self._name]
        if not bar.disable:
            away_s = monotonic() - self._paused_s
            bar.start_t += away_s
            bar.last_print_t += away_s

    def close(self) -> None:
        bar = self._bars[self._name]
        if not bar.leave:
            bar.total = bar.n  # notebooks leave an incomplete bar where it is
        bar.close()


def convert_inf(x: float | None) -> float | None:
    """The total that tqdm wants: None where it is unknown."""
    return None if x is None or math.isinf(x) or math.isnan(x) else x


def is_interactive() -> bool:
    """Whether a bar can be drawn over and over in the same place."""
    if _in_notebook():
        return available("ipywidgets")
    return sys.stdout is not None and sys.stdout.isatty() and environ.read("TERM") != "dumb"


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


@cache
def tqdm_class() -> Any:
    """tqdm's class for this process, without the thread that watches over its bars."""
    module = require("tqdm.notebook" if _in_notebook() else "tqdm", extra="tqdm")
    return type("Tqdm", (module.tqdm,), {"monitor_interval": 0})


def __getattr__(name: str) -> Any:
    if name == "Tqdm":  # a class that cannot be made before tqdm is needed
        return tqdm_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
