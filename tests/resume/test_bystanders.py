"""What watches a training leaves the numbers that it draws alone: batches, noise, dropout and weights."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fulmen import callbacks, loggers

from . import feeds
from .journal import Journal, differences
from .law import Case, train
from .nets import Average

Options = Callable[[Path], dict[str, Any]]

ALONE = [
    Case("shuffled", validation=None),
    Case("in workers", partial(feeds.in_workers, persistent_workers=True), validation=None),
    Case("lazy sampler", lambda: feeds.loader(sampler=feeds.DrawnOneByOne(feeds.from_all)), validation=None),
    Case("opaque", feeds.OpaqueBatches, validation=None),
    Case("stream", lambda: feeds.loader(feeds.Stream()), validation=None),
]


def watchers(folder: Path) -> dict[str, Any]:
    """All callbacks that go together."""
    return {
        "callbacks": [
            Average(),
            callbacks.DeviceStatsMonitor(cpu_stats=True),
            callbacks.EarlyStopping("loss_epoch", patience=9),
            callbacks.LambdaCallback(on_train_batch_end=lambda *args: None),
            callbacks.LearningRateMonitor(),
            callbacks.ModelCheckpoint(folder / "saved", every_n_train_steps=1, save_top_k=-1, save_last=True),
            callbacks.ModelSummary(),
            callbacks.OnExceptionCheckpoint(folder),
            callbacks.RichModelSummary(),
            callbacks.Timer(),
        ],
        "logger": loggers.CSVLogger(folder),
        "enable_checkpointing": True,
    }


def two_loggers(folder: Path) -> dict[str, Any]:
    return {"logger": [loggers.CSVLogger(folder), loggers.TensorBoardLogger(folder)], "log_every_n_steps": 1}


def bar(kind: type[callbacks.ProgressBar]) -> Options:
    return lambda folder: {"callbacks": kind(), "enable_progress_bar": True}


BYSTANDERS: dict[str, tuple[Options, dict[str, Any]]] = {
    "loggers": (two_loggers, {}),
    "callbacks": (watchers, {}),
    "rich bar": (bar(callbacks.RichProgressBar), {}),
    "tqdm bar": (bar(callbacks.TQDMProgressBar), {}),
    "plain bar": (bar(callbacks.PlainProgressBar), {}),
    "profiler": (lambda folder: {"profiler": "simple"}, {}),
    "validation": (lambda folder: {}, {"validation": feeds.validation_data}),
    "validation each batch": (
        lambda folder: {"val_check_interval": 1},
        {"validation": feeds.validation_data},
    ),
    "validation in workers": (
        lambda folder: {"val_check_interval": 2},
        {"validation": partial(feeds.validation_data, num_workers=1, persistent_workers=True)},
    ),
    "opaque validation": (lambda folder: {}, {"validation": feeds.OpaqueBatches}),
    "no sanity check": (lambda folder: {"num_sanity_val_steps": 0}, {"validation": feeds.validation_data}),
    "full sanity check": (lambda folder: {"num_sanity_val_steps": -1}, {"validation": feeds.validation_data}),
}


def stream_of(case: Case, folder: Path, options: dict[str, Any]) -> list[Any]:
    """All that training did, and the weights that it came to."""
    case.seed()
    own = {"logger": False, "callbacks": [], "enable_checkpointing": False} | options
    added = own.pop("callbacks")
    added = added if isinstance(added, list) else [added]
    case = replace(case, options=lambda: own, callbacks=lambda _: added)
    trace = train(case, folder, Journal())
    return [
        *(event for event in trace.events if event[0] == "batch"),
        trace.end["weights"],
        trace.end["generators"],
    ]


@functools.cache
def stream_alone(case: Case) -> list[Any]:
    return stream_of(case, Path("nowhere"), {})


@pytest.mark.parametrize("bystander", BYSTANDERS, ids=lambda name: name.replace(" ", "_"))
@pytest.mark.parametrize("case", ALONE, ids=str)
def test_training_draws_the_same(
    case: Case, bystander: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = stream_alone(case)
    options, changes = BYSTANDERS[bystander]
    found = stream_of(replace(case, **changes), tmp_path, options(tmp_path))
    assert list(differences(found, expected)) == []
