"""When learning-rate schedulers step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau, StepLR

from fulmen.errors import MetricNotFoundError

from .small import Small, batches, fit, make_trainer, stream

Times = list[tuple[int, int]]


class Scheduled(Small):
    """Notes (epoch, batch) of each step of its scheduler, and what the scheduler was given."""

    def __init__(
        self, make: Any = lambda o: StepLR(o, 1), monitor: str | None = None, **entries: Any
    ) -> None:
        super().__init__()
        self.make, self.entries = make, entries
        if monitor is not None:
            self.entries["monitor"] = monitor
        self.batch_idx = -1
        self.stepped: Times = []
        self.given: list[float | None] = []

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.make(optimizer), **self.entries}}

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        self.batch_idx = batch_idx
        self.log("train", batch.item())
        self.log("mean", batch.item(), on_step=True, on_epoch=True)
        return self(batch).mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val", 10.0 * (self.current_epoch + 1))

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        self.stepped.append((self.trainer.current_epoch, self.batch_idx))
        self.given.append(None if metric is None else float(metric))
        super().lr_scheduler_step(scheduler, metric)


def times(root: Path, module: Scheduled, **options: Any) -> Times:
    fit(root, module, **{"train": 5, "max_epochs": 2, **options})
    return module.stepped


def test_each_epoch(tmp_path: Path) -> None:
    assert times(tmp_path, Scheduled()) == [(0, 4), (1, 4)]


def test_every_second_epoch(tmp_path: Path) -> None:
    assert times(tmp_path, Scheduled(frequency=2), max_epochs=5) == [(1, 4), (3, 4)]


def test_each_update(tmp_path: Path) -> None:
    found = times(tmp_path, Scheduled(interval="step"))
    assert found == [(epoch, batch) for epoch in range(2) for batch in range(5)]


@pytest.mark.parametrize(
    ("frequency", "found"),
    [(2, [(0, 1), (0, 3), (1, 1), (1, 3)]), (3, [(0, 2), (1, 2)]), (5, [(0, 4), (1, 4)]), (100, [])],
)
def test_every_so_many_updates_of_an_epoch(tmp_path: Path, frequency: int, found: Times) -> None:
    """The count starts again with each epoch."""
    assert times(tmp_path, Scheduled(interval="step", frequency=frequency)) == found


@pytest.mark.parametrize(
    ("frequency", "found"),
    [(1, [(0, 1), (0, 3), (0, 4), (1, 1), (1, 3), (1, 4)]), (2, [(0, 3), (1, 3)]), (3, [(0, 4), (1, 4)])],
)
def test_updates_are_counted_and_not_batches(tmp_path: Path, frequency: int, found: Times) -> None:
    """Windows of two batches: three updates an epoch."""
    module = Scheduled(interval="step", frequency=frequency)
    assert times(tmp_path, module, accumulate_grad_batches=2) == found


def test_loader_without_length(tmp_path: Path) -> None:
    assert times(tmp_path, Scheduled(), train=stream(3)) == [(0, 2), (1, 2)]


def test_limited_epochs(tmp_path: Path) -> None:
    assert times(tmp_path, Scheduled(), limit_train_batches=2) == [(0, 1), (1, 1)]


def test_rates_follow(tmp_path: Path) -> None:
    module = Scheduled(lambda o: StepLR(o, 1, gamma=0.1))
    trainer = fit(tmp_path, module, max_epochs=3)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-3)


def test_one_cycle_over_all_steps(tmp_path: Path) -> None:
    """A scheduler of exactly as many steps as there will be does not run over."""

    class Cycles(Small):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
            steps = int(self.trainer.estimated_stepping_batches)
            scheduler = OneCycleLR(optimizer, max_lr=1.0, total_steps=steps + 1)
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    trainer = fit(tmp_path, Cycles(), train=5, max_epochs=2, accumulate_grad_batches=2)
    assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == trainer.global_step == 6


def test_several_schedulers_each_at_its_time(tmp_path: Path) -> None:
    class Two(Small):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
            by_step = {"scheduler": LambdaLR(optimizer, lambda step: 1.0), "interval": "step"}
            return [optimizer], [by_step, StepLR(optimizer, 1)]

    trainer = fit(tmp_path, Two(), train=5, max_epochs=2)
    assert [config.scheduler.last_epoch for config in trainer.lr_scheduler_configs] == [10, 2]


def plateau(optimizer: Any) -> ReduceLROnPlateau:
    return ReduceLROnPlateau(optimizer, patience=0)


def test_plateau_follows_the_validation_of_its_epoch(tmp_path: Path) -> None:
    module = Scheduled(plateau, monitor="val")
    assert times(tmp_path, module, val=1) == [(0, 4), (1, 4)]
    assert module.given == [10, 20]


@pytest.mark.parametrize(("monitor", "given"), [("mean", [3, 3]), ("mean_epoch", [3, 3]), ("train", [5, 5])])
def test_plateau_follows_a_training_metric(tmp_path: Path, monitor: str, given: list[float]) -> None:
    module = Scheduled(plateau, monitor=monitor)
    assert times(tmp_path, module) == [(0, 4), (1, 4)]
    assert module.given == given


def test_plateau_follows_what_is_logged_when_the_epoch_ends(tmp_path: Path) -> None:
    class Late(Scheduled):
        def on_train_epoch_end(self) -> None:
            self.log("late", 7.0)

    module = Late(plateau, monitor="late")
    fit(tmp_path, module)
    assert module.given == [7]


def test_plateau_each_update(tmp_path: Path) -> None:
    module = Scheduled(plateau, monitor="train", interval="step", frequency=2)
    assert times(tmp_path, module, max_epochs=1) == [(0, 1), (0, 3)]
    assert module.given == [2, 4]


def test_plateau_after_the_validation_of_its_step(tmp_path: Path) -> None:
    module = Scheduled(plateau, monitor="val", interval="step", frequency=2)
    assert times(tmp_path, module, train=4, val=1, val_check_interval=2, max_epochs=1) == [(0, 1), (0, 3)]
    assert module.given == [10, 10]


def test_plateau_steps_after_every_second_validated_epoch(tmp_path: Path) -> None:
    module = Scheduled(plateau, monitor="val", frequency=2)
    found = times(tmp_path, module, val=1, check_val_every_n_epoch=2, max_epochs=4)
    assert found == [(1, 4), (3, 4)]


def test_plateau_lowers_the_rate(tmp_path: Path) -> None:
    """`val` grows: after the first epoch each one is worse than the best."""
    trainer = fit(tmp_path, Scheduled(plateau, monitor="val"), val=1, max_epochs=3)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01)


def test_monitored_name_that_nobody_logs(tmp_path: Path) -> None:
    with pytest.raises(MetricNotFoundError, match=r"(?s)ReduceLROnPlateau.*'vall'.*did you mean 'val'"):
        fit(tmp_path, Scheduled(plateau, monitor="vall"), val=1)


def test_error_lists_what_is_logged(tmp_path: Path) -> None:
    with pytest.raises(MetricNotFoundError, match=r"'mean', 'mean_epoch', 'mean_step', 'train'"):
        fit(tmp_path, Scheduled(plateau, monitor="something"))


def test_monitored_name_that_may_be_missing(tmp_path: Path) -> None:
    module = Scheduled(plateau, monitor="nothing", strict=False)
    with pytest.warns(UserWarning, match="did not step") as warned:
        fit(tmp_path, module, max_epochs=3)
    assert len(warned) == 1
    assert module.stepped == []


def test_monitor_of_a_scheduler_that_takes_no_metric(tmp_path: Path) -> None:
    module = Scheduled(monitor="nothing")
    assert times(tmp_path, module) == [(0, 4), (1, 4)]
    assert module.given == [None, None]


def test_metric_asked_for_by_hand(tmp_path: Path) -> None:
    """`reduce_on_plateau` makes any scheduler one that takes a metric."""

    class TakesMetric(Scheduled):
        def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
            self.given.append(float(metric))

    module = TakesMetric(monitor="val", reduce_on_plateau=True)
    fit(tmp_path, module, val=1)
    assert module.given == [10]


class OwnScheduler:
    """A schedule that torch does not know."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.steps: list[int] = []

    def advance(self, epoch: int) -> None:
        self.steps.append(epoch)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = list(state["steps"])


