"""What metrics of classification take, and what they say of what they cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fulmen.errors import UsageError
from fulmen.metrics.classification import BinaryAccuracy, MulticlassAccuracy, MultilabelAccuracy
from fulmen.metrics.functional import classification as functions

LABELS = torch.tensor([0, 1, 2, 1])
SCORES = torch.eye(3)[LABELS]


def labels(*values: int) -> Tensor:
    return torch.tensor(values)


# ---------------------------------------------------------------------------------------- forms of the same


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool], ids=str)
def test_labels_of_any_integer_type(dtype: torch.dtype) -> None:
    target = labels(0, 1, 1, 0).to(dtype)
    assert functions.binary_accuracy(labels(0, 1, 0, 0).to(dtype), target) == 0.75
    assert functions.binary_accuracy(torch.tensor([0.1, 0.9, 0.2, 0.3]), target) == 0.75


def test_logits_are_known_by_values_that_no_probability_has() -> None:
    target = labels(1, 0, 1)
    logits = torch.tensor([0.2, -3.0, 2.0])
    assert functions.binary_accuracy(logits, target) == 1
    assert functions.binary_accuracy(logits.sigmoid(), target) == 1
    assert functions.binary_accuracy(logits.sigmoid(), target, threshold=0.6) == functions.binary_accuracy(
        logits, target, threshold=0.6
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_a_score_at_the_threshold_is_below_it(dtype: torch.dtype) -> None:
    preds = torch.tensor([0.7, 0.7], dtype=dtype)
    assert functions.binary_stat_scores(preds, labels(1, 0), threshold=0.7).tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(("threshold", "expected"), [(0.0, [1, 1, 0, 0, 1]), (1.0, [0, 0, 1, 1, 1])])
def test_thresholds_at_the_ends(threshold: float, expected: list[int]) -> None:
    logits = torch.tensor([-20.0, 20.0])
    assert functions.binary_stat_scores(logits, labels(0, 1), threshold=threshold).tolist() == expected


def test_scores_with_further_dimensions() -> None:
    preds = torch.stack([SCORES, SCORES.flip(0)], dim=2)
    target = torch.stack([LABELS, LABELS], dim=1)
    expected = [1.0, (LABELS.flip(0) == LABELS).float().mean().item()]
    whole = functions.multiclass_accuracy(preds, target, 3, average="micro")
    assert whole.item() == pytest.approx(sum(expected) / 2)
    each = functions.multiclass_accuracy(
        preds.transpose(0, 2), target.t(), 3, average="micro", multidim_average="samplewise"
    )
    assert each.tolist() == expected


@pytest.mark.parametrize("ignore_index", [-100, -1, 2, 3, 255])
def test_what_is_ignored_does_not_count_whatever_was_predicted(ignore_index: int) -> None:
    target = torch.cat([labels(0, 1, 1), torch.full((2,), ignore_index)])
    for preds in (labels(0, 1, 0, 2, 0), torch.eye(3)[labels(0, 1, 0, 2, 0)]):
        value = functions.multiclass_stat_scores(preds, target, 3, average="micro", ignore_index=ignore_index)
        assert value.tolist() == [2, 1, 5, 1, 3]


def test_predicted_labels_are_not_looked_at_where_ignored() -> None:
    value = functions.multiclass_accuracy(
        labels(0, 1, -100), labels(0, 2, -100), 3, "micro", ignore_index=-100
    )
    assert value == 0.5


# ---------------------------------------------------------------------------------------------- bad input

BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "shapes of two classes": (
        lambda: functions.binary_accuracy(torch.rand(3), labels(0, 1)),
        r"preds \(3,\), target \(2,\)",
    ),
    "shapes of several classes": (
        lambda: functions.multiclass_accuracy(torch.rand(4, 3), labels(0, 1), 3),
        r"preds \(4, 3\), target \(2,\)[\s\S]*\(N, 3, ...\)",
    ),
    "classes in a later dimension": (
        lambda: functions.multiclass_accuracy(torch.rand(2, 5, 3), torch.zeros(2, 5, dtype=torch.int64), 3),
        r"preds \(2, 5, 3\), target \(2, 5\)",
    ),
    "number of classes": (
        lambda: functions.multiclass_accuracy(torch.rand(2, 4), labels(0, 1), 3),
        r"preds \(2, 4\)[\s\S]*\(N, 3, ...\)",
    ),
    "no dimension of classes": (
        lambda: functions.multiclass_accuracy(torch.rand(3), torch.tensor(1), 3),
        r"preds \(3,\), target \(\)",
    ),
    "number of labels": (
        lambda: functions.multilabel_accuracy(torch.rand(2, 4), torch.zeros(2, 4, dtype=torch.int64), 3),
        r"\(N, 3, ...\)",
    ),
    "float labels": (
        lambda: functions.binary_accuracy(torch.rand(2), torch.rand(2)),
        "torch.float32[\\s\\S]*long",
    ),
    "float predictions": (
        lambda: functions.multiclass_accuracy(torch.rand(2), labels(0, 1), 3),
        r"torch.float32 \(2,\)",
    ),
    "integer scores": (
        lambda: functions.multiclass_accuracy(torch.zeros(2, 3, dtype=torch.int64), labels(0, 1), 3),
        "torch.int64",
    ),
    "label too high": (
        lambda: functions.multiclass_accuracy(SCORES, LABELS + 1, 3),
        "from 1 to 3[\\s\\S]*from 0 to 2",
    ),
    "label too low": (
        lambda: functions.multiclass_accuracy(SCORES, LABELS - 1, 3),
        "from -1 to 1[\\s\\S]*ignore_index",
    ),
    "label too high among many": (
        lambda: functions.multiclass_accuracy(SCORES.repeat(500, 1), LABELS.repeat(500) + 1, 3),
        "from 1 to 3",
    ),
    "label too low among many": (
        lambda: functions.multiclass_accuracy(SCORES.repeat(500, 1), LABELS.repeat(500) - 1, 3),
        "from -1 to 1",
    ),
    "label too high of 100": (
        lambda: functions.multiclass_accuracy(torch.rand(2, 100), labels(5, 100), 100),
        "from 5 to 100",
    ),
    "label beside the ignored": (
        lambda: functions.multiclass_accuracy(SCORES, labels(0, 3, -1, 2), 3, ignore_index=-1),
        "from 0 to 3",
    ),
    "predicted label": (
        lambda: functions.multiclass_accuracy(LABELS + 1, LABELS, 3),
        "`preds`[\\s\\S]*from 1 to 3",
    ),
    "label of two": (
        lambda: functions.binary_accuracy(torch.rand(4), LABELS),
        "from 0 to 2[\\s\\S]*from 0 to 1",
    ),
    "predicted label of two": (lambda: functions.binary_accuracy(LABELS, labels(0, 1, 1, 1)), "`preds`"),
    "label of several": (
        lambda: functions.multilabel_accuracy(torch.rand(2, 2), LABELS.view(2, 2), 2),
        "from 0 to 2[\\s\\S]*from 0 to 1",
    ),
    "top k of labels": (lambda: functions.multiclass_accuracy(LABELS, LABELS, 3, top_k=2), "scores"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_said_to_be(name: str) -> None:
    call, message = BAD[name]
    with pytest.raises(UsageError, match=message):
        call()


@pytest.mark.parametrize(
    ("metric", "preds", "target"),
    [
        (BinaryAccuracy(), torch.rand(4), LABELS),
        (MulticlassAccuracy(3), SCORES, LABELS - 1),
        (MultilabelAccuracy(2), torch.rand(2, 2), LABELS.view(2, 2)),
    ],
    ids=["binary", "multiclass", "multilabel"],
)
def test_a_bad_batch_leaves_the_metric_as_it_was(metric: Any, preds: Tensor, target: Tensor) -> None:
    before = metric.counts.clone()
    with pytest.raises(UsageError):
        metric.update(preds, target)
    assert torch.equal(metric.counts, before)
    assert not metric.update_called


def test_values_are_not_looked_at_where_not_wanted() -> None:
    value = functions.multiclass_accuracy(labels(0, 7), labels(0, 1), 100, "micro", validate_args=False)
    assert value == 0.5
    with pytest.raises(UsageError):
        functions.multiclass_accuracy(labels(0, 700), labels(0, 1), 100, "micro", validate_args=True)
