"""What a Trainer makes of the names and objects that it is given."""

from __future__ import annotations

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
    TQDMProgressBar,
)  # fmt: skip
from fulmen.core.logger import DummyLogger
from fulmen.errors import ConfigError
from fulmen.loggers import CSVLogger, TensorBoardLogger
from fulmen.precision import DoublePrecision, HalfPrecision, MixedPrecision
from fulmen.profilers import AdvancedProfiler, PassThroughProfiler, PyTorchProfiler, SimpleProfiler
from fulmen.runtime.device import CPUAccelerator
from fulmen.strategies import DDPStrategy, SingleDeviceStrategy, TorchCheckpointIO

from .engine.small import Rows, Small, batches, make_trainer

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def bare(**options: Any) -> pl.Trainer:
    """A Trainer with nothing but these arguments, on the CPU."""
    return pl.Trainer(**{"accelerator": "cpu", **options})


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


@pytest.mark.parametrize(("accelerator", "fix"), [("cud", "cuda"), ("CPU", None), ("tpu", None), (3, None)])
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
        {"devices": 2, "strategy": "ddp_find_unused_parameters_true"},
        {"devices": 2, "strategy": DDPStrategy(static_graph=True)},
    ],
    ids=str,
)
def test_more_than_one_process(options: dict[str, Any]) -> None:
    trainer = bare(**options)
    assert isinstance(trainer.strategy, DDPStrategy)
    assert (trainer.num_devices, trainer.world_size, trainer.global_rank) == (2, 2, 0)


def test_one_device_cannot_be_two() -> None:
    with pytest.raises(ConfigError, match=r"(?s)runs on one device.*devices=2.*strategy=.ddp"):
        bare(devices=2, strategy="single_device")


def test_several_nodes_that_nobody_has_started() -> None:
    with pytest.raises(ConfigError, match=r"(?s)how the nodes find each other.*MASTER_ADDR"):
        bare(num_nodes=2)


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed"])
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
