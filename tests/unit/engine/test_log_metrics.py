"""Metric objects that are logged by reference, and collections of them: ours and torchmetrics'."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics
import torchmetrics.classification
from torch import Tensor

import fulmen.metrics
from fulmen.errors import UsageError
from fulmen.metrics import (
    BinaryAccuracy,
    BinaryConfusionMatrix,
    BinaryF1Score,
    BinaryPrecision,
    BinaryRecall,
    MeanMetric,
    Metric,
    MetricCollection,
)  # fmt: skip

from .small import Given, Rows, Small, batches, fit, make_trainer, numbers

THEIRS = vars(torchmetrics) | vars(torchmetrics.classification)


@pytest.fixture(autouse=True, params=["fulmen", "torchmetrics"])
def each_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test twice: the names of metrics in this file are those of one library, then of the other."""
    if request.param == "torchmetrics":
        for name in set(fulmen.metrics.__all__) & globals().keys():
            monkeypatch.setitem(globals(), name, THEIRS[name])


class Measures(Small):
    """Updates a MeanMetric with the number in each batch of training and evaluation, and logs the object."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.train_mean, self.val_mean = MeanMetric(), MeanMetric()
        self.arguments = arguments

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        self.train_mean(batch)
        self.log("train", self.train_mean, **self.arguments)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.val_mean.update(batch)
        self.log("val", self.val_mean)


def test_epoch_value_is_computed_over_the_epoch_and_reset_after_it(tmp_path: Path) -> None:
    logger, module = Rows(), Measures(on_step=False, on_epoch=True)
    fit(tmp_path, module, train=batches(3), val=batches(2, first=10), max_epochs=2, logger=logger)
    assert logger.named("train") == [(2, 2.0), (5, 2.0)]
    assert logger.named("val") == [(2, 10.5), (5, 10.5)]
    assert not module.train_mean.update_called
    assert not module.val_mean.update_called


def test_step_value_is_that_of_the_batch(tmp_path: Path) -> None:
    logger = Rows()
    trainer = fit(tmp_path, Measures(on_step=True, on_epoch=True), train=batches(3), logger=logger)
    assert logger.named("train_step") == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert logger.named("train_epoch") == [(2, 2.0)]
    assert numbers(trainer.callback_metrics) == {"train": 2.0, "train_step": 3.0, "train_epoch": 2.0}


def test_step_alone(tmp_path: Path) -> None:
    logger = Rows()
    fit(tmp_path, Measures(), train=batches(3), logger=logger)
    assert logger.rows == [(step, {"train": step + 1.0, "epoch": 0}) for step in range(3)]


def test_what_is_shown_by_step_only_is_reset_after_the_epoch_too(tmp_path: Path) -> None:
    module = Measures()
    counts: list[int] = []
    module.on_train_epoch_end = lambda: counts.append(module.train_mean.update_count)
    fit(tmp_path, module, train=batches(3), max_epochs=2)
    assert counts == [3, 3]
    assert not module.train_mean.update_called


def test_the_last_step_is_there_when_the_epoch_ends(tmp_path: Path) -> None:
    module = Measures(on_step=True, on_epoch=True, prog_bar=True)
    trainer = fit(tmp_path, module, train=batches(3), log_every_n_steps=2)
    assert numbers(trainer.logged_metrics) == {"train_step": 3.0, "train_epoch": 2.0}
    assert trainer.progress_bar_metrics == {"train_step": 3.0, "train_epoch": 2.0}


def test_metric_is_its_own_weighting(tmp_path: Path) -> None:
    """Batches of unequal size: the metric knows, and is not weighted again."""
    module = Measures()
    trainer = make_trainer(tmp_path)
    loader = Given([torch.tensor([1.0, 1.0, 1.0]), torch.tensor([5.0])])
    trainer.validate(module, loader, verbose=False)
    assert trainer.callback_metrics["val"].item() == 2.0


def test_values_do_not_enter_later_epochs_through_the_sanity_check(tmp_path: Path) -> None:
    logger = Rows()
    fit(tmp_path, Measures(), val=batches(2, first=10), num_sanity_val_steps=1, logger=logger)
    assert logger.named("val") == [(1, 10.5)]


def test_extremes_are_not_those_of_the_sanity_check(tmp_path: Path) -> None:
    class Extreme(Small):
        def __init__(self) -> None:
            super().__init__()
            self.most = fulmen.metrics.MinMaxMetric(fulmen.metrics.MeanMetric())

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.most.update(torch.tensor(100.0) if self.trainer.sanity_checking else batch)

        def on_validation_epoch_end(self) -> None:
            self.log_dict(self.most.compute())
            self.most.reset()

    options = {"num_sanity_val_steps": 1, "max_epochs": 2}
    trainer = fit(tmp_path, Extreme(), val=batches(2, first=10), **options)
    assert numbers(trainer.callback_metrics) == {"raw": 10.5, "max": 10.5, "min": 10.5}


def test_one_metric_per_loader(tmp_path: Path) -> None:
    class Several(Small):
        def __init__(self) -> None:
            super().__init__()
            self.means = torch.nn.ModuleList([MeanMetric(), MeanMetric()])

        def validation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int) -> None:
            metric = self.means[dataloader_idx]
            metric(batch)
            self.log("mean", metric)

    trainer = make_trainer(tmp_path)
    returned = trainer.validate(Several(), [batches(3), batches(2, first=10)], verbose=False)
    assert returned == [{"mean/dataloader_idx_0": 2.0}, {"mean/dataloader_idx_1": 10.5}]


def binary_data() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    sizes = (7, 5, 9)
    return [
        (torch.rand(size, generator=generator), torch.randint(0, 2, (size,), generator=generator))
        for size in sizes
    ]


class Classifies(Small):
    """Validates on (scores, labels), and logs metrics of them in one of several ways."""

    def __init__(self, metrics: Any, log: Callable[[Any], None]) -> None:
        super().__init__()
        self.metrics = metrics
        self.log_metrics = log

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.metrics.update(*batch)
        self.log_metrics(self)


class TrainsClassifier(Classifies):
    """Does the same in training, with values for each step."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.metrics(*batch)
        self.log_metrics(self)


