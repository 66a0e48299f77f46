"""When training ends early, and what the user is told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from fulmen.base.report import FulmenWarning
from fulmen.callbacks import EarlyStopping, ModelCheckpoint
from fulmen.callbacks.early_stopping import EarlyStoppingReason
from fulmen.errors import ConfigError, MetricNotFoundError

from .scenarios import Scripted, batches, fit, make_trainer

NAN, INF = float("nan"), float("inf")
Reason = EarlyStoppingReason


def stop(
    root: Path, losses: tuple[float, ...], arguments: dict[str, Any], **options: Any
) -> tuple[int, EarlyStopping]:
    """How many epochs a run with these validation losses has, and its callback."""
    stopping = EarlyStopping(**({"monitor": "val_loss", "patience": 1} | arguments))
    trainer = fit(root, stopping, module=Scripted(losses), **({"max_epochs": len(losses)} | options))
    return trainer.current_epoch, stopping


@pytest.mark.parametrize(
    ("losses", "arguments", "epochs", "reason", "best"),
    [
        ((3, 2, 2.5, 2.4, 1), {}, 3, Reason.PATIENCE_EXHAUSTED, 2),
        ((3, 2, 2.5, 1, 1.5, 0), {"patience": 2}, 6, Reason.NOT_STOPPED, 0),
        ((3, 2, 2, 1), {"patience": 0}, 3, Reason.PATIENCE_EXHAUSTED, 2),
        ((3, 2.95, 2.95, 2.85), {"min_delta": 0.1, "patience": 2}, 3, Reason.PATIENCE_EXHAUSTED, 3),
        ((3, 2.95, 2.85, 2.8), {"min_delta": 0.1, "patience": 2}, 4, Reason.NOT_STOPPED, 2.85),
        ((3, 3.05, 3.2), {"min_delta": 0.1, "mode": "max"}, 2, Reason.PATIENCE_EXHAUSTED, 3),
        ((3, 3.2, 3.4), {"min_delta": 0.1, "mode": "max"}, 3, Reason.NOT_STOPPED, 3.4),
        ((3, NAN, 1), {}, 2, Reason.NON_FINITE_METRIC, 3),
        ((3, -INF, 1), {}, 2, Reason.NON_FINITE_METRIC, 3),
        ((3, NAN, NAN, 1), {"check_finite": False, "patience": 2}, 3, Reason.PATIENCE_EXHAUSTED, 3),
        ((3, 2, 1), {"stopping_threshold": 2.5}, 2, Reason.STOPPING_THRESHOLD, 3),
        ((3, 2, 2.1), {"stopping_threshold": 2, "patience": 2}, 3, Reason.NOT_STOPPED, 2),
        ((3, 4, 5), {"stopping_threshold": 3.5, "mode": "max"}, 2, Reason.STOPPING_THRESHOLD, 3),
        ((3, 4, 5), {"divergence_threshold": 3.5, "patience": 5}, 2, Reason.DIVERGENCE_THRESHOLD, 3),
        (
            (3, 2, 5),
            {"divergence_threshold": 2.5, "patience": 5, "mode": "max"},
            2,
            Reason.DIVERGENCE_THRESHOLD,
            3,
        ),
    ],
)
def test_epochs(
    losses: tuple[float, ...],
    arguments: dict[str, Any],
    epochs: int,
    reason: EarlyStoppingReason,
    best: float,
    tmp_path: Path,
) -> None:
    """The numbers are those of Lightning 2.6."""
    seen, stopping = stop(tmp_path, losses, arguments)
    assert seen == epochs
    assert stopping.stopping_reason is reason
    assert float(stopping.best_score) == pytest.approx(best)
    if reason is not Reason.NOT_STOPPED:
        assert stopping.stopped_epoch == epochs - 1


def test_wait_count(tmp_path: Path) -> None:
    _, stopping = stop(tmp_path, (3, 4, 5), {"patience": 5})
    assert stopping.wait_count == 2


@pytest.mark.parametrize(
    ("options", "arguments", "updates"),
    [
        ({"val_check_interval": 0.5}, {}, 4),
        ({"val_check_interval": 0.5}, {"check_on_train_epoch_end": True}, 8),
        ({"check_val_every_n_epoch": 2}, {}, 16),
        ({}, {"check_on_train_epoch_end": False}, 8),
        ({"check_val_every_n_epoch": 2, "limit_val_batches": 0}, {"monitor": "train_loss"}, 8),
        ({"min_epochs": 4}, {}, 16),
        ({"fast_dev_run": True}, {"monitor": "nobody logs this"}, 1),
    ],
)
def test_where_it_checks(
    options: dict[str, Any], arguments: dict[str, Any], updates: int, tmp_path: Path
) -> None:
    """With a value that only gets worse and a patience of 1, the second check ends training."""
    stopping = EarlyStopping(**({"monitor": "val_loss", "patience": 1} | arguments))
    trainer = fit(tmp_path, stopping, module=Scripted((3, 4, 5, 6, 7, 8)), **({"max_epochs": 6} | options))
    assert trainer.global_step == updates


def test_validation_outside_of_training_is_not_looked_at(tmp_path: Path) -> None:
    stopping = EarlyStopping("nobody logs this", check_on_train_epoch_end=False)
    make_trainer(tmp_path, stopping).validate(Scripted([1.0]), batches(1), verbose=False)
    assert stopping.wait_count == 0


def test_the_sanity_check_is_not_looked_at(tmp_path: Path) -> None:
    stopping = EarlyStopping("val_loss", check_on_train_epoch_end=False)
    fit(tmp_path, stopping, module=Scripted([1.0]), num_sanity_val_steps=1, max_epochs=1)
    assert stopping.wait_count == 0
    assert stopping.best_score == 1.0


def test_a_name_that_nobody_logs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MetricNotFoundError, match=r"(?s)'val_los'.*'train_loss'.*did you mean 'val_loss'"):
        fit(tmp_path, EarlyStopping("val_los"))


def test_a_name_that_nobody_logs_is_a_warning_where_asked_for(tmp_path: Path) -> None:
    with pytest.warns(FulmenWarning, match="'val_los'") as caught:
        trainer = fit(tmp_path, EarlyStopping("val_los", strict=False))
    assert trainer.current_epoch == 3
    assert len(caught) == 1


def test_the_user_is_told_why(tmp_path: Path) -> None:
    _, stopping = stop(tmp_path, (3, 2, 2.5), {})
    assert stopping.stopping_reason_message == "val_loss did not improve on 2 in the last check"
    _, stopping = stop(tmp_path, (3, NAN), {})
    assert stopping.stopping_reason_message == "val_loss = nan is not finite; the best value was 3"


def test_verbose_tells_of_improvements(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fulmen"):
        stop(tmp_path, (3, 2), {"verbose": True})
    assert "val_loss = 2 is the best value so far" in caplog.messages


def test_state_in_the_checkpoint(tmp_path: Path) -> None:
    """Keys and types as Lightning's, so that each can read the other's."""
    stopping = EarlyStopping("val_loss", patience=2)
    fit(tmp_path, stopping, ModelCheckpoint(tmp_path, filename="x"), module=Scripted((3, 4, 5)))
    state = torch.load(tmp_path / "x.ckpt", weights_only=True)["callbacks"]
    assert state["EarlyStopping{'monitor': 'val_loss', 'mode': 'min'}"] == {
        "wait_count": 2,
        "stopped_epoch": 2,
        "best_score": torch.tensor(3.0),
        "patience": 2,
        "stopping_reason": 3,
        "stopping_reason_message": "val_loss did not improve on 3 in the last 2 checks",
    }


def test_a_state_of_older_versions_holds_no_reason() -> None:
    stopping = EarlyStopping("x", patience=5)
    state = {"wait_count": 2, "stopped_epoch": 0, "best_score": torch.tensor(3.0), "patience": 3}
    stopping.load_state_dict(state)
    assert (stopping.wait_count, stopping.best_score, stopping.stopping_reason) == (
        2,
        3.0,
        Reason.NOT_STOPPED,
    )
    assert stopping.patience == 5  # what this run was asked for


def test_a_resumed_run_waits_no_longer_than_the_uninterrupted_one(tmp_path: Path) -> None:
    losses = (3, 4, 5, 6, 7)
    fit(tmp_path, EarlyStopping("val_loss"), ModelCheckpoint(tmp_path, filename="x"), module=Scripted(losses),
        max_epochs=2)  # fmt: skip
    stopping = EarlyStopping("val_loss")
    trainer = make_trainer(tmp_path, stopping, max_epochs=5)
    trainer.fit(Scripted(losses[2:]), batches(), batches(1), ckpt_path=tmp_path / "x.ckpt")
    assert trainer.current_epoch == 4
    assert stopping.best_score == 3.0


@pytest.mark.parametrize(
    "arguments",
    [{"mode": "best"}, {"patience": -1}, {"monitor": 1}],
    ids=lambda arguments: next(iter(arguments)),
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        EarlyStopping(**{"monitor": "x", **arguments})
