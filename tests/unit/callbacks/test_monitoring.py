"""What the callbacks that follow a logged value have in common."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fulmen.callbacks.monitoring import is_better, metric_not_found, read_score, worst_score

NAN = float("nan")


@pytest.mark.parametrize(
    ("a", "b", "mode", "better"),
    [
        (1.0, 2.0, "min", True),
        (2.0, 1.0, "min", False),
        (1.0, 1.0, "min", False),
        (2.0, 1.0, "max", True),
        (1.0, 1.0, "max", False),
        (NAN, 1.0, "min", False),
        (NAN, 1.0, "max", False),
    ],
)
def test_which_is_better(a: float, b: float, mode: str, better: bool) -> None:
    assert is_better(a, b, mode) is better
    assert is_better(torch.tensor(a), torch.tensor(b), mode) is better


@pytest.mark.parametrize("mode", ["min", "max"])
def test_everything_finite_beats_the_worst(mode: str) -> None:
    for score in (-1e30, 0.0, 1e30):
        assert is_better(score, worst_score(mode), mode)
    assert not is_better(worst_score(mode), worst_score(mode), mode)


def test_all_ranks_go_by_the_value_of_rank_0() -> None:
    strategy = SimpleNamespace(broadcast=lambda score: torch.tensor(7.0))
    trainer: Any = SimpleNamespace(strategy=strategy)
    assert read_score(trainer, torch.tensor(1.0)) == 7.0


def test_a_score_is_a_copy() -> None:
    """What it was read from may go on changing."""
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(broadcast=lambda score: score))
    value = torch.tensor(1.0)
    score = read_score(trainer, value)
    value += 1
    assert score == 1.0
    assert read_score(trainer, 3) == 3


def test_the_error_lists_what_there_is() -> None:
    text = str(metric_not_found("val_los", ["val_loss", "acc"], "EarlyStopping"))
    assert "EarlyStopping" in text
    assert "'acc', 'val_loss'" in text
    assert "did you mean 'val_loss'?" in text


def test_the_error_says_what_to_write_where_nothing_is_similar() -> None:
    assert "self.log('val_loss', value)" in str(metric_not_found("val_loss", [], "EarlyStopping"))