def test_scheduler_of_a_class_of_ones_own(tmp_path: Path) -> None:
    class Own(Scheduled):
        def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
            scheduler.advance(self.current_epoch)

    trainer = fit(tmp_path, Own(OwnScheduler), max_epochs=3)
    assert trainer.lr_scheduler_configs[0].scheduler.steps == [0, 1, 2]


def test_batches_without_a_loss_advance_the_schedule(tmp_path: Path) -> None:
    class Skips(Scheduled):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx else loss

    assert times(tmp_path, Skips(interval="step"), max_epochs=1) == [(0, batch) for batch in range(5)]


def test_manual_optimization_steps_no_scheduler(tmp_path: Path) -> None:
    class Manual(Small):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
            return [optimizer], [StepLR(optimizer, 1)]

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            self.optimizers().step()

        def on_train_epoch_end(self) -> None:
            if self.current_epoch == 1:
                self.lr_schedulers().step()

    trainer = fit(tmp_path, Manual(), max_epochs=3)
    assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == 1


@pytest.mark.parametrize(("count", "found"), [(0, "NoneType"), (1, "StepLR"), (2, "list")])
def test_schedulers_of_the_module(tmp_path: Path, count: int, found: str) -> None:
    seen: list[str] = []

    class Has(Small):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
            return [optimizer], [StepLR(optimizer, 1) for _ in range(count)]

        def on_train_start(self) -> None:
            seen.append(type(self.lr_schedulers()).__name__)

    fit(tmp_path, Has())
    assert seen == [found]


