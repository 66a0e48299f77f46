"""What users read from a Trainer: before, during and after its runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from fulmen.errors import ConfigError
from fulmen.loggers import CSVLogger

from .engine.small import Rows, Small, TrainsOnly, batches, callback, fit, make_trainer

PUBLIC = [
    "accelerator", "accumulate_grad_batches", "barebones", "callback_metrics", "callbacks",
    "check_val_every_n_epoch", "checkpoint_callback", "checkpoint_callbacks", "ckpt_path", "current_epoch",
    "datamodule", "default_root_dir", "device_ids", "distributed_sampler_kwargs", "early_stopping_callback",
    "early_stopping_callbacks", "enable_autolog_hparams", "enable_validation", "estimated_stepping_batches",
    "evaluating", "fast_dev_run", "fit", "fit_loop", "global_rank", "global_step",
    "gradient_clip_algorithm", "gradient_clip_val", "init_module", "interrupted", "is_global_zero",
    "is_last_batch", "lightning_module", "limit_predict_batches", "limit_test_batches",
    "limit_train_batches", "limit_val_batches", "local_rank", "log_dir", "log_every_n_steps",
    "logged_metrics", "logger", "loggers", "lr_scheduler_configs", "max_epochs", "max_steps", "min_epochs",
    "min_steps", "model", "node_rank", "num_devices", "num_nodes", "num_predict_batches",
    "num_sanity_val_batches", "num_sanity_val_steps", "num_test_batches", "num_training_batches",
    "num_val_batches", "optimizers", "overfit_batches", "precision", "precision_plugin", "predict",
    "predict_dataloaders", "predict_loop", "predicting", "print", "profiler", "progress_bar_callback",
    "progress_bar_metrics", "received_sigterm", "reload_dataloaders_every_n_epochs", "sanity_checking",
    "save_checkpoint", "scaler", "should_stop", "state", "strategy", "test", "test_dataloaders",
    "test_loop", "testing", "train_dataloader", "training", "val_check_batch", "val_check_interval",
    "val_dataloaders", "validate", "validate_loop", "validating", "world_size",
]  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_of_lightning_2_6_is_there(tmp_path: Path, name: str) -> None:
    """Readable at any time: before the first run, and after it."""
    trainer = make_trainer(tmp_path)
    getattr(trainer, name)
    trainer.fit(TrainsOnly(), batches(1))
    getattr(trainer, name)


def test_before_the_first_run(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    assert (trainer.current_epoch, trainer.global_step) == (0, 0)
    assert trainer.lightning_module is trainer.model is trainer.datamodule is trainer.ckpt_path is None
    assert (trainer.optimizers, trainer.lr_scheduler_configs) == ([], [])
    assert trainer.callback_metrics == trainer.logged_metrics == trainer.progress_bar_metrics == {}
    assert trainer.train_dataloader is trainer.val_dataloaders is None
    assert trainer.test_dataloaders is trainer.predict_dataloaders is None
    assert trainer.num_training_batches == math.inf
    assert trainer.num_val_batches == trainer.num_test_batches == trainer.num_predict_batches == []
    switches = (trainer.should_stop, trainer.interrupted, trainer.received_sigterm, trainer.is_last_batch)
    assert not any(switches)
    assert (str(trainer.state.status), trainer.state.fn, trainer.state.stage) == ("initializing", None, None)
    assert not trainer.state.finished


STAGES = ("training", "validating", "testing", "predicting", "sanity_checking", "evaluating")


def test_what_is_under_way(tmp_path: Path) -> None:
    """In each hook, `trainer.training` and its like, `state.fn` and `state.stage`."""
    seen: dict[str, Any] = {}

    def look(hook: str) -> Any:
        def method(self: Any, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
            state = trainer.state
            on = {stage for stage in STAGES if getattr(trainer, stage)}
            seen.setdefault(hook, (str(state.fn), str(state.stage), on))
            assert str(state.status) == "running"

        return method

    hooks = [
        "on_sanity_check_start", "on_train_start", "on_train_batch_start", "on_validation_batch_start",
        "on_train_epoch_end", "on_test_batch_start", "on_predict_batch_start",
    ]  # fmt: skip
    trainer = make_trainer(
        tmp_path, callbacks=[callback(**{hook: look(hook) for hook in hooks})], num_sanity_val_steps=1
    )
    module = Small()
    trainer.fit(module, batches(1), batches(1))
    trainer.test(module, batches(1), verbose=False)
    trainer.predict(module, batches(1))
    training = ("fit", "train", {"training"})
    assert seen == {
        "on_sanity_check_start": ("fit", "sanity_check", {"sanity_checking", "evaluating"}),
        "on_train_start": training,
        "on_train_batch_start": training,
        "on_validation_batch_start": ("fit", "sanity_check", {"sanity_checking", "evaluating"}),
        "on_train_epoch_end": training,
        "on_test_batch_start": ("test", "test", {"testing", "evaluating"}),
        "on_predict_batch_start": ("predict", "predict", {"predicting"}),
    }
    assert not any(getattr(trainer, stage) for stage in STAGES)
    assert trainer.state.finished
    assert (trainer.state.status, trainer.state.fn, trainer.state.stage) == ("finished", "predict", "predict")


@pytest.mark.parametrize(
    "hook", ["setup", "on_fit_start", "on_train_start", "on_train_end", "on_fit_end", "teardown"]
)
@pytest.mark.parametrize("sanity_steps", [0, 1])
def test_a_fit_is_training_but_for_its_sanity_check(tmp_path: Path, hook: str, sanity_steps: int) -> None:
    """From the first hook on, and to the last one."""
    seen: list[Any] = []

    def look(self: Any, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        seen.append((str(trainer.state.stage), trainer.training, trainer.sanity_checking))

    trainer = make_trainer(tmp_path, callbacks=[callback(**{hook: look})], num_sanity_val_steps=sanity_steps)
    trainer.fit(Small(), batches(1), batches(1))
    assert seen == [("train", True, False)]


def test_validation_within_fit_and_by_itself(tmp_path: Path) -> None:
    seen: list[Any] = []

    def look(self: Any, trainer: pl.Trainer, *args: Any) -> None:
        seen.append((str(trainer.state.fn), trainer.validating, trainer.training, trainer.evaluating))

    trainer = make_trainer(tmp_path, callbacks=[callback(on_validation_start=look)])
    trainer.fit(module := Small(), batches(1), batches(1))
    trainer.validate(module, batches(1), verbose=False)
    assert seen == [("fit", True, False, True), ("validate", True, False, True)]


def test_during_training(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Looks(Small):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            trainer = self.trainer
            assert trainer.lightning_module is trainer.model is self
            assert (trainer.num_training_batches, trainer.num_val_batches) == (3, [2])
            assert isinstance(trainer.optimizers[0], torch.optim.SGD)
            assert trainer.train_dataloader is loader
            seen.append((batch_idx, trainer.is_last_batch, trainer.current_epoch, trainer.global_step))

    loader = batches(3)
    make_trainer(tmp_path, max_epochs=2).fit(Looks(), loader, batches(2))
    assert seen == [
        *((0, False, 0, 0), (1, False, 0, 1), (2, True, 0, 2)),
        *((0, False, 1, 3), (1, False, 1, 4), (2, True, 1, 5)),
    ]


def test_last_batch_of_an_evaluation(tmp_path: Path) -> None:
    seen: list[bool] = []
    look = callback(on_test_batch_start=lambda self, trainer, *args: seen.append(trainer.is_last_batch))
    make_trainer(tmp_path, callbacks=[look]).test(Small(), batches(3), verbose=False)
    assert seen == [False, False, True]


def test_optimizers_of_the_trainer_are_the_users_own(tmp_path: Path) -> None:
    class Keeps(TrainsOnly):
        def configure_optimizers(self) -> Any:
            self.own = torch.optim.Adam(self.parameters())
            self.scheduler = torch.optim.lr_scheduler.StepLR(self.own, 1)
            return [self.own], [{"scheduler": self.scheduler, "interval": "step", "name": "slow"}]

    module = Keeps()
    trainer = fit(tmp_path, module)
    assert trainer.optimizers[0] is module.own
    (config,) = trainer.lr_scheduler_configs
    assert (config.scheduler, config.interval, config.frequency, config.name) == (
        module.scheduler,
        "step",
        1,
        "slow",
    )
    assert (config.monitor, config.reduce_on_plateau, config.strict) == (None, False, True)


def test_optimizers_can_be_replaced_on_the_way(tmp_path: Path) -> None:
    """As Lightning allows; from the next update on."""

    class Replaces(TrainsOnly):
        def on_train_epoch_start(self) -> None:
            if self.current_epoch == 1:
                self.trainer.optimizers = [torch.optim.SGD(self.parameters(), lr=100.0)]  # pyright: ignore[reportAttributeAccessIssue]

    module = Replaces()
    fit(tmp_path, module, train=1, max_epochs=2)
    assert module.w.item() == -0.5 - 100


def test_loggers_can_be_replaced(tmp_path: Path) -> None:
    trainer, own, other = make_trainer(tmp_path), Rows(), Rows()
    trainer.logger = own
    assert (trainer.logger, trainer.loggers) == (own, [own])
    trainer.loggers = [other, own]
    assert (trainer.logger, trainer.loggers) == (other, [other, own])
    trainer.logger = None
    assert (trainer.logger, trainer.loggers) == (None, [])
    trainer.logger = own

    class Logs(TrainsOnly):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.log("x", 1.0)

    trainer.fit(Logs(), batches(1))
    assert own.named("x") == [(0, 1.0)]


def test_accumulation_can_be_changed_and_is_checked(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.accumulate_grad_batches = 3
    assert trainer.accumulate_grad_batches == 3
    with pytest.raises(ConfigError, match="accumulate_grad_batches"):
        trainer.accumulate_grad_batches = 0
    trainer.fit(TrainsOnly(), batches(5))
    assert trainer.global_step == 2


@pytest.mark.parametrize(
    "name",
    ["current_epoch", "global_step", "callback_metrics", "world_size", "precision", "num_training_batches"],
)
def test_what_cannot_be_set(tmp_path: Path, name: str) -> None:
    """Setting a property that is read only would look like it worked."""
    with pytest.raises(AttributeError):
        setattr(make_trainer(tmp_path), name, 3)


def test_checkpoint_path_of_the_last_run(tmp_path: Path) -> None:
    path, trainer = tmp_path / "x.ckpt", fit(tmp_path, Small())
    assert trainer.ckpt_path is None
    trainer.save_checkpoint(path)
    trainer.test(Small(), batches(1), ckpt_path=path, verbose=False)
    assert trainer.ckpt_path == str(path)
    trainer.test(Small(), batches(1), verbose=False)
    assert trainer.ckpt_path is None
    trainer.ckpt_path = "elsewhere"
    assert trainer.ckpt_path == "elsewhere"


def test_callbacks_by_kind(tmp_path: Path) -> None:
    first, second = ModelCheckpoint(monitor="a"), ModelCheckpoint(monitor="b")
    stop, other_stop, bar = EarlyStopping("a"), EarlyStopping("b"), TQDMProgressBar()
    own = [first, stop, bar, second, other_stop]
    trainer = make_trainer(tmp_path, callbacks=own, enable_checkpointing=True, enable_progress_bar=True)
    assert (trainer.checkpoint_callback, trainer.checkpoint_callbacks) == (first, [first, second])
    assert (trainer.early_stopping_callback, trainer.early_stopping_callbacks) == (stop, [stop, other_stop])
    assert trainer.progress_bar_callback is bar
    nothing = make_trainer(tmp_path)
    assert (
        nothing.checkpoint_callback
        is nothing.early_stopping_callback
        is nothing.progress_bar_callback
        is None
    )
    assert nothing.checkpoint_callbacks == nothing.early_stopping_callbacks == []


def test_checkpoints_are_saved_last(tmp_path: Path) -> None:
    """Whatever the order they were given in: once a run has begun, those that save are at the end."""
    saver, other = ModelCheckpoint(), callback()
    trainer = make_trainer(tmp_path, callbacks=[saver, other], enable_checkpointing=True)
    trainer.fit(TrainsOnly(), batches(1))
    assert trainer.callbacks == [other, saver]


def test_callbacks_of_the_module(tmp_path: Path) -> None:
    """They replace those of the same class, and the others stay."""
    own, others, another = EarlyStopping("mine"), EarlyStopping("theirs"), callback()

    class Brings(TrainsOnly):
        def configure_callbacks(self) -> Any:
            return own

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("mine", 1.0, on_step=False, on_epoch=True)

    trainer = make_trainer(tmp_path, callbacks=[others, another])
    trainer.fit(Brings(), batches(1))
    assert trainer.callbacks == [another, own]


def test_folder_of_the_logs(tmp_path: Path) -> None:
    assert make_trainer(tmp_path).log_dir == str(tmp_path)
    logger = CSVLogger(tmp_path / "logs", name="name", version=3)
    assert make_trainer(tmp_path, logger=logger).log_dir == str(tmp_path / "logs" / "name" / "version_3")
    assert make_trainer(tmp_path, logger=[logger, Rows()]).log_dir == logger.log_dir


def test_alone_in_the_world(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    assert (trainer.world_size, trainer.num_nodes, trainer.num_devices) == (1, 1, 1)
    assert (trainer.global_rank, trainer.local_rank, trainer.node_rank) == (0, 0, 0)
    assert trainer.is_global_zero
    assert trainer.distributed_sampler_kwargs == {"num_replicas": 1, "rank": 0}


def test_print(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_trainer(tmp_path).print("a", "b", sep="-")
    assert capsys.readouterr().out == "a-b\n"


@pytest.mark.parametrize(("limit", "enabled"), [(0, False), (0.0, False), (1, True), (1.0, True)])
def test_whether_there_will_be_validation(tmp_path: Path, limit: float, enabled: bool) -> None:
    assert make_trainer(tmp_path, limit_val_batches=limit).enable_validation is enabled
    assert fit(tmp_path, Small(), val=1, limit_val_batches=limit).enable_validation is enabled
    assert fit(tmp_path, TrainsOnly()).enable_validation is False


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("32-true", torch.float32),
        ("64-true", torch.float64),
        ("bf16-true", torch.bfloat16),
        ("16-mixed", torch.float32),
    ],
)
def test_modules_made_where_and_as_they_train(tmp_path: Path, precision: str, dtype: torch.dtype) -> None:
    trainer = make_trainer(tmp_path, precision=precision)
    with trainer.init_module():
        layer = torch.nn.Linear(1, 1)
    assert (layer.weight.dtype, layer.weight.device) == (dtype, trainer.strategy.root_device)
    assert torch.get_default_dtype() == torch.float32
    with trainer.init_module(empty_init=True):
        assert torch.nn.Linear(2, 3).weight.shape == (3, 2)


def test_everything_is_still_there_afterwards(tmp_path: Path) -> None:
    module = Small()
    trainer = fit(tmp_path, module, train=3, val=2, max_epochs=2)
    assert trainer.lightning_module is module
    assert (trainer.current_epoch, trainer.global_step) == (2, 6)
    assert (trainer.num_training_batches, trainer.num_val_batches) == (3, [2])
    assert len(trainer.optimizers) == 1
    trainer.test(module, batches(1), verbose=False)
    assert (trainer.current_epoch, trainer.global_step) == (2, 6)
    assert len(trainer.optimizers) == 1


def test_estimated_steps_outside_of_a_fit(tmp_path: Path) -> None:
    assert make_trainer(tmp_path, max_steps=7).estimated_stepping_batches == 7
    assert fit(tmp_path, TrainsOnly(), train=3, max_epochs=2).estimated_stepping_batches == 6


def test_metrics_of_something_else(tmp_path: Path) -> None:
    """What a callback found out, for those that monitor."""
    seen: list[float] = []

    def on_train_batch_end(self: Any, trainer: pl.Trainer, *args: Any) -> None:
        trainer.add_metrics({"found": 3.0})
        seen.append(trainer.callback_metrics["found"].item())

    fit(tmp_path, TrainsOnly(), callbacks=[callback(on_train_batch_end=on_train_batch_end)])
    assert seen == [3.0, 3.0]
