"""What a Trainer may be told, and what is said of everything else: early, and with a way out."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.callbacks import (
    EarlyStopping,
    ModelCheckpoint,
    ModelSummary,
    ProgressBar,
    RichProgressBar,
    Timer,
    TQDMProgressBar,
)  # fmt: skip
from fulmen.core.logger import DummyLogger
from fulmen.errors import ConfigError, UnknownArgumentError
from fulmen.loggers import CSVLogger, TensorBoardLogger
from fulmen.precision import DoublePrecision, HalfPrecision, MixedPrecision
from fulmen.profilers import AdvancedProfiler, PassThroughProfiler, PyTorchProfiler, SimpleProfiler
from fulmen.runtime.device import CPUAccelerator
from fulmen.strategies import SingleDeviceStrategy, TorchCheckpointIO

from .engine.small import Rows, Small, batches, make_trainer

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def bare(**options: Any) -> pl.Trainer:
    """A Trainer with nothing but these arguments, on the CPU."""
    return pl.Trainer(**{"accelerator": "cpu", **options})


# ------------------------------------------------------------------------------------------ plain values

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
        assert type(found) is type(value)


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
    *(("max_steps", value) for value in (-2, None, 1.5, "10")),
    *(("min_steps", value) for value in (-1, 0.5)),
    *(("overfit_batches", value) for value in (-1, 1.5, "1")),
    *(("num_sanity_val_steps", value) for value in (-2, 0.5, "all")),
    *(("log_every_n_steps", value) for value in (-1, 0.5, True)),
    *(("accumulate_grad_batches", value) for value in (0, -1, 1.5, None, {4: 2}, True)),
    *(("gradient_clip_val", value) for value in (-1, "1", True)),
    *(("gradient_clip_algorithm", value) for value in ("nrom", 2, True)),
    *(("reload_dataloaders_every_n_epochs", value) for value in (-1, True, 0.5)),
    *(("max_time", value) for value in ("10:00", "1 hour", 3600, {"hour": 1}, "a:b:c:d")),
    *(("max_time", value) for value in (timedelta(seconds=-1), {"hours": -1})),
    *(("precision", value) for value in ("bf16-mixd", 8, "half", True, "16-truee")),
    *(("deterministic", value) for value in ("yes", "wran", 2)),
    *(("profiler", value) for value in ("simpel", True, 3, SimpleProfiler)),
    *(("logger", value) for value in ("tensorboard", 3, [3], CSVLogger, [CSVLogger])),
    *(("callbacks", value) for value in ("early", [3], EarlyStopping, [EarlyStopping], {"a": 1}, 3)),
    *(
        ("plugins", value)
        for value in ("x", [3], [TorchCheckpointIO(), TorchCheckpointIO()], TorchCheckpointIO)
    ),
    *(("strategy", value) for value in ("ddp", "fsdp", None, 3, "sigle_device")),
    *(("devices", value) for value in (0, -2, "a", [], [0, 0], 1.5, True, None, {})),
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


def test_positions_have_no_meaning() -> None:
    with pytest.raises(TypeError):
        pl.Trainer(True)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(("least", "most"), [("min_epochs", "max_epochs"), ("min_steps", "max_steps")])
def test_limits_that_contradict_each_other(least: str, most: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s){least}.*{most}.*3 > 2"):
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


# ----------------------------------------------------------------------------------- devices, strategies


def test_cpu() -> None:
    for accelerator in ("cpu", CPUAccelerator()):
        trainer = pl.Trainer(accelerator=accelerator)
        assert trainer.accelerator.name == "cpu"
        assert trainer.strategy.root_device == torch.device("cpu")
        assert (trainer.num_devices, trainer.device_ids, trainer.world_size) == (1, [0], 1)


@NO_GPU
def test_auto_is_the_cpu_where_there_is_nothing_else() -> None:
    assert pl.Trainer().accelerator.name == pl.Trainer(accelerator="auto").accelerator.name == "cpu"


@NO_GPU
@pytest.mark.parametrize("accelerator", ["gpu", "cuda", "mps"])
def test_accelerator_that_is_not_there(accelerator: str) -> None:
    with pytest.raises(ConfigError, match=r"(?s)[Tt]his machine.*auto"):
        pl.Trainer(accelerator=accelerator)


@pytest.mark.parametrize(
    ("accelerator", "fix"), [("cud", "cuda"), ("CPU", None), ("tpu", None), (None, None), (3, None)]
)
def test_unknown_accelerator(accelerator: Any, fix: str | None) -> None:
    with pytest.raises(
        ConfigError, match=r"(?s)accelerator.*cpu, cuda" + (f".*did you mean '{fix}'" if fix else "")
    ):
        pl.Trainer(accelerator=accelerator)


@pytest.mark.parametrize("devices", [1, "1", "auto", [0], "0,", -1])
def test_one_device(devices: Any) -> None:
    assert bare(devices=devices).num_devices == 1


@pytest.mark.parametrize(
    "options",
    [
        {"devices": 2},
        {"devices": "2"},
        {"devices": [0, 1]},
        {"num_nodes": 2},
        {"devices": 2, "strategy": "ddp"},
    ],
    ids=str,
)
def test_more_than_one_process(options: dict[str, Any]) -> None:
    """Not in this version, and it says what there is."""
    with pytest.raises(ConfigError, match=r"(?s)one process on one device.*devices=1, num_nodes=1"):
        bare(**options)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "ddp_spawn", "deepspeed"])
def test_strategy_that_is_not_there(strategy: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s){strategy}.*auto, single_device"):
        bare(strategy=strategy)


def test_strategies() -> None:
    own = SingleDeviceStrategy("cpu")
    assert bare(strategy=own).strategy is own
    for name in ("auto", "single_device"):
        assert isinstance(bare(strategy=name).strategy, SingleDeviceStrategy)


def test_strategy_for_another_device() -> None:
    with pytest.raises(ConfigError, match=r"(?s)strategy.*meta.*cpu"):
        bare(strategy=SingleDeviceStrategy("meta"))


# ------------------------------------------------------------------------------------ precision, plugins


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (None, "32-true"), ("32-true", "32-true"), (32, "32-true"), ("32", "32-true"),
        ("64-true", "64-true"), (64, "64-true"), ("64", "64-true"),
        ("16-true", "16-true"), ("bf16-true", "bf16-true"),
        ("16-mixed", "16-mixed"), (16, "16-mixed"), ("16", "16-mixed"),
        ("bf16-mixed", "bf16-mixed"), ("bf16", "bf16-mixed"),
    ],
)  # fmt: skip
def test_precisions(given: Any, name: str) -> None:
    trainer = bare(precision=given)
    assert trainer.precision == trainer.precision_plugin.name == name
    assert (trainer.scaler is not None) == (name == "16-mixed")


@pytest.mark.parametrize("name", ["precision", "plugins"])
def test_precision_as_an_object(name: str) -> None:
    for own in (DoublePrecision(), HalfPrecision("bf16-true"), MixedPrecision("bf16-mixed")):
        assert bare(**{name: own}).precision_plugin is own
    assert bare(plugins=[own := DoublePrecision()]).precision_plugin is own


def test_precision_given_twice() -> None:
    with pytest.raises(ConfigError, match="precision"):
        bare(precision=32, plugins=DoublePrecision())


def test_checkpoint_store_among_the_plugins() -> None:
    own = TorchCheckpointIO()
    assert bare(plugins=[own]).strategy.checkpoint_io is own


# ------------------------------------------------------------------------- loggers, callbacks, profilers


def test_loggers(tmp_path: Path) -> None:
    assert bare(logger=False).loggers == []
    assert bare(logger=False).logger is None
    for default in (None, True):
        (logger,) = bare(logger=default, default_root_dir=tmp_path).loggers
        assert isinstance(logger, (TensorBoardLogger, CSVLogger))
        assert str(logger.save_dir) == str(tmp_path)
    own, other = Rows(), Rows()
    assert bare(logger=own).loggers == [own]
    assert bare(logger=[own, other]).loggers == bare(logger=(own, other)).loggers == [own, other]
    assert bare(logger=[]).loggers == []


@pytest.mark.parametrize("logger", [None, True, Rows(), [Rows(), Rows()]], ids=["None", "True", "one", "two"])
def test_fast_dev_run_logs_nowhere(logger: Any) -> None:
    (dummy,) = bare(logger=logger, fast_dev_run=True).loggers
    assert isinstance(dummy, DummyLogger)


def test_fast_dev_run_without_a_logger() -> None:
    assert bare(logger=False, fast_dev_run=True).loggers == []


def kinds(**options: Any) -> list[str]:
    return sorted(type(callback).__name__ for callback in bare(logger=False, **options).callbacks)


def test_default_callbacks() -> None:
    trainer = bare(logger=False)
    assert isinstance(trainer.checkpoint_callback, ModelCheckpoint)
    assert isinstance(trainer.progress_bar_callback, ProgressBar)
    assert len(trainer.callbacks) == 3  # and a summary
    off = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    assert kinds(**off) == []
    for name in off:
        assert len(kinds(**{name: False})) == 2
        assert len(kinds(**{name: True})) == 3


def test_own_callbacks_take_the_place_of_the_default_ones(tmp_path: Path) -> None:
    saver, bar, summary = ModelCheckpoint(dirpath=tmp_path), TQDMProgressBar(), ModelSummary(max_depth=2)
    assert bare(callbacks=[saver, bar, summary]).callbacks == [saver, bar, summary]


def test_a_single_callback_needs_no_list() -> None:
    stopping = EarlyStopping("x")
    assert stopping in bare(callbacks=stopping).callbacks


def test_the_users_list_is_not_changed() -> None:
    own: list[pl.Callback] = [EarlyStopping("x")]
    trainer = bare(callbacks=own)
    assert len(own) == 1
    assert len(trainer.callbacks) == 4


@pytest.mark.parametrize(
    ("switch", "callback"),
    [("enable_checkpointing", ModelCheckpoint()), ("enable_progress_bar", TQDMProgressBar())],
    ids=["checkpointing", "bar"],
)
def test_callback_and_the_switch_that_turns_it_off(switch: str, callback: pl.Callback) -> None:
    with pytest.raises(ConfigError, match=rf"(?s){switch}=False.*{type(callback).__name__}"):
        bare(callbacks=[callback], **{switch: False})


def test_two_progress_bars() -> None:
    with pytest.raises(ConfigError, match="two progress bars"):
        bare(callbacks=[TQDMProgressBar(), RichProgressBar()])


def test_callback_given_twice() -> None:
    """The very same object: its hooks would run twice."""
    stopping = EarlyStopping("x")
    with pytest.raises(ConfigError, match="EarlyStopping"):
        bare(callbacks=[stopping, stopping])


def test_two_of_a_kind_that_cannot_be_told_apart(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, callbacks=[EarlyStopping("x"), EarlyStopping("x", patience=7)])
    with pytest.raises(ConfigError, match="EarlyStopping"):
        trainer.fit(Small(), batches(1), batches(1))


def test_class_in_the_place_of_a_callback_says_what_to_write() -> None:
    with pytest.raises(ConfigError, match=r"EarlyStopping\(\)"):
        bare(callbacks=[EarlyStopping])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("simple", SimpleProfiler), ("advanced", AdvancedProfiler), ("pytorch", PyTorchProfiler)],
)
def test_profilers(name: str, kind: type) -> None:
    assert type(bare(profiler=name).profiler) is kind
    assert bare(profiler=(own := PassThroughProfiler())).profiler is own
    with pytest.raises(ConfigError, match="did you mean 'simple'"):
        bare(profiler="simpel")


# --------------------------------------------------------------------------------------------- barebones


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


# ----------------------------------------------------------------------------------------------- folders


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


# ------------------------------------------------------------------------------------------- environment


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
