"""What a Trainer may be told, and what is said of everything else: early, and with a way out."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import fulmen as pl
from fulmen.callbacks import (
    EarlyStopping,
    Timer,
)  # fmt: skip
from fulmen.errors import ConfigError, UnknownArgumentError
from fulmen.loggers import CSVLogger
from fulmen.profilers import SimpleProfiler
from fulmen.strategies import TorchCheckpointIO

from .engine.small import Rows


def bare(**options: Any) -> pl.Trainer:
    """A Trainer with nothing but these arguments, on the CPU."""
    return pl.Trainer(**{"accelerator": "cpu", **options})


ACCEPTED: list[tuple[str, Any]] = [
    *(("max_epochs", value) for value in (None, -1, 0, 1, 1000)),
    *(("min_epochs", value) for value in (None, 0, 3)),
    *(("max_steps", value) for value in (-1, 0, 5)),
    *(("min_steps", value) for value in (None, 0, 5)),
    *((f"limit_{k}_batches", v) for k in ("train", "val", "test", "predict") for v in (0, 3, 0.0, 0.5, 1.0)),
    *(("overfit_batches", value) for value in (0, 0.0, 2, 0.5)),
    *(("val_check_interval", value) for value in (1, 10, 0.25, 1.0, timedelta(minutes=1))),
    *(("check_val_every_n_epoch", value) for value in (1, 5)),
    *(("num_sanity_val_steps", value) for value in (0, 2)),
    *(("log_every_n_steps", value) for value in (0, 1, 50)),
    *(("accumulate_grad_batches", value) for value in (1, 4)),
    *(("gradient_clip_val", value) for value in (None, 0, 0.5, 10)),
    *(("gradient_clip_algorithm", value) for value in (None, "norm", "value")),
    *(("reload_dataloaders_every_n_epochs", value) for value in (0, 1, 3)),
    *(("fast_dev_run", value) for value in (False, True, 3)),
    *(("barebones", value) for value in (False, True)),
    *(("enable_autolog_hparams", value) for value in (True, False)),
]


@pytest.mark.parametrize(("name", "value"), ACCEPTED, ids=str)
def test_values_can_be_read_back(name: str, value: Any) -> None:
    trainer = bare(**{name: value})
    found = getattr(trainer, name)
    if name != "max_epochs" or not trainer.fast_dev_run:
        assert found == value
        assert type(found) is type(value) or (name, value) == ("max_steps", -1)


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("max_epochs", None), ("max_steps", -1), ("min_epochs", None), ("min_steps", None),
        ("limit_train_batches", 1.0), ("limit_val_batches", 1.0), ("limit_test_batches", 1.0),
        ("limit_predict_batches", 1.0), ("overfit_batches", 0.0), ("val_check_interval", 1.0),
        ("check_val_every_n_epoch", 1), ("num_sanity_val_steps", 2), ("log_every_n_steps", 50),
        ("accumulate_grad_batches", 1), ("gradient_clip_val", None), ("gradient_clip_algorithm", None),
        ("reload_dataloaders_every_n_epochs", 0), ("fast_dev_run", False), ("barebones", False),
        ("enable_autolog_hparams", True), ("precision", "32-true"), ("num_nodes", 1), ("num_devices", 1),
    ],
)  # fmt: skip
def test_defaults(name: str, default: Any) -> None:
    assert getattr(bare(), name) == default


REFUSED: list[tuple[str, Any]] = [
    *(("max_epochs", value) for value in (-2, 1.5, "3", True)),
    *(("min_epochs", value) for value in (-1, 1.5)),
    *(("max_steps", value) for value in (-2, 1.5, "10")),
    *(("min_steps", value) for value in (-1, 0.5)),
    *(("overfit_batches", value) for value in (-1, 1.5, "1")),
    *(("num_sanity_val_steps", value) for value in (-2, 0.5, "all")),
    *(("log_every_n_steps", value) for value in (-1, 0.5, True)),
    *(("accumulate_grad_batches", value) for value in (0, -1, 1.5, True)),
    *(("gradient_clip_val", value) for value in (-1, "1", True)),
    *(("gradient_clip_algorithm", value) for value in ("nrom", 2, True)),
    *(("reload_dataloaders_every_n_epochs", value) for value in (-1, True, 0.5)),
    *(("max_time", value) for value in ("10:00", "1 hour", 3600, {"hour": 1}, "a:b:c:d")),
    *(("max_time", value) for value in (timedelta(seconds=-1), {"hours": -1})),
    *(("precision", value) for value in ("bf16-mixd", 8, "half", True, "16-truee")),
    *(("deterministic", value) for value in ("yes", "wran", 2)),
    *(("profiler", value) for value in ("simpel", 3, SimpleProfiler)),
    *(("logger", value) for value in ("tensorboard", 3, [3], CSVLogger, [CSVLogger])),
    *(("callbacks", value) for value in ("early", [3], EarlyStopping, [EarlyStopping], {"a": 1}, 3)),
    *(
        ("plugins", value)
        for value in ("x", [3], [TorchCheckpointIO(), TorchCheckpointIO()], TorchCheckpointIO)
    ),
    *(("strategy", value) for value in ("dpp", "fsdp", 3, "sigle_device")),
    *(("devices", value) for value in (0, -2, "a", [], [0, 0], 1.5, True, {})),
    *(("num_nodes", value) for value in (0, -1, "2", 1.5)),
]


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=str)
def test_values_that_cannot_be(name: str, value: Any) -> None:
    """The error names the argument, or the thing that it makes, and says what was received."""
    with pytest.raises(ConfigError, match=name.rstrip("s")):
        bare(**{name: value})


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("max_epoch", "max_epochs"), ("limit_train_batch", "limit_train_batches"),
        ("acelerator", "accelerator"), ("log_every_n_step", "log_every_n_steps"), ("callback", "callbacks"),
        ("enable_checkpoint", "enable_checkpointing"),
    ],
)  # fmt: skip
def test_unknown_argument(name: str, fix: str) -> None:
    with pytest.raises(UnknownArgumentError, match=rf"(?s){name}.*did you mean '{fix}'") as caught:
        bare(**{name: 1})
    assert isinstance(caught.value, TypeError)


def test_unknown_argument_like_nothing() -> None:
    with pytest.raises(UnknownArgumentError, match="zzzzz"):
        bare(zzzzz=1)


def test_too_many_positions() -> None:
    with pytest.raises(TypeError, match="by position"):
        pl.Trainer(*[None] * 60)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(("least", "most"), [("min_epochs", "max_epochs"), ("min_steps", "max_steps")])
def test_limits_that_contradict_each_other(least: str, most: str) -> None:
    with pytest.warns(UserWarning, match=rf"{least}.*{most}.*3 > 2"):
        bare(**{least: 3, most: 2})
    bare(**{least: 3, most: -1})  # no limit is more than any number


@pytest.mark.parametrize(
    ("given", "duration"),
    [
        ("00:00:00:10", timedelta(seconds=10)),
        ("01:02:03:04", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ({"hours": 2, "minutes": 1}, timedelta(hours=2, minutes=1)),
        (timedelta(minutes=3), timedelta(minutes=3)),
    ],
)
def test_max_time_makes_a_timer(given: Any, duration: timedelta) -> None:
    (timer,) = (callback for callback in bare(max_time=given).callbacks if isinstance(callback, Timer))
    assert timer.time_remaining() == duration.total_seconds()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logger", True), ("logger", Rows()), ("callbacks", [Timer()]), ("enable_checkpointing", True),
        ("enable_progress_bar", True), ("enable_model_summary", True), ("num_sanity_val_steps", 1),
        ("log_every_n_steps", 1), ("fast_dev_run", True), ("detect_anomaly", True), ("profiler", "simple"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_barebones_and_what_it_turns_off(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"(?s)barebones=True.*{name}"):
        bare(barebones=True, **{name: value})


def test_barebones_is_bare() -> None:
    trainer = bare(barebones=True)
    assert (trainer.callbacks, trainer.loggers, trainer.profiler) == ([], [], None)
    assert (trainer.num_sanity_val_steps, trainer.log_every_n_steps) == (0, 0)


@pytest.mark.parametrize(
    "name", ["logger", "enable_checkpointing", "enable_progress_bar", "num_sanity_val_steps"]
)
def test_barebones_and_what_is_off_anyway(name: str) -> None:
    bare(barebones=True, **{name: False if name != "num_sanity_val_steps" else 0})


def test_root_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bare(default_root_dir=tmp_path).default_root_dir == str(tmp_path)
    assert bare(default_root_dir=str(tmp_path)).default_root_dir == str(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert bare().default_root_dir == os.getcwd()
    assert bare(default_root_dir="sub").default_root_dir == str(tmp_path / "sub")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert bare(default_root_dir="~/runs").default_root_dir == str(tmp_path / "home" / "runs")
    assert bare(default_root_dir="memory://runs").default_root_dir == "memory://runs"


def test_nothing_is_written_before_a_run(tmp_path: Path) -> None:
    bare(default_root_dir=tmp_path / "new", logger=True)
    assert list(tmp_path.iterdir()) == []


def test_model_registry_is_not_there() -> None:
    """The service that it means belongs to another framework; silently doing nothing would be worse."""
    with pytest.raises(ConfigError, match="model_registry"):
        bare(model_registry="name")


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("MAX_EPOCHS", "3", "max_epochs", 3),
        ("LIMIT_TRAIN_BATCHES", "0.25", "limit_train_batches", 0.25),
        ("LIMIT_TRAIN_BATCHES", "4", "limit_train_batches", 4),
        ("FAST_DEV_RUN", "True", "fast_dev_run", True),
        ("CHECK_VAL_EVERY_N_EPOCH", "2", "check_val_every_n_epoch", 2),
        ("PRECISION", "bf16-mixed", "precision", "bf16-mixed"),
        ("PRECISION", "16", "precision", "16-mixed"),
        ("DEVICES", "[0]", "device_ids", [0]),
        ("LOGGER", "False", "loggers", []),
        ("GRADIENT_CLIP_VAL", "None", "gradient_clip_val", None),
        ("VAL_CHECK_INTERVAL", "00:01:00:00", "val_check_interval", timedelta(hours=1)),
    ],
)
def test_environment_variables(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, name: str, value: Any
) -> None:
    monkeypatch.setenv(f"PL_TRAINER_{variable}", text)
    assert getattr(bare(), name) == value


def test_arguments_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are given the default."""
    monkeypatch.setenv("PL_TRAINER_MAX_STEPS", "3")
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "3")
    assert (bare(max_steps=-1).max_steps, bare(max_epochs=None).max_epochs) == (-1, None)


def test_environment_is_read_by_each_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bare().max_epochs is None
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "3")
    assert bare().max_epochs == 3


def test_environment_is_checked_as_arguments_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "many")
    with pytest.raises(ConfigError, match=r"(?s)max_epochs.*'many'"):
        bare()


def test_misspelt_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would change nothing, and nobody would know."""
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCH", "3")
    with pytest.warns(UserWarning, match=r"PL_TRAINER_MAX_EPOCH.*did you mean 'PL_TRAINER_MAX_EPOCHS'"):
        bare()


def test_barebones_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_BAREBONES", "True")
    assert bare().callbacks == []
    with pytest.raises(ConfigError, match="barebones"):
        bare(enable_checkpointing=True)
