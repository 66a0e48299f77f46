"""What was logged: each value once, and those of an epoch as if it had not been interrupted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import fulmen.metrics
from fulmen.metrics import (
    BinaryAUROC,
    BinaryF1Score,
    BinaryPrecision,
    BinaryRecall,
    MetricCollection,
    MinMaxMetric,
    PearsonCorrCoef,
)

from .journal import Journal
from .law import Case, Moment, after, assert_law
from .nets import FEATURES, Net, samples_of

torchmetrics = pytest.importorskip("torchmetrics")

MOMENTS = [after(1), after(3, survives=4), after(5), after(7)]


def reduced(net: Net, loss: Tensor) -> None:
    for reduction in ("mean", "min", "max", "sum"):
        net.log(reduction, loss, on_step=False, on_epoch=True, reduce_fx=reduction)
        net.log(f"both_{reduction}", loss, on_step=True, on_epoch=True, reduce_fx=reduction)


def of_many_kinds(net: Net, loss: Tensor) -> None:
    net.log("plain", loss)
    net.log("number", 0.25 + net.trainer.global_step)
    net.log("whole_number", net.trainer.global_step, on_epoch=True)
    net.log("weighted", loss, batch_size=5 + net.trainer.global_step, on_epoch=True)
    net.log("double", loss.double(), on_epoch=True)
    net.log("shown", loss, prog_bar=True, logger=False, on_epoch=True)
    net.log_dict({"a": loss, "b": loss * 2}, on_epoch=True)


def seldom(net: Net, loss: Tensor) -> None:
    if net.trainer.global_step % 3 == 0:
        net.log("seldom", loss, on_step=True, on_epoch=True)


def own_reduction(net: Net, loss: Tensor) -> None:
    net.log("median", loss, on_step=False, on_epoch=True, reduce_fx=torch.median)


class LogsElsewhere(Net):
    """Logs from hooks around the step, and each validation batch."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.log("start", float(batch_idx), on_epoch=True)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.log(
            "gradient", next(w.grad.norm() for w in self.parameters() if w.grad is not None), on_epoch=True
        )

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("val_step", torch.rand(()), on_step=True, on_epoch=True)

    def on_train_epoch_end(self) -> None:
        self.log("weights", torch.stack([weight.norm() for weight in self.parameters()]).sum())


class Measures(Net):
    """Metric objects: logged as such, in a collection, with a list for a state, and computed by hand."""

    def __init__(self, journal: Journal, library: Any = fulmen.metrics) -> None:
        super().__init__(journal)
        self.mean = library.MeanMetric()
        self.own = library.MaxMetric()
        self.all = library.CatMetric()
        self.val = library.MeanSquaredError()
        self.several = library.MetricCollection(
            {"squared": library.MeanSquaredError(), "absolute": library.MeanAbsoluteError()}
        )

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        value = loss.detach()
        self.mean(value)
        self.log("metric", self.mean, on_step=True, on_epoch=True)
        self.own.update(value)
        self.all.update(value)
        self.several(value, torch.zeros_like(value))
        self.log_dict(self.several, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss, _, _, _ = self.loss_of(batch)
        self.val(loss, torch.ones_like(loss))
        self.log("val_metric", self.val)
        super().validation_step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        self.log("largest", self.own.compute())
        self.log("spread", self.all.compute().std())
        self.own.reset()
        self.all.reset()


class Classifies(Net):
    """Metrics that share states, with lists, moments, arithmetic, and what outlives an epoch."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal)
        self.shared = MetricCollection([BinaryPrecision(), BinaryRecall(), BinaryF1Score()], prefix="val_")
        self.exact = BinaryAUROC()
        self.moments = PearsonCorrCoef()
        self.twice = 2 * BinaryRecall() + 1
        self.extremes = MinMaxMetric(BinaryAUROC())

    def update(self, batch: Any) -> None:
        x = torch.cat([part["x"].reshape(-1, FEATURES) for part in samples_of(batch)])
        scores, labels = self(x)[0].detach().flatten().sigmoid(), (x[:, 0] > x[:, 1]).long()
        self.shared.update(scores, labels)
        self.exact.update(scores, labels)
        self.extremes.update(scores, labels)
        self.twice.update(scores, labels)
        self.moments.update(scores, x[:, 0])
        self.log_dict(self.shared, on_step=False, on_epoch=True)
        for name in ("exact", "moments", "twice"):
            self.log(name, getattr(self, name), on_step=False, on_epoch=True)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.update(batch)
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        self.log_dict({f"area_{name}": value for name, value in self.extremes.compute().items()})
        self.extremes.reset()


def logging_every(steps: int) -> Callable[[], dict[str, Any]]:
    return lambda: {"log_every_n_steps": steps}


CASES = [
    *(
        Case(f"every {n}", module=partial(Net, log=of_many_kinds), options=logging_every(n))
        for n in (1, 3, 50)
    ),
    Case("reductions", module=partial(Net, log=reduced), options=logging_every(3)),
    Case("seldom", module=partial(Net, log=seldom), options=logging_every(1)),
    Case("other hooks", module=LogsElsewhere, options=logging_every(1)),
    Case("own reduction", module=partial(Net, log=own_reduction)),
    Case("metrics", module=Measures, options=logging_every(3)),
    Case("metrics, validated often", module=Measures, options=lambda: {"val_check_interval": 2}),
    Case("torchmetrics", module=partial(Measures, library=torchmetrics), options=logging_every(3)),
    Case(
        "torchmetrics, validated often",
        module=partial(Measures, library=torchmetrics),
        options=lambda: {"val_check_interval": 2},
    ),
    Case("shared states", module=Classifies, options=logging_every(3)),
]


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_logged_values(case: Case, moment: Moment) -> None:
    assert_law(case, moment)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_logged_values_after_three_kills(case: Case) -> None:
    assert_law(case, after(1), after(1, survives=1), after(1))
