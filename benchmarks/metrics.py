"""What is run to measure metrics: ours, and torchmetrics, which has the same names."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.work import EXTRAS_OFF, Batch, Batches, make_net, make_optimizer

PACKAGES = {"fulmen": "fulmen.metrics", "lightning.pytorch": "torchmetrics"}
"""By framework: where its metrics are."""
CLASSES = 4


@dataclass(frozen=True)
class Subject:
    """A metric, and what it is given."""

    draw: Callable[[int], tuple[Tensor, ...]]
    """Arguments of `update` for so many samples."""
    module: str
    """Below that of all metrics."""
    width: int = 1
    """Elements of a sample."""
    options: dict[str, int] = field(default_factory=dict)


def draw_binary(samples: int) -> tuple[Tensor, ...]:
    """Probabilities and labels."""
    return torch.rand(samples), torch.randint(2, (samples,))


def draw_multiclass(samples: int) -> tuple[Tensor, ...]:
    """Logits and labels."""
    return torch.randn(samples, CLASSES), torch.randint(CLASSES, (samples,))


def draw_multilabel(samples: int) -> tuple[Tensor, ...]:
    """Probabilities of labels, and which are true."""
    return torch.rand(samples, CLASSES), torch.randint(2, (samples, CLASSES))


def draw_pair(samples: int) -> tuple[Tensor, ...]:
    """Numbers, and others near them."""
    target = torch.randn(samples)
    return target + 0.1 * torch.randn(samples), target


def draw_values(samples: int) -> tuple[Tensor, ...]:
    """Numbers."""
    return (torch.randn(samples),)


_BINARY = Subject(draw_binary, ".classification")
_MULTICLASS = Subject(draw_multiclass, ".classification", CLASSES, {"num_classes": CLASSES})
_PAIR = Subject(draw_pair, ".regression")
COMMON = {
    "BinaryAccuracy": _BINARY,
    "MulticlassAccuracy": _MULTICLASS,
    "MultilabelF1Score": Subject(draw_multilabel, ".classification", CLASSES, {"num_labels": CLASSES}),
    "MulticlassConfusionMatrix": _MULTICLASS,
    "MeanSquaredError": _PAIR,
    "MeanAbsoluteError": _PAIR,
    "R2Score": _PAIR,
    "PearsonCorrCoef": _PAIR,
    "MeanMetric": Subject(draw_values, ".aggregation"),
}
RANKED = {
    "BinaryAUROC": _BINARY,
    "BinaryAveragePrecision": _BINARY,
}
RELATED = {
    f"Multiclass{name}": _MULTICLASS for name in ("Accuracy", "Precision", "Recall", "F1Score", "Specificity")
}
SUBJECTS = {**COMMON, **RANKED, **RELATED}


def make_metric(framework: str, name: str) -> Any:
    """One of the subjects."""
    subject = SUBJECTS[name]
    return getattr(importlib.import_module(PACKAGES[framework] + subject.module), name)(**subject.options)


def update_metric(framework: str, batches: Batches, *, metric: str, samples: int) -> None:
    """An update for each batch that is asked for, always the same one."""
    measured, inputs = make_metric(framework, metric), SUBJECTS[metric].draw(samples)
    for _ in batches:
        measured.update(*inputs)


def compute_metric(framework: str, batches: Batches, *, metric: str, samples: int) -> None:
    """An update and its value, for each batch that is asked for."""
    measured, inputs = make_metric(framework, metric), SUBJECTS[metric].draw(samples)
    for _ in batches:
        measured.update(*inputs)
        measured.compute()
        measured.reset()


def update_metrics(framework: str, batches: Batches, *, samples: int) -> None:
    """Metrics that can share their counts, updated together."""
    collect = importlib.import_module(PACKAGES[framework]).MetricCollection
    measured, inputs = collect([make_metric(framework, name) for name in RELATED]), draw_multiclass(samples)
    for _ in batches:
        measured.update(*inputs)


def train_with_metric(framework: str, batches: Batches) -> None:
    """A fit with every extra off, and the accuracy over the epoch logged."""
    pl = importlib.import_module(framework)

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_net()
            self.accuracy = make_metric(framework, "MulticlassAccuracy")

        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            inputs, labels = batch
            logits = self.net(inputs)
            self.accuracy.update(logits, labels)
            self.log("accuracy", self.accuracy, on_step=False, on_epoch=True)
            return cross_entropy(logits, labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return make_optimizer(self.net)

    pl.Trainer(accelerator="cpu", max_epochs=1, **EXTRAS_OFF).fit(Module(), batches)
