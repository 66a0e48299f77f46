"""ROC, precision-recall curves, and the areas under them, beyond what random batches show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
import torchmetrics.functional.classification as torchmetrics

from fulmen.base.report import FulmenWarning
from fulmen.errors import ConfigError, UsageError
from fulmen.metrics import MetricCollection
from fulmen.metrics import classification as kinds
from fulmen.metrics.functional import classification as functions

FAMILIES = {
    "ROC": "roc",
    "PrecisionRecallCurve": "precision_recall_curve",
    "AUROC": "auroc",
    "AveragePrecision": "average_precision",
}
SIZE = {"Binary": {}, "Multiclass": {"num_classes": 3}, "Multilabel": {"num_labels": 3}}
every_family = pytest.mark.parametrize("family", FAMILIES)
every_task = pytest.mark.parametrize("task", SIZE)


def drawn(task: str, size: int = 60, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(size, 3, generator=generator)
    if task == "Multiclass":
        return scores.softmax(1), torch.arange(size) % 3
    target = (torch.rand(size, 3, generator=generator) < scores).long()
    return (scores[:, 0], target[:, 0]) if task == "Binary" else (scores, target)


def made(task: str, family: str, **options: Any) -> Any:
    return getattr(kinds, task + family)(**SIZE[task], **options)


def close(actual: Any, expected: Any) -> None:
    if isinstance(actual, (list, tuple)):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            close(one, other)
    else:
        expected = torch.as_tensor(np.asarray(expected).copy()).double()
        torch.testing.assert_close(actual.double(), expected, rtol=1e-6, atol=1e-6, equal_nan=True)


# ----------------------------------------------------------------------------------------------- torchmetrics


@every_family
@every_task
@pytest.mark.parametrize("thresholds", [None, 7, [0.0, 0.3, 0.6, 1.0], torch.linspace(0, 1, 12)])
def test_functions_of_a_task_are_those_of_torchmetrics(family: str, task: str, thresholds: Any) -> None:
    preds, target = drawn(task)
    target = target.clone()
    target.view(-1)[::7] = -5
    options = {"task": task.lower(), "thresholds": thresholds, "ignore_index": -5, **SIZE[task]}
    ours, theirs = (getattr(library, FAMILIES[family]) for library in (functions, torchmetrics))
    close(ours(preds, target, **options), theirs(preds, target, **options))


@every_family
@every_task
def test_a_task_chooses_the_class(family: str, task: str) -> None:
    metric = getattr(kinds, family)(task=task.lower(), thresholds=5, ignore_index=-1, **SIZE[task])
    assert type(metric) is getattr(kinds, task + family)
    assert metric.update_options == made(task, family, thresholds=5, ignore_index=-1).update_options


# -------------------------------------------------------------------------------------------------- exactness


def test_logits_that_a_sigmoid_could_not_tell_apart() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(500, generator=generator) * 200
    target = (torch.rand(500, generator=generator) < 0.3).long()
    close(functions.binary_auroc(logits, target), sklearn.metrics.roc_auc_score(target, logits))
    close(
        functions.binary_average_precision(logits, target),
        sklearn.metrics.average_precision_score(target, logits),
    )


def test_scores_in_float64_that_float32_could_not_tell_apart() -> None:
    scores = 0.5 + torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64) * 1e-12
    _, _, thresholds = functions.binary_roc(scores, torch.tensor([0, 0, 1, 1]))
    assert thresholds.tolist() == [1.0, *scores.flip(0).tolist()]
    assert functions.binary_auroc(scores, torch.tensor([0, 0, 1, 1])).item() == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_pair_of_neighbouring_scores_is_told_apart(dtype: torch.dtype) -> None:
    low = torch.tensor([-3.0, -1e-3, 0.0, 0.3, 7.0, 1e4], dtype=dtype)
    high = torch.nextafter(low, torch.full_like(low, torch.inf))
    for one, other in zip(low, high, strict=True):
        assert functions.binary_auroc(torch.stack([one, other]), torch.tensor([0, 1])).item() == 1
        assert functions.binary_auroc(torch.stack([other, one]), torch.tensor([0, 1])).item() == 0


def test_zero_and_negative_zero_tie() -> None:
    assert functions.binary_auroc(torch.tensor([-0.0, 0.0]), torch.tensor([0, 1])).item() == 0.5


def test_infinite_scores_have_their_places() -> None:
    scores = torch.tensor([-torch.inf, -1.0, 3.0, torch.inf])
    assert functions.binary_auroc(scores, torch.tensor([0, 0, 1, 1])).item() == 1
    assert functions.binary_auroc(scores, torch.tensor([1, 1, 0, 0])).item() == 0


def test_many_scores() -> None:
    generator = torch.Generator().manual_seed(2)
    scores = torch.rand(200_000, generator=generator)
    target = (torch.rand(200_000, generator=generator) < scores**3).long()
    metrics = MetricCollection([kinds.BinaryAUROC(), kinds.BinaryAveragePrecision()]).set_dtype(torch.float64)
    for part in torch.arange(200_000).split(30_000):
        metrics.update(scores[part], target[part])
    values = metrics.compute()
    assert values["BinaryAUROC"].item() == pytest.approx(
        sklearn.metrics.roc_auc_score(target, scores), abs=1e-12
    )
    assert values["BinaryAveragePrecision"].item() == pytest.approx(
        sklearn.metrics.average_precision_score(target, scores), abs=1e-12
    )


@every_family
def test_scores_are_the_same_however_they_are_spread_over_batches(family: str) -> None:
    # One batch of logits has none outside [0, 1]; alone, it would pass for probabilities.
    logits, target = torch.tensor([-3.0, 4.0, 0.1, 0.9]), torch.tensor([0, 1, 1, 0])
    metric = made("Binary", family)
    metric.update(logits[:2], target[:2])
    metric.update(logits[2:], target[2:])
    close(metric.compute(), getattr(functions, f"binary_{FAMILIES[family]}")(logits, target))


@every_task
@every_family
def test_more_dimensions_are_more_samples(task: str, family: str) -> None:
    preds, target = drawn(task)
    several = (preds.view(10, 6, *preds.shape[1:]), target.view(10, 6, *target.shape[1:]))
    images = [x.movedim(1, -1).contiguous() for x in several]
    for thresholds in (None, 5):
        metric = made(task, family, thresholds=thresholds)
        metric.update(*images)
        flat = made(task, family, thresholds=thresholds)
        flat.update(preds, target)
        close(metric.compute(), flat.compute())


def test_scores_that_are_not_normalised() -> None:
    scores, target = torch.tensor([-1.6, -0.4, 1.2, 3.0]), torch.tensor([0, 1, 0, 1])
    metric = kinds.BinaryROC(normalization=None)
    metric.update(scores, target)
    close(metric.compute(), sklearn.metrics.roc_curve(target, scores, drop_intermediate=False))


# --------------------------------------------------------------------------------------------------- averages


def test_the_mean_roc_curve_is_that_of_all_interpolated() -> None:
    preds, target = drawn("Multiclass")
    curves = [sklearn.metrics.roc_curve(target == c, preds[:, c], drop_intermediate=False) for c in range(3)]
    every = np.sort(np.concatenate([fpr for fpr, _, _ in curves]))
    mean = np.mean([np.interp(every, fpr, tpr) for fpr, tpr, _ in curves], axis=0)
    fpr, tpr, thresholds = functions.multiclass_roc(preds, target, 3, average="macro")
    close([fpr, tpr], [every, mean])
    assert tpr[-1] == 1
    assert thresholds.shape == fpr.shape


@pytest.mark.parametrize("thresholds", [None, 9])
def test_the_mean_precision_recall_curve_starts_and_ends_as_each_does(thresholds: Any) -> None:
    preds, target = drawn("Multiclass")
    precision, recall, _ = functions.multiclass_precision_recall_curve(preds, target, 3, thresholds, "macro")
    assert (recall[0], recall[-1], precision[-1]) == (1, 0, 1)
    assert (recall.diff() <= 0).all()
    parts = functions.multiclass_precision_recall_curve(preds, target, 3, thresholds)
    lowest = [part[recall_of == 1].max() for part, recall_of in zip(parts[0], parts[1], strict=True)]
    close(precision[0], torch.stack(lowest).mean())


# ------------------------------------------------------------------------------------------------- thresholds


@every_task
@every_family
def test_with_every_score_as_threshold_counts_are_exact(task: str, family: str) -> None:
    preds, target = drawn(task)
    binned = made(task, family, thresholds=preds.unique())
    exact = made(task, family)
    for metric in (binned, exact):
        metric.update(preds[:20], target[:20])
        metric.update(preds[20:], target[20:])
    if family in ("AUROC", "AveragePrecision"):
        close(binned.compute(), exact.compute())
    elif task == "Binary":
        points = [part[1:] if family == "ROC" else part for part in exact.compute()]
        close(binned.compute(), points)


@every_task
def test_memory_is_constant_with_thresholds(task: str) -> None:
    metric = made(task, "AUROC", thresholds=10)
    before = {name: state.shape for name, state in metric.metric_state.items()}
    for seed in range(3):
        metric.update(*drawn(task, seed=seed))
    assert {name: state.shape for name, state in metric.metric_state.items()} == before
    assert metric.counts.dtype is torch.int64


def test_thresholds_may_be_given_in_any_order() -> None:
    preds, target = drawn("Binary")
    close(
        functions.binary_roc(preds, target, thresholds=[0.9, 0.1, 0.5]),
        functions.binary_roc(preds, target, thresholds=[0.1, 0.5, 0.9]),
    )


def test_the_corners_belong_to_the_area() -> None:
    preds, target = torch.tensor([0.2, 0.4, 0.6, 0.8]), torch.tensor([0, 1, 0, 1])
    # One point between the corners, at half of the negatives and half of the positives.
    close(functions.binary_auroc(preds, target, thresholds=[0.5]), 0.5)
    close(functions.binary_auroc(torch.ones(4), target, thresholds=11), 0.5)


def test_half_leaves_thresholds_as_they_are() -> None:
    preds, target = drawn("Binary")
    whole, half = made("Binary", "ROC", thresholds=100), made("Binary", "ROC", thresholds=100).half()
    for metric in (whole, half):
        metric.update(preds, target)
    close(half.compute(), whole.compute())


def test_scores_in_half_precision_are_kept_so() -> None:
    preds, target = drawn("Binary")
    metric = made("Binary", "AUROC")
    metric.update(preds.half(), target)
    assert metric.preds[0].dtype is torch.float16
    close(metric.compute(), functions.binary_auroc(preds.half().float(), target))


@pytest.mark.parametrize("thresholds", [1, 0, -3, True, [], [0.2, 1.5], torch.tensor([-0.1]), "many", 0.5])
def test_thresholds_that_cannot_be_used(thresholds: Any) -> None:
    with pytest.raises(ConfigError, match=r"(?s)thresholds.*received.*expected"):
        kinds.BinaryROC(thresholds=thresholds)


# ------------------------------------------------------------------------------------------------- degenerate


@pytest.mark.parametrize("thresholds", [None, [0.0, 0.2, 0.5, 1.0]])
@pytest.mark.parametrize(("label", "missing"), [(0, "positives"), (1, "negatives")])
def test_one_class_only(label: int, missing: str, thresholds: Any) -> None:
    preds, target = torch.tensor([0.2, 0.5, 0.5]), torch.full((3,), label)
    with pytest.warns(FulmenWarning, match=missing):
        assert functions.binary_auroc(preds, target, thresholds=thresholds) == 0
    fpr, tpr, _ = functions.binary_roc(preds, target, thresholds)  # said once
    assert not (fpr if label else tpr).any()
    assert (tpr if label else fpr)[-1] == 1
    precision, recall, _ = functions.binary_precision_recall_curve(preds, target, thresholds)
    assert precision[0] == label
    assert recall[0] == 1
    assert functions.binary_average_precision(preds, target, thresholds) == label


@pytest.mark.parametrize("max_fpr", [None, 0.5, 1.0])
def test_one_class_only_in_a_part_of_the_area(max_fpr: float | None) -> None:
    with pytest.warns(FulmenWarning, match="negatives"):
        assert functions.binary_auroc(torch.rand(5), torch.ones(5).long(), max_fpr) == 0


@pytest.mark.parametrize("thresholds", [None, 50])
def test_a_class_without_samples(thresholds: Any) -> None:
    preds, target = drawn("Multiclass")
    target = target.clamp(max=1)
    with pytest.warns(FulmenWarning, match="positives"):
        each = functions.multiclass_average_precision(preds, target, 3, "none", thresholds)
    assert each.isnan().tolist() == [False, False, True]
    mean = functions.multiclass_average_precision(preds, target, 3, "macro", thresholds)
    close(mean, each[:2].mean())
    areas = functions.multiclass_auroc(preds, target, 3, None, thresholds)
    assert areas[2] == 0
    _, recall, _ = functions.multiclass_precision_recall_curve(preds, target, 3, thresholds)
    assert recall[2][:-1].isnan().all()


def test_labels_that_are_all_ignored() -> None:
    for thresholds in (None, 5):
        metric = kinds.MultilabelAUROC(3, "none", thresholds, ignore_index=-1)
        preds, target = drawn("Multilabel")
        target[:, 1] = -1
        metric.update(preds, target)
        assert metric.compute()[1] == 0


def test_all_tied() -> None:
    preds, target = torch.full((5,), 0.3), torch.tensor([0, 1, 1, 0, 0])
    close(functions.binary_auroc(preds, target), 0.5)
    close(functions.binary_average_precision(preds, target), 0.4)
    close(functions.binary_roc(preds, target), [[0, 1], [0, 1], [1, 0.3]])
    close(functions.binary_precision_recall_curve(preds, target), [[0.4, 1], [1, 0], [0.3]])


@every_task
@every_family
@pytest.mark.parametrize("thresholds", [None, 4])
def test_nothing_at_all(task: str, family: str, thresholds: Any) -> None:
    preds, target = drawn(task)
    metric = made(task, family, thresholds=thresholds)
    metric.update(preds[:0], target[:0])
    value = metric.compute()
    if task == "Binary" and family == "AUROC":
        assert value == 0
    if task == "Binary" and family == "PrecisionRecallCurve" and thresholds is None:
        close(value, [[1.0], [0.0], []])


# -------------------------------------------------------------------------------------------------- bad input


def test_nan_scores_are_found_when_scores_are_looked_at() -> None:
    preds, target = torch.tensor([0.1, torch.nan]), torch.tensor([0, 1])
    kept = kinds.BinaryAUROC()
    kept.update(preds, target)
    with pytest.raises(UsageError, match="1 NaN"):
        kept.compute()
    with pytest.raises(UsageError, match="1 NaN"):
        kinds.BinaryAUROC(thresholds=5).update(preds, target)
    with pytest.raises(UsageError, match="1 NaN"):
        kinds.BinaryAUROC(validate_args=True).update(preds, target)
    unseen = kinds.BinaryAUROC(validate_args=False)
    unseen.update(preds, target)
    unseen.compute()


@every_task
@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range(task: str, label: int) -> None:
    preds, target = drawn(task)
    target = target.clone()
    target.view(-1)[4] = label
    with pytest.raises(UsageError, match=f"(?s)labels from.*{label}"):
        made(task, "AUROC", thresholds=5).update(preds, target)
    with pytest.raises(UsageError, match=f"(?s)labels from.*{label}"):
        made(task, "AUROC", validate_args=True).update(preds, target)
    kept = made(task, "AUROC")
    kept.update(preds, target)
    with pytest.raises(UsageError, match=f"(?s)labels from.*{label}"):
        kept.compute()
    marked = made(task, "AUROC", ignore_index=label)
    marked.update(preds, target)
    marked.compute()


@pytest.mark.parametrize("thresholds", [None, 5])
@pytest.mark.parametrize(
    ("metric", "preds", "target", "says"),
    [
        (kinds.BinaryAUROC, torch.rand(4), torch.zeros(3).long(), r"\(4,\).*\(3,\)"),
        (kinds.MulticlassAUROC, torch.rand(4, 2), torch.zeros(4).long(), r"\(4, 2\).*3"),
        (kinds.MulticlassAUROC, torch.rand(4), torch.zeros(4).long(), "N, C"),
        (kinds.MultilabelAUROC, torch.rand(4, 3), torch.zeros(4).long(), r"\(4, 3\).*\(4,\)"),
        (kinds.BinaryAUROC, torch.rand(4), torch.zeros(4), "float32"),
        (kinds.BinaryAUROC, torch.ones(4).long(), torch.zeros(4).long(), "int64"),
        (kinds.MulticlassAUROC, torch.ones(4).long(), torch.zeros(4).long(), "int64"),
    ],
)
def test_input_that_does_not_fit(metric: Any, preds: Any, target: Any, says: str, thresholds: Any) -> None:
    size = () if metric is kinds.BinaryAUROC else (3,)
    with pytest.raises(UsageError, match=f"(?s)received.*{says}"):
        metric(*size, thresholds=thresholds).update(preds, target)


@pytest.mark.parametrize(
    "make",
    [
        lambda: kinds.BinaryAUROC(max_fpr=0.0),
        lambda: kinds.BinaryAUROC(max_fpr=1.5),
        lambda: kinds.MulticlassAUROC(3, average="micro"),  # pyright: ignore[reportArgumentType]
        lambda: kinds.MulticlassROC(3, average="weighted"),  # pyright: ignore[reportArgumentType]
        lambda: kinds.MulticlassAUROC(1),
        lambda: kinds.AUROC("multiclass"),
        lambda: kinds.AUROC("multilabel", num_classes=3),
        lambda: kinds.ROC("ternary"),  # pyright: ignore[reportArgumentType]
        lambda: kinds.BinaryROC(normalization="tanh"),
    ],
)
def test_options_that_cannot_be_used(make: Any) -> None:
    with pytest.raises(ConfigError, match=r"(?s)received.*expected"):
        make()


# ---------------------------------------------------------------------------------------------------- sharing


@every_task
@pytest.mark.parametrize("thresholds", [None, 6])
def test_those_of_one_task_keep_their_scores_once(task: str, thresholds: Any) -> None:
    metrics = MetricCollection([made(task, family, thresholds=thresholds) for family in FAMILIES])
    assert len(metrics.compute_groups) == 1
    for part in torch.arange(60).split(25):
        metrics.update(*(x[part] for x in drawn(task)))
    values = metrics.compute()
    for family in FAMILIES:
        alone = made(task, family, thresholds=thresholds)
        alone.update(*drawn(task))
        close(values[task + family], alone.compute())


def test_those_with_other_thresholds_do_not() -> None:
    metrics = MetricCollection(
        {
            "exact": kinds.BinaryAUROC(),
            "five": kinds.BinaryAUROC(thresholds=5),
            "listed": kinds.BinaryROC(thresholds=[0, 0.25, 0.5, 0.75, 1]),
            "ignoring": kinds.BinaryROC(thresholds=5, ignore_index=2),
        }
    )
    assert sorted(map(len, metrics.compute_groups.values())) == [1, 1, 2]
