"""Old metrics as objects: the base class, users' own, and in a run."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen
from fulmen.compat import OldSpelling
from fulmen.compat.lightning import metrics, versions

from .metric_cases import DATA

LABELS = torch.tensor([0, 2, 1, 2, 0, 1, 2, 2])
CHOSEN = torch.tensor([0, 1, 1, 2, 2, 1, 2, 0])


@pytest.fixture(autouse=True)
def undeclared() -> Iterator[None]:
    yield
    versions.declare(None)


class Hits(metrics.Metric):
    """As the documentation of 1.0 has it."""

    correct: Tensor
    total: Tensor

    def __init__(self, dist_sync_on_step=False):
        super().__init__(dist_sync_on_step=dist_sync_on_step)
        self.add_state("correct", default=torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor):
        assert preds.shape == target.shape
        self.correct += torch.sum(preds == target)
        self.total += target.numel()

    def compute(self):
        return self.correct.float() / self.total


class MoreHits(Hits):
    def update(self, preds: Tensor, target: Tensor):
        super().update(preds, target)
        self.total += 1


@pytest.mark.parametrize("kind", [Hits, MoreHits])
def test_a_metric_of_ones_own(kind: type[Hits]) -> None:
    metric = kind()
    more = int(kind is MoreHits)
    assert isinstance(metric, fulmen.metrics.Metric)
    assert metric(CHOSEN[:4], LABELS[:4]) == 3 / (4 + more)
    assert metric(CHOSEN[4:], LABELS[4:]) == 2 / (4 + more)
    assert metric.compute() == 5 / (8 + 2 * more)
    copied = pickle.loads(pickle.dumps(metric))
    assert copied.compute() == metric.compute()
    metric.reset()
    assert metric.total == 0
    assert copied.total > 0


def test_compute_resets_where_1_0_or_1_1_is_declared() -> None:
    for declared in ("1.0", "1.1"):
        versions.declare(declared)
        for metric in (Hits(), metrics.Accuracy(), metrics.MeanAbsoluteError()):
            metric.update(CHOSEN[:4], LABELS[:4])
            before = metric.compute()
            assert metric.compute() == before
            metric.update(LABELS, LABELS)
            assert metric.compute() == metric(LABELS, LABELS)
    metric = Hits()
    metric.update(CHOSEN, LABELS)
    metric.compute()
    assert metric(LABELS[:2], LABELS[:2]) == 1  # a call adds a batch to nothing, too
    assert metric.compute() == 1


def test_compute_keeps_batches_otherwise_and_that_is_said() -> None:
    for declared in (None, "1.2", "1.4"):
        versions.declare(declared)
        metric = Hits()
        metric.update(CHOSEN, LABELS)
        assert metric.compute() == 5 / 8
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            metric.update(LABELS, LABELS)
        assert metric.compute() == 13 / 16
        assert [warning.category for warning in said] == ([] if declared else [OldSpelling])


def test_metrics_are_put_together() -> None:
    assert metrics.MetricCollection is fulmen.metrics.MetricCollection
    collection = metrics.MetricCollection(
        [metrics.Accuracy(), metrics.Recall(num_classes=3, average="macro")]
    )
    values = collection(CHOSEN, LABELS)
    assert values["Accuracy"] == 5 / 8
    assert values["Recall"] == pytest.approx(2 / 3)
    both = metrics.Accuracy() + metrics.Precision(num_classes=3)
    assert isinstance(both, metrics.CompositionalMetric)
    assert both(CHOSEN, LABELS) == 10 / 8


def test_arguments_of_the_base_class_by_position() -> None:
    no: Any = False
    for metric in (
        metrics.Accuracy(0.3, False),
        metrics.Precision(4, 0.5, "micro", False, no),
        metrics.Precision(4, 0.5, "micro", False, None, None, None, None, False),
        metrics.FBeta(4, 1.0, 0.5, "micro", False, False),
        metrics.F1(4, 0.5, "micro", False, False),
        metrics.MeanSquaredError(False),
        metrics.ExplainedVariance("uniform_average", False),
        metrics.PSNR(1.0, 10.0, "elementwise_mean", False),
        metrics.ConfusionMatrix(2, None, 0.5, False),
    ):
        assert metric.compute_on_step is False, metric


class Classifier(fulmen.LightningModule):
    """The five lines of 1.0's documentation: logged as an object, and by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.train_acc = metrics.Accuracy()
        self.valid_acc = metrics.Accuracy()
        self.hits = Hits()
        self.seen: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        logits = self.layer(x)
        self.log("train_acc_step", self.train_acc(logits, y))
        self.hits(logits.argmax(1), y)
        self.log("hits", self.hits, on_step=True, on_epoch=True)
        return nn.functional.cross_entropy(logits, y)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        self.valid_acc(self.layer(x), y)
        self.seen.append((self.layer(x).argmax(1), y))
        self.log("valid_acc", self.valid_acc, on_step=False, on_epoch=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_logged_in_a_run() -> None:
    model = Classifier()
    data = DataLoader(TensorDataset(DATA["X"], torch.tensor([0, 1, 2, 0, 1, 2])), batch_size=3)
    trainer = fulmen.Trainer(
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        accelerator="cpu",
    )
    trainer.fit(model, data, data)
    last = model.seen[-2:]  # the last epoch alone: a logged metric is reset
    expected = sum(int((chosen == y).sum()) for chosen, y in last) / 6
    assert trainer.callback_metrics["valid_acc"] == pytest.approx(expected)
    assert {"train_acc_step", "hits_step", "hits_epoch"} <= trainer.callback_metrics.keys()
    assert model.train_acc.total == 12  # logged by value: nobody resets it
    assert model.hits.total == 0
