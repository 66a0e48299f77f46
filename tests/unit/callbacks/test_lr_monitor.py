"""Names and steps of logged learning rates; as in Lightning 2.6."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adagrad, Adam
from torch.optim.lr_scheduler import ExponentialLR, StepLR

from fulmen.base.report import FulmenWarning
from fulmen.callbacks import LambdaCallback, LearningRateMonitor
from fulmen.errors import ConfigError

from .scenarios import MemoryLogger, Scripted, batches, make_trainer

Configure = Callable[[Scripted], Any]


class Configured(Scripted):
    """Has the optimizers that a test says; steps them by hand where there are several."""

    def __init__(self, configure: Configure, *, manual: bool = False) -> None:
        super().__init__()
        self.configure = configure
        self.automatic_optimization = not manual

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> Any:
        loss = self.layer(batch[0]).pow(2).mean()
        if self.automatic_optimization:
            return loss
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
            optimizer.zero_grad()
        return None

    def configure_optimizers(self) -> Any:
        return self.configure(self)


def monitor(
    root: Path, configure: Configure, *, manual: bool = False, log_every_n_steps: int = 1, count: int = 4,
    epochs: int = 1, accumulate: int = 1, **arguments: Any,
) -> tuple[list[tuple[int | None, dict[str, float]]], LearningRateMonitor]:  # fmt: skip
    """Rows that mention a learning rate, and the callback, after some epochs of four batches."""
    logger, callback = MemoryLogger(), LearningRateMonitor(**arguments)
    trainer = make_trainer(
        root, callback, logger=logger, max_epochs=epochs, log_every_n_steps=log_every_n_steps,
        accumulate_grad_batches=accumulate,
    )  # fmt: skip
    trainer.fit(Configured(configure, manual=manual), batches(count), batches(1))
    return logger.rows, callback


def groups(module: Scripted, *names: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"params": [module.layer.weight], "lr": 0.1},
        {"params": [module.layer.bias], "lr": 0.2},
    ]
    for group, name in zip(found, names, strict=False):
        group["name"] = name
    return found


def halved(optimizer: torch.optim.Optimizer) -> StepLR:
    return StepLR(optimizer, 1, 0.5)


def scheduled(optimizer: torch.optim.Optimizer, **config: Any) -> dict[str, Any]:
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": halved(optimizer), **config}}


def two(module: Scripted) -> list[Adam]:
    return [Adam([module.layer.weight], lr=0.1), Adam([module.layer.bias], lr=0.2)]


@pytest.mark.parametrize(
    ("configure", "manual", "expected"),
    [
        (lambda m: Adam(m.parameters(), lr=0.1), False, {"lr-Adam": 0.1}),
        (lambda m: Adam(groups(m)), False, {"lr-Adam/pg1": 0.1, "lr-Adam/pg2": 0.2}),
        (lambda m: Adam(groups(m, "body", "head")), False, {"lr-Adam/body": 0.1, "lr-Adam/head": 0.2}),
        (lambda m: Adam(groups(m, "body")), False, {"lr-Adam/body": 0.1, "lr-Adam/pg2": 0.2}),
        (lambda m: Adam(groups(m, "body")[:1]), False, {"lr-Adam/body": 0.1}),
        (lambda m: scheduled(Adam(m.parameters(), lr=0.1), name="warm"), False, {"warm": 0.1}),
        (lambda m: scheduled(Adam(groups(m)), name="warm"), False, {"warm/pg1": 0.1, "warm/pg2": 0.2}),
        (two, True, {"lr-Adam": 0.1, "lr-Adam-1": 0.2}),
        (lambda m: [two(m)[0], SGD([m.layer.bias], lr=0.3)], True, {"lr-Adam": 0.1, "lr-SGD": 0.3}),
        (lambda m: [scheduled(o, name="warm") for o in two(m)], True, {"warm": 0.1, "warm-1": 0.2}),
        (
            lambda m: (lambda o: ([o], [halved(o), ExponentialLR(o, 0.9)]))(Adam(m.parameters(), lr=0.1)),
            False,
            {"lr-Adam": 0.1, "lr-Adam-1": 0.1},
        ),
        (
            lambda m: (lambda both: (both, [halved(both[1])]))(two(m)),
            True,
            {"lr-Adam": 0.2, "lr-Adam-1": 0.1},
        ),
    ],
)
def test_names(configure: Configure, manual: bool, expected: dict[str, float], tmp_path: Path) -> None:
    """But for `warm-1`: in 2.6 both schedulers log as `warm`."""
    rows, callback = monitor(tmp_path, configure, manual=manual)
    assert rows[0] == (0, expected)
    assert list(callback.lrs) == list(expected)


def test_steps_without_scheduler(tmp_path: Path) -> None:
    rows, _ = monitor(tmp_path, lambda m: Adam(m.parameters(), lr=0.1), log_every_n_steps=3, epochs=2)
    assert [step for step, _ in rows] == [0, 2, 4, 5]  # each epoch's first, and every third


def test_steps_of_a_scheduler_per_epoch(tmp_path: Path) -> None:
    rows, _ = monitor(tmp_path, lambda m: scheduled(Adam(m.parameters(), lr=0.1)), epochs=2)
    assert rows == [(0, {"lr-Adam": 0.1}), (4, {"lr-Adam": 0.05})]


def test_steps_of_a_scheduler_per_step(tmp_path: Path) -> None:
    rows, callback = monitor(
        tmp_path,
        lambda m: scheduled(Adam(m.parameters(), lr=0.1), interval="step"),
        log_every_n_steps=3,
        epochs=3,
    )
    assert [step for step, _ in rows] == [2, 5, 8, 11]
    assert callback.lrs == {"lr-Adam": [0.1 * 0.5**step for step in (2, 5, 8, 11)]}


def test_the_interval_can_be_forced(tmp_path: Path) -> None:
    per_epoch, _ = monitor(
        tmp_path,
        lambda m: scheduled(Adam(m.parameters(), lr=0.1), interval="step"),
        logging_interval="epoch",
        epochs=2,
    )
    assert [step for step, _ in per_epoch] == [0, 4]
    per_step, _ = monitor(
        tmp_path, lambda m: scheduled(Adam(m.parameters(), lr=0.1)), logging_interval="step"
    )
    assert [step for step, _ in per_step] == [0, 1, 2, 3]


def test_one_row_per_update(tmp_path: Path) -> None:
    """In 2.6 there is one per batch, several of them for the same step."""
    rows, _ = monitor(tmp_path, lambda m: Adam(m.parameters(), lr=0.1), logging_interval="step", accumulate=2)
    assert [step for step, _ in rows] == [0, 1]


def test_manual_optimization_counts_batches(tmp_path: Path) -> None:
    rows, _ = monitor(tmp_path, two, manual=True, logging_interval="step")
    assert [step for step, _ in rows] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("configure", "expected"),
    [
        (lambda m: Adam(m.parameters(), weight_decay=0.5), {"-momentum": 0.9, "-weight_decay": 0.5}),
        (lambda m: SGD(m.parameters(), 0.1, momentum=0.5), {"-momentum": 0.5, "-weight_decay": 0.0}),
    ],
)
def test_momentum_and_weight_decay(configure: Configure, expected: dict[str, float], tmp_path: Path) -> None:
    rows, callback = monitor(tmp_path, configure, log_momentum=True, log_weight_decay=True)
    assert {
        name[name.rindex("-") :]: value for name, value in rows[0][1].items() if name.count("-") == 2
    } == expected
    assert list(callback.last_momentum_values.values()) == [expected["-momentum"]]
    assert list(callback.last_weight_decay_values.values()) == [expected["-weight_decay"]]


def test_an_optimizer_without_momentum_logs_0_and_the_user_is_told(tmp_path: Path) -> None:
    with pytest.warns(FulmenWarning, match="without momentum"):
        rows, _ = monitor(tmp_path, lambda m: Adagrad(m.parameters(), lr=0.1), log_momentum=True)
    assert rows[0][1]["lr-Adagrad-momentum"] == 0


def test_a_group_that_is_added_later(tmp_path: Path) -> None:
    logger = MemoryLogger()

    def thaw(trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 1:
            trainer.optimizers[0].add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.7})

    callbacks = LambdaCallback(on_train_epoch_start=thaw), LearningRateMonitor("epoch")
    trainer = make_trainer(tmp_path, *callbacks, logger=logger, max_epochs=2)
    trainer.fit(Configured(lambda m: Adam(m.parameters(), lr=0.1)), batches(), batches(1))
    assert logger.rows == [(0, {"lr-Adam": 0.1}), (4, {"lr-Adam/pg1": 0.1, "lr-Adam/pg2": 0.7})]


def test_values_can_be_monitored(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, LearningRateMonitor("epoch"), logger=MemoryLogger(), max_epochs=1)
    trainer.fit(Configured(lambda m: Adam(m.parameters(), lr=0.1)), batches(), batches(1))
    assert trainer.callback_metrics["lr-Adam"] == pytest.approx(0.1)


def test_a_learning_rate_that_is_a_tensor_is_logged_as_a_number(tmp_path: Path) -> None:
    rows, _ = monitor(tmp_path, lambda m: Adam(m.parameters(), lr=torch.tensor(0.5)))
    assert type(rows[0][1]["lr-Adam"]) is float


@pytest.mark.filterwarnings("ignore:`configure_optimizers` returned None")
def test_no_optimizer_no_rows(tmp_path: Path) -> None:
    rows, callback = monitor(tmp_path, lambda m: None)
    assert rows == []
    assert callback.lrs == {}


def test_groups_that_cannot_be_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 groups called 'lr-Adam/same'"):
        monitor(tmp_path, lambda m: Adam(groups(m, "same", "same")))


def test_without_logger_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no logger"):
        make_trainer(tmp_path, LearningRateMonitor()).fit(Scripted(), batches(), batches(1))


def test_an_unknown_interval() -> None:
    with pytest.raises(ConfigError, match="did you mean 'step'"):
        LearningRateMonitor("steps")
