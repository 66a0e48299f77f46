"""Options of a metric are attributes of it, as in torchmetrics."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
import torchmetrics.classification as theirs

import fulmen.metrics as ours
from fulmen.errors import UsageError
from fulmen.metrics import BinaryAccuracy, BinaryAUROC

SHARED = {"ignore_index": -1, "validate_args": True}
BINARY = {"threshold": 0.25, **SHARED}
CLASSES = {"num_classes": 4, "average": "macro", **SHARED}
LABELS = {"num_labels": 3, "threshold": 0.25, "average": "macro", **SHARED}
SAMPLEWISE = {"multidim_average": "samplewise"}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("BinaryRecall", BINARY | SAMPLEWISE),
    ("BinaryFBetaScore", {"beta": 2.0} | BINARY | SAMPLEWISE),
    ("BinaryConfusionMatrix", {"normalize": "true"} | BINARY),
    ("BinaryROC", SHARED),
    ("BinaryAveragePrecision", {"normalization": None} | SHARED),
    ("BinaryCalibrationError", {"n_bins": 7, "norm": "l2"} | SHARED),
    ("BinaryHingeLoss", {"squared": True} | SHARED),
    ("MulticlassAccuracy", {"top_k": 2} | CLASSES | SAMPLEWISE),
    ("MulticlassFBetaScore", {"beta": 0.5, "top_k": 2} | CLASSES),
    ("MulticlassJaccardIndex", CLASSES),
    ("MulticlassAUROC", CLASSES),
    ("MulticlassCalibrationError", {"num_classes": 4} | SHARED),
    ("MulticlassHingeLoss", {"num_classes": 4, "squared": True, "multiclass_mode": "one-vs-all"} | SHARED),
    ("MultilabelF1Score", LABELS | SAMPLEWISE),
    ("MultilabelAveragePrecision", {"num_labels": 3, "average": "weighted"} | SHARED),
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=[name for name, _ in CASES])
def test_what_was_given_can_be_read(name: str, options: dict[str, Any]) -> None:
    metric = getattr(ours, name)(**options)
    known = {option: getattr(getattr(theirs, name)(**options), option) for option in options}
    for same in (metric, copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        assert {option: getattr(same, option) for option in options} == known == options


def test_options_of_another_task_are_none() -> None:
    assert not hasattr(BinaryAccuracy(), "num_classes")
    assert not hasattr(BinaryAUROC(), "num_labels")


@pytest.mark.parametrize(
    ("metric", "name", "value"),
    [
        (BinaryAccuracy(), "threshold", 0.9),
        (BinaryAUROC(), "ignore_index", 1),
        (ours.BinaryHingeLoss(), "squared", True),
        (ours.BinaryCalibrationError(), "ignore_index", 1),
    ],
)
def test_a_change_without_effect_is_refused(metric: Any, name: str, value: Any) -> None:
    before = getattr(metric, name)
    with pytest.raises(UsageError, match=f"`{name}` of a {type(metric).__name__}"):
        setattr(metric, name, value)
    setattr(metric, name, before)
    assert getattr(metric, name) == before


def test_a_class_of_the_users_may_have_attributes_of_these_names() -> None:
    class Mine(BinaryAccuracy):
        def __init__(self, num_classes: int) -> None:
            super().__init__(0.75)
            self.num_classes = num_classes
            self.threshold = 0.75

    metric = copy.deepcopy(Mine(3))
    assert (metric.num_classes, metric.threshold) == (3, 0.75)
    assert metric(torch.tensor([0.7, 0.8]), torch.tensor([0, 1])) == 1


def test_the_beta_that_is_read_is_the_one_that_counts() -> None:
    preds, target = torch.tensor([1, 1, 0, 0, 0]), torch.tensor([1, 0, 1, 1, 0])
    metric = ours.BinaryFBetaScore(beta=2.0)
    assert metric(preds, target).item() == pytest.approx(5 * 1 / (5 * 1 + 4 * 2 + 1))
