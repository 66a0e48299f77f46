"""What happens when something is raised: who is told, what is left, and what can be done afterwards."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fulmen as pl

from .engine.small import Rows, Small, TrainsOnly, batches, callback, make_trainer

Boom = type("Boom", (Exception,), {})


class Told(pl.Callback):
    """Notes the exceptions that it is told of, and the hooks that follow."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.calls.append(type(exception).__name__)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.calls.append("on_train_end")

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self.calls.append("on_fit_end")

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.calls.append("teardown")


def failing(hook: str, error: type[BaseException] = Boom) -> Small:
    """A module that fails in one hook."""

    def fail(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise error("scripted")

    if hook in ("training_step", "validation_step", "test_step", "predict_step"):
        return type("Fails", (Small,), {hook: lambda self, batch, batch_idx: fail(self)})()
    return type("Fails", (Small,), {hook: fail})()


FIT_HOOKS = (
    "prepare_data", "setup", "configure_model", "configure_callbacks", "configure_optimizers", "on_fit_start",
    "on_train_start", "on_train_epoch_start", "on_train_batch_start", "training_step", "on_before_backward",
    "on_after_backward", "on_before_optimizer_step", "on_train_batch_end", "validation_step",
    "on_validation_end", "on_train_epoch_end", "on_train_end", "on_fit_end", "teardown",
)  # fmt: skip


@pytest.mark.parametrize("hook", FIT_HOOKS)
def test_error_in_a_fit(tmp_path: Path, hook: str) -> None:
    """It comes through as it is; callbacks and data are told once, loggers are closed."""
    told, logger, data = Told(), Rows(), Data()
    trainer = make_trainer(tmp_path, callbacks=[told], logger=logger)
    with pytest.raises(Boom, match="scripted") as caught:
        trainer.fit(failing(hook), datamodule=data)
    assert caught.value.__cause__ is None
    assert [call for call in told.calls if call == "Boom"] == ["Boom"]
    assert data.told == ["Boom"]
    assert logger.calls[-1] == ("finalize", "failed")
    assert trainer.interrupted
    assert str(trainer.state.status) == "interrupted"
    assert not trainer.training


class Data(pl.LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def train_dataloader(self) -> Any:
        return batches(2)

    def val_dataloader(self) -> Any:
        return batches(1)

    def on_exception(self, exception: BaseException) -> None:
        self.told.append(type(exception).__name__)


@pytest.mark.parametrize(
    ("method", "hook"),
    [
        ("validate", "validation_step"),
        ("test", "test_step"),
        ("test", "on_test_end"),
        ("predict", "predict_step"),
    ],
)
def test_error_in_an_evaluation(tmp_path: Path, method: str, hook: str) -> None:
    told, logger = Told(), Rows()
    trainer = make_trainer(tmp_path, callbacks=[told], logger=logger)
    module = failing(hook)
    with pytest.raises(Boom):
        getattr(trainer, method)(module, batches(1))
    assert told.calls == ["Boom"]
    assert logger.calls[-1] == ("finalize", "failed")
    assert module.training  # the modes are as before


def test_error_in_the_data(tmp_path: Path) -> None:
    class Broken:
        def __iter__(self) -> Any:
            yield torch.ones(1)
            raise Boom("disk")

    told = Told()
    with pytest.raises(Boom, match="disk"):
        make_trainer(tmp_path, callbacks=[told]).fit(TrainsOnly(), Broken())
    assert told.calls == ["Boom"]


def test_error_in_a_loader_hook(tmp_path: Path) -> None:
    class Broken(TrainsOnly):
        def train_dataloader(self) -> Any:
            raise Boom("no data")

    told = Told()
    with pytest.raises(Boom, match="no data"):
        make_trainer(tmp_path, callbacks=[told]).fit(Broken())
    assert told.calls == ["Boom"]


def test_error_while_an_error_is_told(tmp_path: Path) -> None:
    """The first one is not lost, and the others are still told."""

    def on_exception(self: Any, *args: Any) -> None:
        raise ValueError("also")

    told, logger = Told(), Rows()
    trainer = make_trainer(tmp_path, callbacks=[callback(on_exception=on_exception), told], logger=logger)
    with pytest.raises((Boom, ValueError)) as caught:
        trainer.fit(failing("training_step"), batches(1), batches(1))
    assert Boom in {type(caught.value), type(caught.value.__context__)}
    assert logger.calls[-1] == ("finalize", "failed")


def test_error_in_the_sanity_check(tmp_path: Path) -> None:
    told = Told()
    trainer = make_trainer(tmp_path, callbacks=[told], num_sanity_val_steps=1)
    with pytest.raises(Boom):
        trainer.fit(failing("validation_step"), batches(1), batches(1))
    assert told.calls == ["Boom"]
    assert not trainer.sanity_checking


@pytest.mark.parametrize("hook", ["setup", "training_step", "validation_step", "on_train_epoch_end"])
def test_the_module_can_be_used_afterwards(tmp_path: Path, hook: str) -> None:
    """By another Trainer, from where it is; and by the same one."""
    module = failing(hook)
    trainer = make_trainer(tmp_path)
    with pytest.raises(Boom):
        trainer.fit(module, batches(2), batches(1))
    module.__class__ = Small
    assert module.training
    for again in (make_trainer(tmp_path), trainer):
        again.test(module, batches(1), verbose=False)
    before = module.w.item()
    make_trainer(tmp_path, limit_val_batches=0).fit(module, batches(2))
    assert module.w.item() == before - 1.5


def test_a_failed_fit_can_be_repeated(tmp_path: Path) -> None:
    """With the same Trainer, to the same end."""
    module = failing("training_step")
    trainer = make_trainer(tmp_path, limit_val_batches=0)
    with pytest.raises(Boom):
        trainer.fit(module, batches(2))
    module.__class__ = Small
    result = trainer.fit(module, batches(2))
    assert result
    assert (result.epochs, result.steps) == (1, 2)


def test_settings_of_torch_are_put_back(tmp_path: Path) -> None:
    trainer = make_trainer(
        tmp_path, deterministic=True, detect_anomaly=True, benchmark=True, precision="64-true"
    )
    with pytest.raises(Boom):
        trainer.fit(failing("training_step"), batches(1), batches(1))
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.is_anomaly_enabled()
    assert not torch.backends.cudnn.benchmark
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# ------------------------------------------------------------------------ KeyboardInterrupt in user code


def test_keyboard_interrupt_in_a_step(tmp_path: Path) -> None:
    """As Ctrl-C: everybody is told, teardown runs, and `fit` returns that it was interrupted."""
    told, logger = Told(), Rows()
    trainer = make_trainer(tmp_path, callbacks=[told], logger=logger)
    result = trainer.fit(failing("training_step", KeyboardInterrupt), batches(2), batches(1))
    assert not result
    assert (result.interrupted, result.stopped_because) == (True, "interrupted")
    assert trainer.interrupted
    assert told.calls[0] == "KeyboardInterrupt"
    assert told.calls[-1] == "teardown"
    assert told.calls.count("KeyboardInterrupt") == told.calls.count("teardown") == 1
    assert logger.calls[-1] == ("finalize", "interrupted")


@pytest.mark.parametrize("method", ["validate", "test", "predict"])
def test_keyboard_interrupt_in_an_evaluation_is_raised(tmp_path: Path, method: str) -> None:
    """There is no result that could say so."""
    step = {"validate": "validation_step", "test": "test_step", "predict": "predict_step"}[method]
    told = Told()
    with pytest.raises(KeyboardInterrupt):
        getattr(make_trainer(tmp_path, callbacks=[told]), method)(
            failing(step, KeyboardInterrupt), batches(1)
        )
    assert told.calls[0] == "KeyboardInterrupt"


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit])
def test_other_ways_out_are_not_held_up(tmp_path: Path, error: type[BaseException]) -> None:
    told, logger = Told(), Rows()
    with pytest.raises(error):
        make_trainer(tmp_path, callbacks=[told], logger=logger).fit(
            failing("training_step", error), batches(1), batches(1)
        )
    assert told.calls == [error.__name__]
    assert logger.calls[-1] == ("finalize", "failed")


def test_fit_in_a_thread(tmp_path: Path) -> None:
    """Where no signal handler can be set."""
    results: list[pl.FitResult] = []
    trainer = make_trainer(tmp_path)
    thread = threading.Thread(target=lambda: results.append(trainer.fit(TrainsOnly(), batches(2))))
    thread.start()
    thread.join()
    assert results[0].steps == 2


def test_handler_of_an_application_stays_in_charge(tmp_path: Path) -> None:
    seen: list[int] = []

    class Presses(TrainsOnly):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            signal.raise_signal(signal.SIGINT)
            return super().training_step(batch, batch_idx)

    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        result = make_trainer(tmp_path).fit(Presses(), batches(2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.steps == 2
    assert seen == [signal.SIGINT] * 2
