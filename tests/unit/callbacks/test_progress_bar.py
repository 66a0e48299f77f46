"""What a progress bar of a user's own can rely on."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fulmen as pl
from fulmen.base.report import FulmenWarning
from fulmen.callbacks import PlainProgressBar, ProgressBar, RichProgressBar, TQDMProgressBar
from fulmen.callbacks.progress import default_progress_bar
from fulmen.errors import MissingExtra, UsageError

from .progress_runs import Shown, Validated, batches, make_trainer


class OwnBar(ProgressBar):
    """Notes what it could show in each hook."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[Any] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
        super().on_train_batch_end(trainer, pl_module, *rest)
        self.notes.append(("train", rest[-1] + 1, self.total_train_batches))

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        _, _, batch_idx, *index = rest
        new = self.has_dataloader_changed(index[0] if index else 0)
        self.notes.append(("val", batch_idx + 1, self.total_val_batches_current_dataloader, new))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.reset_dataloader_idx_tracker()
        self.notes.append(("val total", self.total_val_batches))

    def on_test_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.has_dataloader_changed(rest[-1])
        self.notes.append(("test", rest[-2] + 1, self.total_test_batches_current_dataloader))

    def on_predict_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.notes.append(("predict", rest[-1] + 1, self.total_predict_batches_current_dataloader))


def test_own_bar_in_a_fit(tmp_path: Path) -> None:
    bar = OwnBar()
    trainer = make_trainer(tmp_path, bar, num_sanity_val_steps=1)
    trainer.fit(Validated(), batches(2), [batches(2), batches(3)])
    assert bar.notes == [
        ("val", 1, 1, True),
        ("val", 1, 1, True),
        ("val total", 5),
        ("train", 1, 2),
        ("train", 2, 2),
        ("val", 1, 2, True),
        ("val", 2, 2, False),
        ("val", 1, 3, True),
        ("val", 2, 3, False),
        ("val", 3, 3, False),
        ("val total", 5),
    ]
    assert trainer.progress_bar_callback is bar


def test_own_bar_in_evaluations(tmp_path: Path) -> None:
    bar = OwnBar()
    trainer = make_trainer(tmp_path, bar)
    trainer.test(Shown(), [batches(1), batches(2)])
    trainer.predict(Shown(), batches(2))
    assert bar.notes == [
        ("test", 1, 1),
        ("test", 1, 2),
        ("test", 2, 2),
        ("predict", 1, 2),
        ("predict", 2, 2),
    ]


def test_print_goes_through_the_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed: list[tuple] = []

    class Printing(ProgressBar):
        def print(self, *args: Any, **kwargs: Any) -> None:
            printed.append((args, kwargs))

    class Talking(Shown):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.print("from the module", batch_idx, sep="-")
            return super().training_step(batch, batch_idx)

    trainer = make_trainer(tmp_path, Printing())
    trainer.fit(Talking(), batches(1))
    trainer.print("from outside")
    assert printed == [(("from the module", 0), {"sep": "-"}), (("from outside",), {})]
    ProgressBar().print("to", "stdout", sep="+")
    assert capsys.readouterr().out == "to+stdout\n"


def test_descriptions() -> None:
    bar = ProgressBar()
    texts = (
        bar.sanity_check_description,
        bar.train_description,
        bar.validation_description,
        bar.test_description,
        bar.predict_description,
    )
    assert texts == ("Sanity Checking", "Training", "Validation", "Testing", "Predicting")


def test_no_trainer_before_a_run() -> None:
    with pytest.raises(UsageError, match="no Trainer"):
        _ = ProgressBar().trainer


@pytest.mark.parametrize("kind", [ProgressBar, PlainProgressBar, RichProgressBar, TQDMProgressBar])
def test_only_rank_zero_shows_something(kind: type[ProgressBar]) -> None:
    for is_global_zero in (True, False):
        bar = kind()
        trainer: Any = SimpleNamespace(is_global_zero=is_global_zero)
        bar.setup(trainer, None, "fit")  # pyright: ignore[reportArgumentType]
        assert bar.is_enabled is is_global_zero
        assert bar.is_disabled is not is_global_zero


def test_enable_and_disable() -> None:
    bar = PlainProgressBar()
    bar.disable()
    assert bar.is_disabled
    bar.enable()
    assert bar.is_enabled


@pytest.mark.parametrize(
    ("versions", "shown"),
    [
        ([], None),
        ([None], None),
        ([""], None),
        ([3], 3),
        ([0], 0),
        (["run"], "run"),
        (["version_of_mine"], "mine"),
        ([1, 2], "1_2"),
        ([3, None], 3),
    ],
)
def test_version_of_the_loggers(versions: list[Any], shown: Any) -> None:
    loggers = [SimpleNamespace(version=version) for version in versions]
    trainer: Any = SimpleNamespace(loggers=loggers, progress_bar_metrics={"loss": 0.5})
    wanted = {"loss": 0.5} if shown is None else {"v_num": shown, "loss": 0.5}
    metrics = ProgressBar().get_metrics(trainer, None)  # pyright: ignore[reportArgumentType]
    assert metrics == wanted
    assert list(metrics) == list(wanted)
    metrics["mine"] = 1.0
    assert trainer.progress_bar_metrics == {"loss": 0.5}


def test_logging_under_the_name_of_the_version_warns() -> None:
    trainer: Any = SimpleNamespace(loggers=[SimpleNamespace(version=1)], progress_bar_metrics={"v_num": 0.5})
    module: Any = None
    with pytest.warns(FulmenWarning, match="v_num"):
        metrics = ProgressBar().get_metrics(trainer, module)
    assert metrics == {"v_num": 0.5}


@pytest.mark.parametrize("kind", [PlainProgressBar, RichProgressBar, TQDMProgressBar])
def test_pickle_before_and_after_a_run(tmp_path: Path, kind: type[ProgressBar]) -> None:
    bar = kind()
    assert type(pickle.loads(pickle.dumps(bar))) is kind
    make_trainer(tmp_path, bar).fit(Shown(), batches(1))
    assert type(pickle.loads(pickle.dumps(bar))) is kind
    assert bar.trainer is not None


@pytest.mark.parametrize(
    ("installed", "kind"),
    [(("rich", "tqdm"), RichProgressBar), (("tqdm",), TQDMProgressBar), ((), PlainProgressBar)],
)
def test_default_bar(monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], kind: type) -> None:
    monkeypatch.setattr("fulmen.callbacks.progress.available", lambda package: package in installed)
    assert type(default_progress_bar()) is kind


@pytest.mark.parametrize(("kind", "extra"), [(RichProgressBar, "rich"), (TQDMProgressBar, "tqdm")])
def test_missing_package(monkeypatch: pytest.MonkeyPatch, kind: type, extra: str) -> None:
    monkeypatch.setattr("fulmen.base.extras.available", lambda package: False)
    with pytest.raises(MissingExtra, match=rf"fulmen\[{extra}\]"):
        kind()
