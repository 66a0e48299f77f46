"""Wherever a training is killed, and however often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint

from .journal import Journal
from .law import Case, Killed, Moment, Trace, after, assert_law, train

PLAIN = Case("plain")

EVERYWHERE = [
    Moment("on_train_epoch_start", 0),
    Moment("on_train_batch_start", 0),
    after(1),
    Moment("on_train_batch_start", 3),
    after(3),
    after(3, by_a_plain_callback=True),
    after(3, survives=1),
    after(3, survives=5),
    after(5),
    Moment("on_validation_start", 5),
    Moment("on_validation_batch_end", 5),
    Moment("on_validation_end", 5),
    Moment("on_train_epoch_end", 5, by_a_plain_callback=True),
    Moment("on_train_epoch_end", 5),
    Moment("on_train_epoch_end", 5, survives=2),
    Moment("on_train_epoch_start", 5),
    Moment("on_train_batch_start", 5),
    after(6),
    after(9),
    after(10),
    Moment("on_train_epoch_end", 10),
]


@pytest.mark.parametrize("moment", EVERYWHERE, ids=str)
def test_at_any_moment(moment: Moment) -> None:
    assert_law(PLAIN, moment)


def test_killed_before_its_first_checkpoint(tmp_path: Path) -> None:
    """The next process begins anew, in the same folder: what the first one logged is not there twice."""

    def start(folder: Path, *, dies: bool) -> Trace:
        case = Case(
            "auto",
            callbacks=lambda folder: [
                *([Dies()] if dies else []),
                ModelCheckpoint(folder, every_n_train_steps=4),
            ],
        )
        case.seed()
        return train(case, folder, Journal(), ckpt_path="auto")

    whole = start(tmp_path / "whole", dies=False)
    with pytest.raises(Killed):
        start(tmp_path / "killed", dies=True)
    found = start(tmp_path / "killed", dies=False)
    assert found.events == whole.events
    assert found.end["files"] == whole.end["files"]


class Dies(pl.Callback):
    """After three batches."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 3:
            raise Killed
