"""What a run does not use is not there: no listener, and few calls of ours in a training step."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from torch import Tensor

import fulmen as pl
from fulmen.core.hooks import EVENTS
from fulmen.core.module import run_of
from fulmen.loggers import CSVLogger

from .small_runs import Batches, Regression, bare_trainer
from .sources import PACKAGE

MOST_CALLS_PER_STEP = 8
MOST_CALLS_PER_LOGGED_VALUE = 3
PER_BATCH = {
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
}


class Watched(Regression):
    """Notes who listens, and which of our functions are called between one training step and the next."""

    def __init__(self, logged_values: int = 0) -> None:
        super().__init__()
        self.names = [f"value_{index}" for index in range(logged_values)]
        self.listeners: dict[str, tuple[Any, ...]] = {}
        self.calls: list[Counter[str]] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        calls = self.calls
        self.calls = []  # what follows is ours
        run = run_of(self)
        assert run is not None
        self.listeners = {hook.name: getattr(run.hooks, hook.name) for hook in EVENTS}
        self.calls = [*calls, Counter()]
        loss = super().training_step(batch, batch_idx)
        for name in self.names:
            self.log(name, loss)
        return loss

    def note_call(self, frame: FrameType, event: str, argument: Any) -> None:
        path = frame.f_code.co_filename
        if event == "call" and self.calls and path.startswith(str(PACKAGE)):
            self.calls[-1][f"{path.removeprefix(str(PACKAGE))}:{frame.f_code.co_name}"] += 1

    def calls_per_step(self) -> Counter[str]:
        """Those of the quietest step: a flush or a drawing is not in every one."""
        return min(self.calls[1:-1], key=Counter.total)


def fit_watched(module: Watched, trainer: pl.Trainer) -> Counter[str]:
    sys.setprofile(module.note_call)
    try:
        trainer.fit(module, Batches(10))
    finally:
        sys.setprofile(None)
    return module.calls_per_step()


def test_nobody_listens_where_nothing_is_overridden() -> None:
    module = Watched()
    fit_watched(module, bare_trainer())
    assert module.listeners == {hook.name: () for hook in EVENTS}


def test_only_bar_and_checkpoint_listen_to_batches_by_default(tmp_path: Path) -> None:
    module = Watched()
    trainer = pl.Trainer(accelerator="cpu", max_epochs=1, logger=CSVLogger(tmp_path))
    fit_watched(module, trainer)
    assert {name: len(module.listeners[name]) for name in PER_BATCH} == {
        **dict.fromkeys(PER_BATCH, 0),
        "on_train_batch_end": 1,  # one callable calls them both
    }


def test_an_overridden_hook_is_heard() -> None:
    class Listening(Watched):
        def on_before_backward(self, loss: Tensor) -> None: ...

    module = Listening()
    fit_watched(module, bare_trainer())
    assert {name for name, calls in module.listeners.items() if calls} == {"on_before_backward"}


def test_a_step_makes_few_calls() -> None:
    calls = fit_watched(Watched(), bare_trainer())
    assert 0 < calls.total() <= MOST_CALLS_PER_STEP, calls


def test_a_logged_value_makes_few_calls() -> None:
    without = fit_watched(Watched(), bare_trainer())
    with_ten = fit_watched(Watched(logged_values=10), bare_trainer())
    assert (with_ten - without).total() <= 10 * MOST_CALLS_PER_LOGGED_VALUE, with_ten - without
