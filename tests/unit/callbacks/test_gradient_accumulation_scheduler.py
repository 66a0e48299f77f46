"""Accumulation that changes from epoch to epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fulmen.callbacks import GradientAccumulationScheduler, LambdaCallback, ModelCheckpoint
from fulmen.errors import ConfigError

from .scenarios import Scripted, batches, fit, make_trainer


def test_updates_per_epoch(tmp_path: Path) -> None:
    """Four batches per epoch, over 1, 2, 4 and 4 of which gradients are accumulated."""
    seen: list[tuple[int, int]] = []

    def note(trainer: Any, module: Any) -> None:
        seen.append((trainer.accumulate_grad_batches, trainer.global_step))

    fit(
        tmp_path,
        GradientAccumulationScheduler({2: 4, 1: 2}),
        LambdaCallback(on_train_epoch_end=note),
        max_epochs=4,
    )
    assert seen == [(1, 4), (2, 6), (4, 7), (4, 8)]


def test_a_run_resumed_in_the_middle_of_an_epoch_accumulates_as_before(tmp_path: Path) -> None:
    schedule = {0: 1, 1: 2}
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=5, filename="x")
    fit(tmp_path, GradientAccumulationScheduler(schedule), saver, max_epochs=2)
    trainer = make_trainer(tmp_path, GradientAccumulationScheduler(schedule), max_epochs=2)
    trainer.fit(Scripted(), batches(), batches(1), ckpt_path=tmp_path / "x.ckpt")
    assert trainer.global_step == 6


def test_a_second_fit_begins_again(tmp_path: Path) -> None:
    scheduler = GradientAccumulationScheduler({1: 4})
    assert fit(tmp_path, scheduler, max_epochs=2).global_step == 5
    assert fit(tmp_path, scheduler, max_epochs=2).global_step == 5


def test_what_it_tells() -> None:
    given = {3: 4}
    scheduler = GradientAccumulationScheduler(given)
    assert [scheduler.get_accumulate_grad_batches(epoch) for epoch in (0, 2, 3, 9)] == [1, 1, 4, 4]
    assert scheduler.epochs == [0, 3]
    assert scheduler.going_to_accumulate_grad_batches()
    assert not GradientAccumulationScheduler({0: 1}).going_to_accumulate_grad_batches()
    assert given == {3: 4}


@pytest.mark.parametrize(
    "scheduling",
    [{}, None, [1], 5, {-1: 2}, {0: 0}, {"0": 1}, {0: 1.5}, {0.5: 1}, {0: "a"}, {True: 1}],
    ids=repr,
)
def test_schedules_that_make_no_sense(scheduling: Any) -> None:
    with pytest.raises(ConfigError):
        GradientAccumulationScheduler(scheduling)


def test_not_together_with_the_argument_of_the_trainer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="accumulate_grad_batches=3"):
        fit(tmp_path, GradientAccumulationScheduler({1: 2}), accumulate_grad_batches=3)


def test_not_with_manual_optimization(tmp_path: Path) -> None:
    module = Scripted()
    module.automatic_optimization = False
    with pytest.raises(ConfigError, match="manual optimization"):
        fit(tmp_path, GradientAccumulationScheduler({1: 2}), module=module)
