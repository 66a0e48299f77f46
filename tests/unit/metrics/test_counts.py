"""Metrics of classification that are formulas of counts: what they share, and their values at the edges."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchmetrics.classification as theirs
from torch import Tensor

from fulmen.errors import ConfigError, UsageError
from fulmen.metrics import Metric, MetricCollection
from fulmen.metrics import classification as ours
from fulmen.metrics.classification.tasks import FEW_POSITIONS
from fulmen.metrics.functional import classification as functions

SCORES = ["Accuracy", "Precision", "Recall", "Specificity", "F1Score", "HammingDistance", "StatScores"]
MATRICES = ["ConfusionMatrix", "MatthewsCorrCoef", "JaccardIndex"]
NONE = torch.zeros(0, dtype=torch.int64)


def drawn(*shape: int, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores (N, classes, ...) and labels (N, ...)."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, shape, generator=generator)
    return torch.randn(shape[0], classes, *shape[1:], generator=generator), target


def value_of(metric: Any, *batches: tuple[Tensor, Tensor]) -> Tensor:
    for batch in batches:
        metric.update(*batch)
    return metric.compute()


# -------------------------------------------------------------------------------------- one update for all


def updates_counted(metrics: list[Metric], monkeypatch: pytest.MonkeyPatch, *batch: Tensor) -> int:
    """How many of the metrics' batches are located when a collection of them is updated."""
    located = []
    collection = MetricCollection({f"{i}_{type(m).__name__}": m for i, m in enumerate(metrics)})
    kinds: set[Any] = {type(metric.__dict__["_task"]) for metric in metrics}
    for kind in kinds:
        locate = kind.locate

        def counting(self: Any, *args: Any, locate: Any = locate) -> Tensor:
            located.append(self)
            return locate(self, *args)

        monkeypatch.setattr(kind, "locate", counting)
    collection.update(*batch)
    return len(located)


def test_metrics_of_several_classes_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [*SCORES, *MATRICES, "CohenKappa"]
    metrics = [getattr(ours, f"Multiclass{name}")(num_classes=4) for name in names]
    metrics += [ours.MulticlassAccuracy(4, average=average) for average in ("micro", "weighted", "none")]
    metrics += [ours.MulticlassFBetaScore(2.0, 4), ours.MulticlassCohenKappa(4, weights="linear")]
    assert updates_counted(metrics, monkeypatch, *drawn(8)) == 1


def test_metrics_of_two_classes_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = [getattr(ours, f"Binary{name}")() for name in [*SCORES, *MATRICES, "CohenKappa"]]
    assert updates_counted(metrics, monkeypatch, torch.rand(8), torch.ones(8, dtype=torch.int64)) == 1


def test_metrics_of_several_labels_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = [getattr(ours, f"Multilabel{name}")(num_labels=3) for name in [*SCORES, *MATRICES]]
    assert updates_counted(metrics, monkeypatch, torch.rand(8, 3), torch.ones(8, 3, dtype=torch.int64)) == 1


@pytest.mark.parametrize(
    "options",
    [{"num_classes": 5}, {"top_k": 2}, {"ignore_index": 1}, {"multidim_average": "samplewise"}],
    ids=lambda options: next(iter(options)),
)
def test_metrics_that_count_otherwise_do_not_share(options: dict[str, Any]) -> None:
    plain, other = ours.MulticlassAccuracy(4), ours.MulticlassAccuracy(**{"num_classes": 4, **options})
    assert plain.update_options != other.update_options


# -------------------------------------------------------------------------------------------- names by task


@pytest.mark.parametrize("name", [*SCORES, *MATRICES, "CohenKappa", "FBetaScore"])
def test_a_task_chooses_the_class(name: str) -> None:
    for_task: Any = getattr(ours, name)
    kinds: dict[str, dict[str, Any]] = {
        "binary": {},
        "multiclass": {"num_classes": 3},
        "multilabel": {"num_labels": 3},
    }
    for task, options in kinds.items():
        if (name, task) != ("CohenKappa", "multilabel"):
            assert type(for_task(task=task, **options)) is getattr(ours, task.capitalize() + name)
    with pytest.raises(ConfigError, match="'binary', 'multiclass'"):
        for_task(task="multi")


def test_a_task_takes_the_options_that_it_knows() -> None:
    metric = ours.Accuracy(task="multiclass", num_classes=3, average="none", top_k=2, sync_on_compute=False)
    assert isinstance(metric, ours.MulticlassAccuracy)
    assert metric.average == "none"
    assert not metric.sync_on_compute
    preds, target = drawn(9, classes=3)
    value = functions.accuracy(preds, target, task="multiclass", num_classes=3, average="none", top_k=2)
    torch.testing.assert_close(value_of(metric, (preds, target)), value)


# ------------------------------------------------------------------------------------- values at the edges


@pytest.mark.parametrize("name", [*SCORES, "JaccardIndex"])
@pytest.mark.parametrize("average", ["micro", "macro", "weighted", "none"])
@pytest.mark.parametrize("ignore_index", [None, 0, -1])
def test_absent_classes_as_torchmetrics_has_them(name: str, average: str, ignore_index: int | None) -> None:
    target = torch.tensor([0, 1, 2, 1, 1, 2, 0])  # 3 is predicted only, 4 is nowhere
    preds = torch.tensor([0, 1, 2, 2, 1, 0, 3])
    options: dict[str, Any] = {"num_classes": 5, "average": average, "ignore_index": ignore_index}
    expected = getattr(theirs, f"Multiclass{name}")(**options)(preds, target)
    torch.testing.assert_close(
        value_of(getattr(ours, f"Multiclass{name}")(**options), (preds, target)), expected
    )


