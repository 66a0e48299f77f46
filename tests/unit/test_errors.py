"""What errors say, and what they can be caught as."""

from __future__ import annotations

import pickle

import pytest

from fulmen.errors import (
    CheckpointError,
    ConfigError,
    DistributedError,
    FulmenError,
    MetricNotFoundError,
    MissingExtra,
    UnknownArgumentError,
    UsageError,
    did_you_mean,
)  # fmt: skip


def test_what_happened_alone() -> None:
    assert str(FulmenError("It broke.")) == "It broke."


def test_everything_that_is_known() -> None:
    error = FulmenError("It broke.", received=3, expected="2", fix="do not")
    assert str(error).splitlines() == ["It broke.", "  received: 3", "  expected: 2", "  fix: do not"]


@pytest.mark.parametrize("received", [0, False, "", []], ids=repr)
def test_what_was_received_may_look_like_nothing(received: object) -> None:
    assert f"received: {received}" in str(FulmenError("It broke.", received=received))


@pytest.mark.parametrize(
    ("error", "caught_as"),
    [
        (UsageError, ()),
        (ConfigError, (UsageError, ValueError)),
        (UnknownArgumentError, (ConfigError, UsageError, ValueError, TypeError)),
        (MetricNotFoundError, (UsageError, RuntimeError)),
        (CheckpointError, (RuntimeError,)),
        (DistributedError, (RuntimeError,)),
        (MissingExtra, (ImportError,)),
    ],
)
def test_what_they_can_be_caught_as(error: type[FulmenError], caught_as: tuple[type[Exception], ...]) -> None:
    for base in (FulmenError, Exception, *caught_as):
        with pytest.raises(base):
            raise error("It broke.")


@pytest.mark.parametrize(
    "error", [FulmenError, ConfigError, CheckpointError, MissingExtra, UnknownArgumentError]
)
def test_they_can_be_sent_to_another_process(error: type[FulmenError]) -> None:
    original = error("It broke.", received=3, fix="do not")
    again = pickle.loads(pickle.dumps(original))
    assert type(again) is error
    assert str(again) == str(original)


@pytest.mark.parametrize(
    ("word", "known", "near"),
    [
        ("max_epoch", ["max_steps", "max_epochs"], "max_epochs"),
        ("val_los", ["val_loss", "train_loss"], "val_loss"),
        ("loss", ["loss"], "loss"),
        ("zzz", ["max_epochs"], None),
        ("x", [], None),
    ],
)
def test_nearest_word(word: str, known: list[str], near: str | None) -> None:
    assert did_you_mean(word, known) == (None if near is None else f"did you mean {near!r}?")
