"""Samplers that users move forward themselves, as they had to before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader, Sampler

import fulmen as pl
from fulmen.base.report import FulmenWarning
from fulmen.errors import UsageError

from . import feeds
from .journal import Journal
from .nets import Net


class MovesForward(Sampler[int]):
    """Its next pass begins at `start`; says so, or keeps it to itself."""

    def __init__(self, start: int = 0, *, says_so: bool) -> None:
        self.start, self.says_so = start, says_so

    def __len__(self) -> int:
        return 12 - (self.start if self.says_so else 0)

    def __iter__(self) -> Iterator[int]:
        start, self.start = self.start, 0
        return iter(range(start, 12))


def samples_of_a_fit(folder: Path, sampler: MovesForward, **options: Any) -> list[Any]:
    journal = Journal()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[pl.callbacks.ModelCheckpoint(folder, every_n_train_steps=2, save_top_k=-1)],
    )  # fmt: skip
    trainer.fit(Net(journal), DataLoader(feeds.steady(), batch_size=3, sampler=sampler), **options)
    return [event[3] for event in journal.events if event[0] == "batch"]


def test_one_that_is_shorter_now_is_not_skipped_twice(tmp_path: Path) -> None:
    whole = samples_of_a_fit(tmp_path, MovesForward(says_so=True))
    with pytest.warns(FulmenWarning, match=r"has 2 batches, and had 4.*none are skipped"):
        rest = samples_of_a_fit(
            tmp_path, MovesForward(6, says_so=True), ckpt_path=tmp_path / "epoch=0-step=2.ckpt"
        )
    assert rest == whole[2:]


def test_one_that_runs_dry_is_an_error(tmp_path: Path) -> None:
    """It would be an epoch without its second half otherwise."""
    samples_of_a_fit(tmp_path, MovesForward(says_so=False))
    with pytest.raises(UsageError, match=r"(?s)fewer batches than were done.*do not move the sampler"):
        samples_of_a_fit(tmp_path, MovesForward(9, says_so=False), ckpt_path=tmp_path / "epoch=0-step=2.ckpt")
