"""Runs with random settings, saved at any moment and taken up again: the rest is the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

import fulmen as pl
from fulmen.core.logger import Logger

from ...fixtures.random_runs import Settings, random_settings, run

COUNT = 60


class Saves(pl.Callback):
    """Saves whenever a hook is called, and remembers how much had been noted by then."""

    monitors_metrics = True
    saves_checkpoints = True

    def __init__(self, hook: str, folder: Path) -> None:
        self.folder = folder
        self.saved: list[tuple[Path, int, int]] = []
        setattr(self, hook, self.save)

    def save(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        if trainer.state.fn == "fit" and not trainer.accumulating:
            path = self.folder / f"{len(self.saved)}.ckpt"
            trainer.save_checkpoint(path)
            notes, rows = pl_module.noted
            self.saved.append((path, len(notes), len(rows)))


def calm(settings: Settings) -> Settings:
    """Without what is not repeated by a run that is taken up: the sanity check, and a request to stop."""
    return replace(settings, stop=None, options=settings.options | {"num_sanity_val_steps": 0})


def plain(outcome: Any) -> Any:
    return json.loads(json.dumps(outcome))


def first_difference(rest: Sequence[Any], whole: Sequence[Any]) -> str | None:
    for index, (own, other) in enumerate(zip_longest(rest, whole)):
        if own != other:
            return f"{index}: {own}, uninterrupted {other}"
    return None


def steps(notes: Sequence[Any]) -> list[Any]:
    """All but the end of training, which a run with nothing left to do does not have."""
    return [note for note in notes if note[0] != "train end"]


@pytest.mark.filterwarnings("ignore:.*validation_step:UserWarning")
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_end", "on_train_epoch_end"])
@pytest.mark.parametrize("settings", [*map(calm, random_settings(5, COUNT))], ids=range(COUNT))
def test_resume_anywhere(settings: Settings, hook: str, tmp_path: Path) -> None:
    saves = Saves(hook, tmp_path)
    whole = plain(run(settings, pl, Logger, tmp_path, callbacks=[saves]))
    for path, notes, rows in dict.fromkeys([*saves.saved[:2], *saves.saved[-2:]]):
        rest = plain(run(settings, pl, Logger, tmp_path, ckpt_path=path))
        assert first_difference(steps(rest["notes"]), steps(whole["notes"][notes:])) is None, path.name
        assert first_difference(rest["rows"], whole["rows"][rows:]) is None, path.name
        for part in ("position", "metrics", "weight", "rate", "returned"):
            assert rest.get(part) == whole.get(part), (path.name, part)