# -------------------------------------------------------------------------- how many steps there will be


def estimated(root: Path, loader: Any = None, **options: Any) -> float:
    """What `configure_optimizers` reads."""
    found: list[float] = []

    class Asks(Small):
        def configure_optimizers(self) -> Any:
            found.append(self.trainer.estimated_stepping_batches)
            return super().configure_optimizers()

        def on_train_start(self) -> None:
            self.trainer.should_stop = True

    make_trainer(root, limit_val_batches=0, **options).fit(Asks(), batches(10) if loader is None else loader)
    return found[0]


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"max_epochs": 3}, 30),
        ({"max_epochs": 3, "accumulate_grad_batches": 3}, 12),
        ({"max_epochs": 3, "accumulate_grad_batches": 100}, 3),
        ({"max_epochs": 3, "max_steps": 7}, 7),
        ({"max_epochs": 3, "max_steps": 100}, 30),
        ({"max_epochs": -1, "max_steps": 7}, 7),
        ({"max_epochs": None, "max_steps": 7}, 7),
        ({"max_epochs": -1}, float("inf")),
        ({"max_epochs": None}, 10_000),
        ({"max_epochs": None, "max_time": {"hours": 1}}, float("inf")),
        ({"max_epochs": 2, "limit_train_batches": 4}, 8),
        ({"max_epochs": 1, "limit_train_batches": 0.55}, 5),
        ({"fast_dev_run": True}, 1),
        ({"fast_dev_run": 3}, 3),
        ({"overfit_batches": 2, "max_epochs": 3}, 6),
    ],
    ids=str,
)
def test_estimated_stepping_batches(tmp_path: Path, options: dict[str, Any], steps: float) -> None:
    assert estimated(tmp_path, **options) == steps


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, float("inf")),
        ({"max_steps": 5}, 5),
        ({"limit_train_batches": 4, "max_epochs": 2}, 8),
    ],
    ids=str,
)
def test_estimated_stepping_batches_of_a_loader_without_length(
    tmp_path: Path, options: dict[str, Any], steps: float
) -> None:
    assert estimated(tmp_path, stream(9), **options) == steps


def test_estimate_is_a_whole_number_where_it_is_finite(tmp_path: Path) -> None:
    assert type(estimated(tmp_path, limit_train_batches=0.5, max_epochs=3)) is int


def test_estimate_loads_the_data_once(tmp_path: Path) -> None:
    class Asks(Small):
        asked = 0

        def train_dataloader(self) -> Any:
            self.asked += 1
            return batches(3)

        def configure_optimizers(self) -> Any:
            assert self.trainer.estimated_stepping_batches == self.trainer.estimated_stepping_batches == 3
            return super().configure_optimizers()

    module = Asks()
    make_trainer(tmp_path, limit_val_batches=0).fit(module)
    assert module.asked == 1


def test_estimate_is_what_comes_true(tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_epochs": 3, "accumulate_grad_batches": 4, "limit_train_batches": 0.7}
    assert estimated(tmp_path, **options) == fit(tmp_path, Small(), train=10, **options).global_step
