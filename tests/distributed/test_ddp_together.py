"""What one process decides, all do: at the same step, and nobody waits for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import fulmen as pl

from .ranks import Ranks
from .test_ddp import QUIET, Regression, loader_of

STEPS = 16


class Asks(pl.Callback):
    """Asks, on one rank, to stop in a hook, or when a step is done."""

    def __init__(self, where: str, step: int = 0) -> None:
        self.where, self.step = where, step

    def _ask(self, trainer: pl.Trainer, where: str) -> None:
        if trainer.global_rank == 1 and where == self.where and trainer.global_step >= self.step:
            trainer.stop("enough")

    def on_fit_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self._ask(trainer, "on_fit_start")

    def on_train_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self._ask(trainer, "on_train_start")

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self._ask(trainer, "on_train_batch_end")

    def on_train_epoch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self._ask(trainer, "on_train_epoch_end")

    def on_validation_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if not trainer.sanity_checking:
            self._ask(trainer, "on_validation_end")


class Validates(Regression):
    """Remembers after which step it was validated."""

    def __init__(self) -> None:
        super().__init__()
        self.validated_after: list[int] = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.validated_after.append(self.global_step)


def stopped(rank: int, where: str, step: int, options: dict[str, Any]) -> Any:
    module = Validates()
    trainer = pl.Trainer(devices=2, callbacks=[Asks(where, step)], **QUIET, **options)
    result: Any = trainer.fit(module, loader_of("in order", 2 * STEPS, 1), loader_of("in order", 4, 1))
    return trainer.global_step, trainer.should_stop, result.stopped_because, module.validated_after


@pytest.mark.parametrize(
    ("where", "step", "options", "expected"),
    [
        ("on_fit_start", 0, {}, 0),
        ("on_train_start", 0, {}, 0),
        ("on_validation_end", 4, {"val_check_interval": 4}, 4),
        ("on_train_epoch_end", 0, {}, STEPS),
        ("on_train_epoch_end", 0, {"min_epochs": 2}, 2 * STEPS),
        ("on_train_epoch_end", 0, {"min_steps": 20}, 20),
    ],
)
def test_what_one_asks_for_all_do(
    where: str, step: int, options: dict[str, Any], expected: int, two_ranks: Ranks
) -> None:
    first, second = two_ranks(stopped, where, step, {"max_epochs": 4, **options})
    assert first == second
    assert first[:3] == (expected, True, "enough")


def test_what_one_asks_for_in_mid_epoch_all_do_at_the_same_step(two_ranks: Ranks) -> None:
    first, second = two_ranks(stopped, "on_train_batch_end", 3, {"max_epochs": 10000})
    assert first == second
    assert first[0] >= 3
    assert first[1:3] == (True, "enough")


def timed(rank: int, fast_rank: int, what: str, epochs: int) -> Any:
    """On one rank the time passes much faster than on the other."""
    is_fast = rank == fast_rank
    module = Validates()
    options: dict[str, Any] = {"max_time": timedelta(seconds=0.3) if is_fast else timedelta(days=4)}
    if what == "validation":
        interval = timedelta(microseconds=1) if is_fast else timedelta(hours=1)
        options = {"val_check_interval": interval, "check_val_every_n_epoch": None}
    trainer = pl.Trainer(devices=2, max_epochs=epochs, log_every_n_steps=2, **QUIET, **options)
    trainer.fit(module, loader_of("in order", 2 * STEPS, 1), loader_of("in order", 4, 1))
    return trainer.global_step, module.validated_after


def test_validations_by_time_follow_the_clock_of_rank_0(two_ranks: Ranks) -> None:
    first, second = two_ranks(timed, 0, "validation", 1)
    assert first == second
    assert first[1]
    assert two_ranks(timed, 1, "validation", 1) == [(STEPS, [])] * 2


def test_a_time_limit_follows_the_clock_of_rank_0(two_ranks: Ranks) -> None:
    first, second = two_ranks(timed, 0, "limit", 100000)
    assert first == second
    assert [step for step, _ in two_ranks(timed, 1, "limit", 1)] == [STEPS, STEPS]
