"""Why and when a fit ends, and what it returns."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import fulmen as pl
from fulmen.callbacks import EarlyStopping, ModelCheckpoint

from .engine.small import Small, TrainsOnly, batches, callback, make_trainer


def run(root: Path, model: Any = None, *, train: int = 3, **options: Any) -> pl.FitResult:
    trainer = make_trainer(root, **{"max_epochs": 10, **options})
    return trainer.fit(model or TrainsOnly(), batches(train))


def stopping_at(epoch: int, batch_idx: int, reason: str | None = None) -> pl.Callback:
    """Asks for the end at one batch."""

    def on_train_batch_end(
        self: Any, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        if (trainer.current_epoch, index) == (epoch, batch_idx):
            if reason is None:
                trainer.should_stop = True
            else:
                trainer.stop(reason)

    return callback(on_train_batch_end=on_train_batch_end)


@pytest.mark.parametrize(
    ("options", "reason", "epochs", "steps"),
    [
        ({"max_epochs": 2}, "max_epochs=2 reached", 2, 6),
        ({"max_steps": 4}, "max_steps=4 reached", 2, 4),
        ({"max_steps": 6}, "max_steps=6 reached", 2, 6),
        ({"max_steps": 3, "accumulate_grad_batches": 2}, "max_steps=3 reached", 2, 3),
        ({"max_epochs": None, "max_steps": 7}, "max_steps=7 reached", 3, 7),
        ({"max_epochs": -1, "max_steps": 7}, "max_steps=7 reached", 3, 7),
        ({"max_epochs": 0}, "max_epochs=0 reached", 0, 0),
        ({"max_steps": 0}, "max_steps=0 reached", 0, 0),
        ({"limit_train_batches": 0}, "there was nothing to train on", 0, 0),
        ({"callbacks": [stopping_at(1, 0)]}, "trainer.should_stop was set", 2, 4),
        ({"callbacks": [stopping_at(1, 2)]}, "trainer.should_stop was set", 2, 6),
        ({"callbacks": [stopping_at(0, 1, "the loss is nan")]}, "the loss is nan", 1, 2),
        ({"callbacks": [stopping_at(0, 0, "first"), stopping_at(0, 0, "second")]}, "first", 1, 1),
        ({"fast_dev_run": True}, "max_steps=1 reached", 1, 1),
        ({"max_epochs": 1, "max_steps": 100}, "max_epochs=1 reached", 1, 3),
    ],
    ids=str,
)
def test_why_it_ended(tmp_path: Path, options: dict[str, Any], reason: str, epochs: int, steps: int) -> None:
    result = run(tmp_path, **options)
    assert (result.stopped_because, result.epochs, result.steps) == (reason, epochs, steps)
    assert result
    assert not result.interrupted


@pytest.mark.parametrize(
    ("least", "steps"),
    [
        ({}, 1),
        ({"min_epochs": 1}, 3),
        ({"min_epochs": 2}, 6),
        ({"min_steps": 2}, 3),
        ({"min_steps": 3}, 3),
        ({"min_steps": 4}, 4),
        ({"min_epochs": 1, "min_steps": 5}, 5),
        ({"min_epochs": 2, "min_steps": 1}, 6),
    ],
    ids=str,
)
def test_least_that_is_trained(tmp_path: Path, least: dict[str, int], steps: int) -> None:
    """Asked to stop at the first batch, of three in an epoch."""
    result = run(tmp_path, callbacks=[stopping_at(0, 0, "asked")], **least)
    assert (result.steps, result.stopped_because) == (steps, "asked")


@pytest.mark.filterwarnings("ignore:`min_")
@pytest.mark.parametrize(
    ("limits", "steps"), [({"max_epochs": 1, "min_epochs": 2}, 3), ({"max_steps": 2, "min_steps": 4}, 2)]
)
def test_most_that_is_less_than_the_least(tmp_path: Path, limits: dict[str, int], steps: int) -> None:
    assert run(tmp_path, **limits).steps == steps


@pytest.mark.parametrize(
    ("hook", "steps"),
    [
        ("on_fit_start", 0),
        ("on_sanity_check_end", 0),
        ("on_train_start", 0),
        ("on_train_epoch_start", 0),
        ("on_train_batch_start", 1),
        ("on_before_optimizer_step", 1),
        ("on_validation_start", 3),
        ("on_validation_end", 3),
        ("on_train_epoch_end", 3),
    ],
)
def test_request_from_any_hook(tmp_path: Path, hook: str, steps: int) -> None:
    """The step under way is finished, and no other one is begun."""

    def stop(self: Any, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if not trainer.sanity_checking or hook == "on_sanity_check_end":
            trainer.should_stop = True

    options: dict[str, Any] = {"max_epochs": 3, "num_sanity_val_steps": 1}
    trainer = make_trainer(tmp_path, callbacks=[callback(**{hook: stop})], **options)
    assert trainer.fit(Small(), batches(3), batches(1)).steps == steps


def test_it_is_said_that_training_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run(tmp_path, callbacks=[stopping_at(0, 2, "asked")], min_epochs=3)
    messages = [message for message in caplog.messages if "min_epochs=3" in message]
    assert len(messages) == 1  # once, and not at each epoch
    assert "asked" in messages[0]


def test_request_can_be_taken_back(tmp_path: Path) -> None:
    def take_back(self: Any, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.current_epoch == 0:
            trainer.should_stop = False

    both = [stopping_at(0, 2), callback(on_train_epoch_end=take_back)]
    result = run(tmp_path, callbacks=both, max_epochs=2, min_epochs=1)
    assert (result.epochs, result.stopped_because) == (2, "max_epochs=2 reached")


def test_a_stopped_trainer_can_fit_again(tmp_path: Path) -> None:
    """A request to stop is of one run."""
    trainer = make_trainer(tmp_path, callbacks=[stopping_at(0, 0)], max_epochs=2)
    model = TrainsOnly()
    trainer.fit(model, batches(3))
    assert trainer.should_stop
    result = trainer.fit(model, batches(3))
    assert (result.epochs, result.stopped_because) == (2, "max_epochs=2 reached")


def test_early_stopping_says_why(tmp_path: Path) -> None:
    class Constant(TrainsOnly):
        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            self.log("x", 1.0, on_step=False, on_epoch=True)

    result = run(tmp_path, Constant(), callbacks=[EarlyStopping("x", patience=1)])
    assert result.epochs == 2
    assert "x" in result.stopped_because
    assert result


def test_no_time_left(tmp_path: Path) -> None:
    result = run(tmp_path, max_epochs=-1, max_time=timedelta(microseconds=1))
    assert "max_time" in result.stopped_because or "time" in result.stopped_because
    assert result


def test_default_number_of_epochs_is_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run(tmp_path, max_epochs=None, callbacks=[stopping_at(0, 0)])
    assert "1000 epochs" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        run(tmp_path, max_epochs=1)
    assert "1000" not in caplog.text


def test_the_end_is_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run(tmp_path, max_epochs=2)
    assert "max_epochs=2 reached" in caplog.text


class Improves(Small):
    """`val` is 1, then 3, then 2."""

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val", [1.0, 3.0, 2.0][self.current_epoch])


def checkpoints(root: Path, saver: ModelCheckpoint) -> tuple[str | None, str | None]:
    trainer = make_trainer(root, callbacks=[saver], enable_checkpointing=True, max_epochs=3)
    result = trainer.fit(Improves(), batches(2), batches(1))
    names = (result.best_checkpoint, result.last_checkpoint)
    return tuple(None if path is None else Path(path).name for path in names)  # type: ignore[return-value]


def test_best_and_last_checkpoint(tmp_path: Path) -> None:
    """The newest that was written and is there, also where no extra file was asked for."""
    best_of_all = ModelCheckpoint(tmp_path / "a", monitor="val", mode="max", save_top_k=-1)
    assert checkpoints(tmp_path, best_of_all) == ("epoch=1-step=4.ckpt", "epoch=2-step=6.ckpt")
    with_last = ModelCheckpoint(tmp_path / "b", monitor="val", mode="max", save_last=True)
    assert checkpoints(tmp_path, with_last) == ("epoch=1-step=4.ckpt", "last.ckpt")
    newest = ModelCheckpoint(tmp_path / "c")
    assert checkpoints(tmp_path, newest) == ("epoch=2-step=6.ckpt", "epoch=2-step=6.ckpt")


def test_no_checkpoints(tmp_path: Path) -> None:
    result = run(tmp_path, max_epochs=1)
    assert (result.best_checkpoint, result.last_checkpoint) == (None, None)


def test_history_is_of_this_fit(tmp_path: Path) -> None:
    class Logs(TrainsOnly):
        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            self.log("x", batch.item())

    trainer, model = make_trainer(tmp_path, max_epochs=1), Logs()
    first = trainer.fit(model, batches(2))
    second = trainer.fit(model, batches(2))
    assert first.history["x"] == [(0, 1.0), (1, 2.0)]
    assert len(second.history) == 0


def test_result_cannot_be_changed(tmp_path: Path) -> None:
    result = run(tmp_path, max_epochs=1)
    with pytest.raises(AttributeError):
        result.steps = 3  # pyright: ignore[reportAttributeAccessIssue]