def collection(**options: Any) -> MetricCollection:
    """Four metrics, of which three share their counts."""
    members = {
        "acc": BinaryAccuracy(),
        "f1": BinaryF1Score(),
        "precision": BinaryPrecision(),
        "recall": BinaryRecall(),
    }
    return MetricCollection(members, **options)


def reference(data: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    scores, labels = (torch.cat(parts) for parts in zip(*data, strict=True))
    return {name: value.item() for name, value in collection(compute_groups=False)(scores, labels).items()}


@pytest.mark.parametrize("groups", [True, False])
@pytest.mark.parametrize("way", ["log_dict", "entries"])
def test_collection(tmp_path: Path, groups: bool, way: str) -> None:
    """As a whole, or each of its metrics by itself; with metrics that share their state, and without."""

    def log(module: Any) -> None:
        if way == "log_dict":
            module.log_dict(module.metrics)
        else:
            module.log_dict(dict(module.metrics.items()))

    data, logger = binary_data(), Rows()
    module = Classifies(collection(compute_groups=groups), log)
    fit(tmp_path, module, val=Given(data), max_epochs=2, logger=logger)
    for name, value in reference(data).items():
        assert logger.named(name) == [(1, pytest.approx(value)), (3, pytest.approx(value))]


@pytest.mark.parametrize("groups", [True, False])
def test_collection_per_step(tmp_path: Path, groups: bool) -> None:
    data, logger = binary_data(), Rows()
    module = TrainsClassifier(
        collection(compute_groups=groups, prefix="train_"),
        lambda module: module.log_dict(module.metrics, on_step=True, on_epoch=True, prog_bar=True),
    )
    trainer = fit(tmp_path, module, train=Given(data), logger=logger)
    for name, value in reference(data).items():
        assert logger.named(f"train_{name}_epoch") == [(2, pytest.approx(value))]
        steps = [pytest.approx(reference([batch])[name]) for batch in data]
        assert logger.named(f"train_{name}_step") == list(enumerate(steps))
        assert trainer.progress_bar_metrics[f"train_{name}_epoch"] == pytest.approx(value)
        assert trainer.callback_metrics[f"train_{name}"].item() == pytest.approx(value)


def test_value_computed_by_hand_is_an_ordinary_value(tmp_path: Path) -> None:
    class ByHand(Small):
        def __init__(self) -> None:
            super().__init__()
            self.mean = MeanMetric()

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.mean.update(batch)

        def on_validation_epoch_end(self) -> None:
            self.log("mean", self.mean.compute())
            self.mean.reset()

    trainer = fit(tmp_path, ByHand(), val=batches(3))
    assert numbers(trainer.callback_metrics) == {"mean": 2.0}


def test_metric_object_logged_when_the_epoch_ends(tmp_path: Path) -> None:
    """Updated in steps, logged once in the end: the usual way to log what is computed over an epoch."""

    class AtTheEnd(Small):
        def __init__(self) -> None:
            super().__init__()
            self.mean = MeanMetric()

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            self.mean.update(batch)

        def on_train_epoch_end(self) -> None:
            self.log("mean", self.mean)

    logger, module = Rows(), AtTheEnd()
    fit(tmp_path, module, train=batches(3), max_epochs=2, logger=logger)
    assert logger.named("mean") == [(2, 2.0), (5, 2.0)]
    assert not module.mean.update_called


def test_metric_in_a_callback_like_attribute(tmp_path: Path) -> None:
    """A metric that is no submodule, so that nobody moves or saves it, is computed and reset all the same."""
    hidden = [MeanMetric()]

    class Hides(Small):
        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            hidden[0].update(batch)
            self.log("mean", hidden[0])

    trainer = fit(tmp_path, Hides(), val=batches(3))
    assert numbers(trainer.callback_metrics) == {"mean": 2.0}


@pytest.mark.parametrize("way", ["log", "log_dict"])
def test_metric_that_computes_more_than_one_number(tmp_path: Path, way: str) -> None:
    metric = (
        MetricCollection({"matrix": BinaryConfusionMatrix()})
        if way == "log_dict"
        else BinaryConfusionMatrix()
    )

    def log(module: Any) -> None:
        module.log_dict(module.metrics) if way == "log_dict" else module.log("matrix", module.metrics)

    with pytest.raises(UsageError, match=r"(?s)'matrix'.*\(2, 2\)"):
        fit(tmp_path, Classifies(metric, log), val=Given(binary_data()))


def test_metric_of_several_numbers_per_step(tmp_path: Path) -> None:
    metric = BinaryConfusionMatrix()
    module = TrainsClassifier(metric, lambda module: module.log("matrix", module.metrics, on_step=True))
    with pytest.raises(UsageError, match=r"(?s)'matrix'.*\(2, 2\)"):
        fit(tmp_path, module, train=Given(binary_data()))


def test_collection_given_to_log(tmp_path: Path) -> None:
    """It has no single value; the error names the method that takes it."""
    module = Classifies(collection(), lambda module: module.log("all", module.metrics))
    with pytest.raises(UsageError, match="log_dict"):
        fit(tmp_path, module, val=Given(binary_data()))


def test_other_metric_under_the_same_name(tmp_path: Path) -> None:
    class Changes(Small):
        def __init__(self) -> None:
            super().__init__()
            self.means = torch.nn.ModuleList([MeanMetric(), MeanMetric()])

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            self.means[batch_idx](batch)
            self.log("mean", self.means[batch_idx])

    with pytest.raises(UsageError, match="another metric"):
        fit(tmp_path, Changes())


@pytest.mark.parametrize("first", ["metric", "number"])
def test_metric_and_number_under_the_same_name(tmp_path: Path, first: str) -> None:
    class Mixes(Small):
        def __init__(self) -> None:
            super().__init__()
            self.mean = MeanMetric()

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            self.mean(batch)
            self.log("mean", self.mean if (batch_idx == 0) == (first == "metric") else 1.0)

    with pytest.raises(UsageError, match="'mean'"):
        fit(tmp_path, Mixes())


def test_module_that_is_no_metric(tmp_path: Path) -> None:
    class LogsALayer(Small):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            self.log("layer", self.layer)

    with pytest.raises(UsageError, match=r"(?s)'layer'.*Linear"):
        fit(tmp_path, LogsALayer())


def test_one_number_from_a_metric_of_one_element(tmp_path: Path) -> None:
    class OneElement(Metric):
        total: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.add_state("total", torch.zeros(1), dist_reduce_fx="sum")

        def update(self, value: Tensor) -> None:
            self.total += value.sum()

        def compute(self) -> Tensor:
            return self.total

    class Uses(Small):
        def __init__(self) -> None:
            super().__init__()
            self.one = OneElement()

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            self.one(batch)
            self.log("one", self.one, on_step=True, on_epoch=True)

    logger = Rows()
    trainer = fit(tmp_path, Uses(), train=batches(3), logger=logger)
    assert logger.named("one_step") == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert trainer.callback_metrics["one"].shape == ()
    assert numbers(trainer.callback_metrics) == {"one": 6.0, "one_step": 3.0, "one_epoch": 6.0}


@pytest.mark.parametrize("options", [{}, {"on_step": True, "on_epoch": True}])
@pytest.mark.parametrize("several", [False, True])
def test_a_metric_logged_by_step_that_was_never_called_is_told_of(
    tmp_path: Path, several: bool, options: dict[str, Any]
) -> None:
    class Updates(Small):
        def __init__(self) -> None:
            super().__init__()
            self.mean = MetricCollection({"mean": MeanMetric()}) if several else MeanMetric()

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            self.mean.update(batch)
            if several:
                self.log_dict(self.mean, **options)
            else:
                self.log("mean", self.mean, **options)

    logger = Rows()
    with pytest.warns(match=r"(?s)'mean'.*on_step=False, on_epoch=True") as caught:
        fit(tmp_path, Updates(), train=batches(3), logger=logger)
    assert len(caught) == 1
    assert [name for _, row in logger.rows for name in row if name != "epoch"] == (
        ["mean_epoch"] if options else []
    )