@pytest.mark.parametrize("name", SCORES)
def test_top_k_means_as_torchmetrics_has_them(name: str) -> None:
    preds, target = drawn(12, classes=6)
    target = target.clamp(max=3)  # 4 and 5 are predicted only
    expected = getattr(theirs, f"Multiclass{name}")(6, top_k=2)(preds, target)
    torch.testing.assert_close(
        value_of(getattr(ours, f"Multiclass{name}")(6, top_k=2), (preds, target)), expected
    )


@pytest.mark.parametrize("zero_division", [0.0, 1.0])
def test_what_is_undefined_is_zero_division(zero_division: float) -> None:
    nothing, something = torch.tensor([0, 0]), torch.tensor([1, 1])
    assert functions.binary_precision(nothing, something, zero_division=zero_division) == zero_division
    assert functions.binary_recall(something, nothing, zero_division=zero_division) == zero_division
    assert functions.binary_f1_score(nothing, nothing, zero_division=zero_division) == zero_division
    assert functions.binary_jaccard_index(nothing, nothing, zero_division=zero_division) == zero_division
    of_none = functions.multiclass_recall(NONE, NONE, 3, zero_division=zero_division)
    assert of_none == zero_division


@pytest.mark.parametrize(
    ("preds", "target", "expected"),
    [
        ([1, 1], [1, 1], 1),
        ([0, 0], [0, 0], 1),
        ([1, 1], [0, 0], -1),
        ([1, 0], [1, 1], 0),
        ([1, 1], [1, 0], 0),
    ],
)
def test_correlation_where_one_label_is_alone(preds: list[int], target: list[int], expected: float) -> None:
    assert functions.binary_matthews_corrcoef(torch.tensor(preds), torch.tensor(target)) == expected


def test_correlation_of_nothing_and_of_one_class_is_zero() -> None:
    assert functions.binary_matthews_corrcoef(NONE, NONE) == 0
    assert functions.multiclass_matthews_corrcoef(NONE + 1, NONE + 1, 3) == 0
    one = torch.ones(4, dtype=torch.int64)
    assert functions.multiclass_matthews_corrcoef(one, one, 3) == 0


@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
def test_kappa_is_nan_where_chance_agrees_fully(weights: Any) -> None:
    one = torch.ones(4, dtype=torch.int64)
    assert functions.multiclass_cohen_kappa(one, one, 3, weights=weights).isnan()


def test_a_normalised_matrix_of_nothing_is_zero() -> None:
    assert not functions.multiclass_confusion_matrix(NONE, NONE, 3, normalize="true").any()


@pytest.mark.parametrize("number", [FEW_POSITIONS, FEW_POSITIONS + 1])
def test_counts_of_few_and_of_many_positions(number: int) -> None:
    preds, target = drawn(number, classes=3)
    matrix = value_of(ours.MulticlassConfusionMatrix(3), (preds, target), (preds[:7], target[:7]))
    expected = torch.zeros(3, 3, dtype=torch.int64)
    for true, predicted in zip([*target, *target[:7]], [*preds.argmax(1), *preds[:7].argmax(1)], strict=True):
        expected[true, predicted] += 1
    assert torch.equal(matrix, expected)


def test_correlations_of_many_samples_keep_their_digits() -> None:
    """Squares of counts are beyond what float32 holds exactly."""
    metric = ours.MulticlassMatthewsCorrCoef(2)
    metric.counts = torch.tensor([100_000_003, 4_000_001, 5_000_003, 90_000_001])
    metric._update_count = 1
    tn, fp, fn, tp = 100_000_003, 4_000_001, 5_000_003, 90_000_001
    exact = (tp * tn - fp * fn) / ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    assert metric.compute().item() == pytest.approx(exact, rel=1e-6)


def test_values_in_half_precision_are_of_whole_counts() -> None:
    metric = ours.BinaryAccuracy().set_dtype(torch.float16)
    ones = torch.ones(70_000, dtype=torch.int64)
    assert value_of(metric, (ones, ones)) == torch.tensor(1.0, dtype=torch.float16)


@pytest.mark.parametrize(
    "construct",
    [
        lambda: ours.BinaryAccuracy(threshold=1.5),
        lambda: ours.BinaryAccuracy(multidim_average="each"),  # pyright: ignore[reportArgumentType]
        lambda: ours.MulticlassAccuracy(1),
        lambda: ours.MulticlassAccuracy(),
        lambda: ours.MulticlassAccuracy(3, top_k=4),
        lambda: ours.MulticlassAccuracy(3, average="mean"),  # pyright: ignore[reportArgumentType]
        lambda: ours.MultilabelAccuracy(1),
        lambda: ours.BinaryFBetaScore(0.0),
        lambda: ours.MulticlassPrecision(3, zero_division=2.0),
        lambda: ours.MulticlassConfusionMatrix(3, normalize="rows"),  # pyright: ignore[reportArgumentType]
        lambda: ours.MulticlassCohenKappa(3, weights="cubic"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_options_that_cannot_be_used(construct: Any) -> None:
    with pytest.raises(ConfigError, match="received"):
        construct()


def test_true_negatives_need_the_number_of_classes() -> None:
    with pytest.raises(UsageError, match="give `num_classes`"):
        functions.multiclass_specificity(*drawn(5), average="micro")
