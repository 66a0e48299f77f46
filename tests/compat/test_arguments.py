"""Arguments, attributes and methods of the Trainer, and other constructors, as old versions had them."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.base.report import forget_warnings
from fulmen.callbacks import (
    DeviceStatsMonitor,
    EarlyStopping,
    GradientAccumulationScheduler,
    ModelCheckpoint,
    ModelSummary,
    TQDMProgressBar,
)
from fulmen.compat import OldSpelling
from fulmen.errors import ConfigError
from fulmen.loggers import CSVLogger
from fulmen.strategies import DDPStrategy

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.OldSpelling")

OFF: dict[str, Any] = {
    "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False,
}  # fmt: skip


def bare(**arguments: Any) -> Any:
    return pl.Trainer(**{**OFF, **arguments})


class Model(pl.LightningModule):
    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.lr = lr
        torch.manual_seed(0)
        self.net = nn.Linear(2, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return (self.net(batch[0]) ** 2).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", (self.net(batch[0]) ** 2).mean())

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("x", 1.0)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


def data() -> DataLoader:
    return DataLoader(TensorDataset(torch.ones(4, 2)), batch_size=2)


def has(trainer: Any, kind: type) -> list[Any]:
    return [callback for callback in trainer.callbacks if isinstance(callback, kind)]


# ----------------------------------------------------------------------------------- arguments of the Trainer

RENAMED: list[tuple[dict[str, Any], str, Any]] = [
    ({"row_log_interval": 7}, "log_every_n_steps", 7),
    ({"train_percent_check": 0.5}, "limit_train_batches", 0.5),
    ({"val_percent_check": 0.5}, "limit_val_batches", 0.5),
    ({"test_percent_check": 3}, "limit_test_batches", 3),
    ({"overfit_pct": 2}, "overfit_batches", 2),
    ({"reload_dataloaders_every_epoch": True}, "reload_dataloaders_every_n_epochs", 1),
    ({"max_steps": None}, "max_steps", -1),
    ({"accumulate_grad_batches": None}, "accumulate_grad_batches", 1),
    ({"gpus": 0}, "num_devices", 1),
    ({"gpus": None}, "num_devices", 1),
    ({"accelerator": None, "devices": None, "strategy": None}, "num_devices", 1),
    ({"amp_backend": "native", "amp_level": "O2"}, "precision", "32-true"),
    ({"tpu_cores": None, "ipus": None}, "num_devices", 1),
    ({"move_metrics_to_cpu": True, "enable_pl_optimizer": True}, "max_epochs", None),
    ({"flush_logs_every_n_steps": 10, "log_save_interval": 10}, "max_epochs", None),
    ({"auto_select_gpus": False, "weights_summary": "top"}, "max_epochs", None),
]


@pytest.mark.parametrize(("arguments", "shown", "value"), RENAMED, ids=lambda given: str(given)[:40])
def test_arguments_that_are_called_otherwise(arguments: dict[str, Any], shown: str, value: Any) -> None:
    assert getattr(bare(**arguments), shown) == value


def test_each_old_argument_is_named() -> None:
    forget_warnings()
    with pytest.warns(OldSpelling, match=r"Trainer\(row_log_interval=...\).*Now: log_every_n_steps="):
        bare(row_log_interval=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"amp_backend": "apex"}, "Apex is not offered"),
        ({"amp_level": "O1"}, "Apex"),
        ({"tpu_cores": 8}, "TPUs need XLA"),
        ({"ipus": 2}, "IPUs"),
        ({"accelerator": "dp", "gpus": 2}, "a process for each device"),
        ({"accelerator": "horovod"}, "not offered"),
        ({"strategy": "bagua"}, "not offered"),
        ({"compat": "0.7"}, "no version of Lightning"),
    ],
    ids=lambda given: str(given)[:30],
)
def test_arguments_that_mean_nothing_any_more(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bare(**arguments)


def test_callbacks_that_were_arguments(tmp_path: Path) -> None:
    checkpoint, stopping = ModelCheckpoint(tmp_path), EarlyStopping("val_loss")
    trainer: Any = pl.Trainer(
        checkpoint_callback=checkpoint, early_stop_callback=stopping, log_gpu_memory="all",
        progress_bar_refresh_rate=5, process_position=2, weights_summary="full", logger=False,
        accumulate_grad_batches={0: 1, 4: 2}, profiler=True,
    )  # fmt: skip
    assert (trainer.checkpoint_callback, trainer.early_stopping_callback) == (checkpoint, stopping)
    (bar,) = has(trainer, TQDMProgressBar)
    assert (bar.refresh_rate, bar.process_position) == (5, 2)
    assert has(trainer, ModelSummary)[0]._max_depth == -1
    assert has(trainer, GradientAccumulationScheduler)[0].scheduling == {0: 1, 4: 2}
    assert len(has(trainer, DeviceStatsMonitor)) == 1
    assert type(trainer.profiler).__name__ == "SimpleProfiler"


def test_what_is_switched_off() -> None:
    trainer: Any = pl.Trainer(
        checkpoint_callback=False,
        progress_bar_refresh_rate=0,
        weights_summary=None,
        logger=False,
    )
    assert trainer.callbacks == []


@pytest.mark.parametrize(
    ("arguments", "start", "devices"),
    [
        ({"accelerator": "ddp_cpu", "num_processes": 2}, "spawn", 2),
        ({"accelerator": "ddp", "num_processes": 2}, "popen", 2),
        ({"distributed_backend": "ddp_spawn", "num_processes": 2}, "spawn", 2),
        ({"plugins": "ddp_sharded", "num_processes": 2}, "popen", 2),
        ({"num_processes": 2}, "spawn", 2),
        ({"accelerator": "ddp_cpu", "num_processes": 1}, "spawn", 1),
    ],
    ids=str,
)
def test_old_ways_of_distributing(arguments: dict[str, Any], start: str, devices: int) -> None:
    strategy = bare(**arguments).strategy
    assert isinstance(strategy, DDPStrategy)
    assert (strategy.start_method, strategy.world.size) == (start, devices)
    assert strategy._arguments["find_unused_parameters"] is True


def test_resume_from_checkpoint(tmp_path: Path) -> None:
    trainer = bare(max_epochs=1)
    trainer.fit(Model(), data())
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = bare(max_epochs=3, resume_from_checkpoint=str(tmp_path / "x.ckpt"))
    again.fit(Model(), data())
    assert (again.global_step, again.resume_from_checkpoint) == (6, str(tmp_path / "x.ckpt"))


def test_terminate_on_nan() -> None:
    class NaN(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * float("nan")

    with pytest.raises(ValueError, match="nan"):
        bare(terminate_on_nan=True, max_epochs=1).fit(NaN(), data())


def test_track_grad_norm() -> None:
    model, trainer = Model(), bare(track_grad_norm=2, max_epochs=1, log_every_n_steps=1)
    trainer.fit(model, data())
    metrics = trainer.callback_metrics
    norms = [metrics[f"grad_2.0_norm/net.{name}_step"] for name in ("weight", "bias")]
    assert metrics["grad_2.0_norm_total_step"] == pytest.approx(float(torch.stack(norms).norm()))


def test_several_loaders_by_the_mode_of_the_trainer() -> None:
    class Two(Model):
        steps = 0

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.steps += 1
            return super().training_step(batch["a"], batch_idx)

    short = DataLoader(TensorDataset(torch.ones(2, 2)), batch_size=2)
    for mode, steps in (("min_size", 1), ("max_size_cycle", 2)):
        model = Two()
        bare(max_epochs=1, multiple_trainloader_mode=mode).fit(model, {"a": data(), "b": short})
        assert model.steps == steps


def test_arguments_by_position(tmp_path: Path) -> None:
    trainer: Any = pl.Trainer(False, False, None, str(tmp_path))
    assert (trainer.loggers, trainer.checkpoint_callback) == ([], None)
    assert trainer.default_root_dir == str(tmp_path)


def test_environment_of_old_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_ROW_LOG_INTERVAL", "9")
    assert bare().log_every_n_steps == 9


# ------------------------------------------------------------------------------------- methods and attributes


def test_old_keywords_of_methods() -> None:
    trainer, model = bare(max_epochs=1), Model()
    assert trainer.fit(model, train_dataloader=data(), val_dataloaders=data())
    assert trainer.validate(model, val_dataloaders=data(), verbose=False)
    assert trainer.test(model, test_dataloaders=data(), verbose=False) == [{"x": 1.0}]
    with pytest.raises(TypeError, match="train_laoder"):
        trainer.fit(model, train_laoder=data())


def test_old_attributes() -> None:
    trainer, model = bare(max_epochs=1, gpus=0), Model()
    trainer.fit(model, data())
    assert (trainer.gpus, trainer.num_gpus, trainer.root_gpu, trainer.on_gpu) == (0, 0, None, False)
    assert (trainer.use_amp, trainer.use_ddp, trainer.use_dp, trainer.on_cpu) == (False, False, False, True)
    (scheduler,) = trainer.lr_schedulers
    assert scheduler["scheduler"] is trainer.lr_scheduler_configs[0].scheduler
    assert scheduler["interval"] == "epoch"
    assert trainer.get_model() is model
    assert (trainer.batch_idx, trainer.total_batch_idx, trainer.train_loop.batch_idx) == (1, 2, 1)
    assert trainer.running_sanity_check is False
    assert trainer.data_parallel_device_ids is None
    assert trainer.weights_save_path == trainer.default_root_dir
    assert trainer.optimizer_frequencies == []
    assert trainer.logger_connector.callback_metrics == trainer.callback_metrics
    assert trainer.checkpoint_connector.dump_checkpoint()["global_step"] == 2
    with pytest.raises(AttributeError, match="no attribute 'gpuss'"):
        _ = trainer.gpuss


def test_old_attributes_of_a_module_give_way_to_its_own() -> None:
    class Own(Model):
        def __init__(self) -> None:
            super().__init__()
            self.precision = nn.Linear(1, 1)
            self.register_buffer("use_amp", torch.ones(1))

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.seen = (self.precision, self.use_amp, self.datamodule, self.grad_norm(2))
            return super().training_step(batch, batch_idx)

    model = Own()
    bare(max_epochs=1).fit(model, data())
    assert isinstance(model.seen[0], nn.Linear)
    assert torch.equal(model.seen[1], torch.ones(1))
    assert model.seen[2] is None
    assert not hasattr(Model(), "use_amp")


def test_log_with_old_keywords() -> None:
    class Old(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.log(
                "a", 2.0, tbptt_reduce_fx=torch.mean, tbptt_pad_token=0, sync_dist=True, sync_dist_op="sum"
            )
            self.log_dict({"b": 1.0}, reduce_fx=torch.max, sync_dist_op="mean")
            return super().training_step(batch, batch_idx)

    trainer = bare(max_epochs=1)
    trainer.fit(Old(), data())
    assert {name: float(value) for name, value in trainer.callback_metrics.items()} == {"a": 2.0, "b": 1.0}

    class Wrong(Model):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.log("a", 1.0, on_stp=True)

    with pytest.raises(TypeError, match="on_stp"):
        bare(max_epochs=1).fit(Wrong(), data())


def test_several_loggers_were_one(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Old(Model):
        def on_epoch_start(self) -> None:
            logger: Any = self.logger
            seen.append((logger[1], len(logger.experiment), len(list(logger))))

    loggers = [CSVLogger(tmp_path, "a"), CSVLogger(tmp_path, "b")]
    bare(logger=loggers, max_epochs=1).fit(Old(), data())
    assert seen == [(loggers[1], 2, 2)]


# ---------------------------------------------------------------------------------------------- other classes

CHECKPOINTS: list[tuple[Callable[[Path], dict[str, Any]], dict[str, Any]]] = [
    (lambda path: {"filepath": str(path / "{epoch}-{v:.2f}")}, {"filename": "{epoch}-{v:.2f}"}),
    (lambda path: {"filepath": str(path)}, {"filename": None}),
    (lambda path: {"dirpath": path, "period": 3}, {"_every_n_epochs": 3}),
    (lambda path: {"dirpath": path, "every_n_val_epochs": 2}, {"_every_n_epochs": 2}),
    (lambda path: {"dirpath": path, "prefix": "my"}, {"filename": "my-{epoch}-{step}"}),
    (lambda path: {"dirpath": path, "monitor": "val_acc", "mode": "auto"}, {"mode": "max"}),
    (lambda path: {"dirpath": path, "monitor": "val_loss", "mode": "auto"}, {"mode": "min"}),
    (lambda path: {"dirpath": path, "save_top_k": None}, {"save_top_k": 1}),
]


@pytest.mark.parametrize(("given", "expected"), CHECKPOINTS, ids=str)
def test_model_checkpoint(
    tmp_path: Path, given: Callable[[Path], dict[str, Any]], expected: dict[str, Any]
) -> None:
    checkpoint = ModelCheckpoint(**given(tmp_path))
    assert checkpoint.dirpath == str(tmp_path)
    assert {name: getattr(checkpoint, name) for name in expected} == expected


def test_model_checkpoint_by_position(tmp_path: Path) -> None:
    """A template can only be the `filepath` of 1.0."""
    old = ModelCheckpoint(str(tmp_path / "{epoch}"), "val_loss")
    assert (old.dirpath, old.filename, old.monitor) == (str(tmp_path), "{epoch}", "val_loss")
    modern = ModelCheckpoint(str(tmp_path), "{epoch}", "val_loss")
    assert (modern.dirpath, modern.filename, modern.monitor) == (str(tmp_path), "{epoch}", "val_loss")


def test_a_checkpoint_without_a_monitor_followed_val_loss(tmp_path: Path) -> None:
    class Worse(Model):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", float(self.current_epoch))

    for version, best in (("1.3", 0), ("1.4", 2)):
        checkpoint = ModelCheckpoint(tmp_path / version, "{epoch}")
        bare(max_epochs=3, callbacks=[checkpoint], enable_checkpointing=True, compat=version).fit(
            Worse(), data(), data()
        )
        assert checkpoint.best_model_path.endswith(f"epoch={best}.ckpt")


def test_early_stopping() -> None:
    stopping = EarlyStopping()
    assert (stopping.monitor, stopping.mode) == ("early_stop_on", "min")
    assert EarlyStopping("acc", 0.0, 3, False, "auto").mode == "max"
    assert EarlyStopping("val_acc", mode="auto").mode == "min"


def test_datamodule() -> None:
    old: Any = pl.LightningDataModule(train_transforms=1, dims=(1, 28, 28))
    assert (old.train_transforms, old.dims, old.val_transforms) == (1, (1, 28, 28), None)
    assert (old.size(), old.size(1), old.has_prepared_data) == ((1, 28, 28), 28, False)


# ---------------------------------------------------------------------------------------------- command lines


def test_argparse() -> None:
    kind: Any = pl.Trainer
    parser = kind.add_argparse_args(argparse.ArgumentParser())
    parser.add_argument("--mine", default=3)
    args = parser.parse_args(["--max_epochs", "4", "--gpus", "0", "--fast_dev_run",
                              "--limit_val_batches", "0.5",
                              "--progress_bar_refresh_rate", "0", "--logger", "False"])  # fmt: skip
    trainer = kind.from_argparse_args(args, enable_checkpointing=False)
    assert (trainer.max_epochs, trainer.fast_dev_run, args.mine) == (1, True, 3)
    args.fast_dev_run = False
    trainer = kind.from_argparse_args(args, max_epochs=7, enable_model_summary=False)
    assert (trainer.max_epochs, trainer.limit_val_batches, trainer.gpus) == (7, 0.5, 0)
    assert trainer.progress_bar_callback is None


def test_argparse_of_a_datamodule() -> None:
    class Data(pl.LightningDataModule):
        def __init__(self, folder: str = "x", batch_size: int = 2, shuffle: bool = False) -> None:
            super().__init__()
            self.given = (folder, batch_size, shuffle)

    kind: Any = Data
    parser = kind.add_argparse_args(argparse.ArgumentParser())
    args = parser.parse_args(["--batch_size", "8", "--shuffle"])
    assert kind.from_argparse_args(args).given == ("x", 8, True)


def test_tune() -> None:
    model = Model(lr=1e-4)
    trainer = bare(auto_lr_find=True, max_epochs=1)
    found = trainer.tune(model, DataLoader(TensorDataset(torch.ones(256, 2)), batch_size=2))
    assert found["lr_find"].suggestion() == model.lr != 1e-4
    finder = trainer.tuner.lr_find(
        model, DataLoader(TensorDataset(torch.ones(256, 2)), batch_size=2), num_training=20
    )
    assert len(finder.results["lr"]) > 5


def test_a_module_of_that_name_is_found_by_torch_and_tracing_meets_no_old_attribute() -> None:
    class Own(Model):
        def __init__(self) -> None:
            super().__init__()
            self.precision = nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    model = Own()
    bare(max_epochs=1).fit(model, data())
    assert model.get_submodule("precision") is model.precision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", OldSpelling)
        torch.jit.trace(model, torch.ones(1, 2))
