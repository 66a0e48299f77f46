"""`pytorch_lightning.metrics` of 1.0 to 1.4: what the real ones computed, and what tells versions apart."""

from __future__ import annotations

import inspect
import json
import math
import warnings
from ast import literal_eval
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import Tensor

from fulmen.base.report import forget_warnings
from fulmen.compat import OldSpelling
from fulmen.compat.lightning import metrics, versions
from fulmen.compat.lightning.metrics import eras, functional, table
from fulmen.errors import ConfigError, UnknownArgumentError

from .metric_cases import DATA, FUNCTIONS

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "fixtures" / "metrics.json").read_text())
VERSIONS = list(RECORDED["classes"])
COMPUTED: dict[str, list[dict[str, Any]]] = RECORDED["values"]

OTHERWISE = {
    "1.0.0": {
        # 1.0.0 and 1.0.8 disagree; ours are those of 1.0.8
        "run(Fbeta(4, 2.0, average='macro'), (P, T), (P2, T2))",
        "iou(B, Y)",
    },
    "1.0.8": {
        # ours are those of 1.0.0, and a warning says so
        "psnr(I, J, reduction='sum')",
        "psnr(x, y, reduction='none')",
    },
}
"""Where two versions that are both called 1.0 disagree, or where theirs is no number."""

SCORES_ABOVE_1 = {
    "run(Precision(), (P, T), (P2, T2))",
    "run(Precision(), (EL, E))",
    "run(Recall(), (P, T), (P2, T2))",
}
"""Where 1.0 and 1.1 add up labels as if those were numbers."""

MENDED = SCORES_ABOVE_1 | {
    # an argument that is not heeded
    "to_categorical(P, 0)",
    "to_categorical(tensor=P, argmax_dim=0)",
    "average_precision(B, Y, sample_weights=W)",
    "precision(BL, Y, is_multiclass=False)",
    "precision(B, Y, is_multiclass=True)",
    "run(Recall(is_multiclass=False), (BL, Y))",
    # height taken for width
    "ssim(I, J, (5, 7), (1.0, 2.0), 'sum')",
}
"""Where ours are right, and a warning says that theirs were others."""


@pytest.fixture(autouse=True)
def undeclared() -> Iterator[None]:
    yield
    versions.declare(None)


def evaluate(case: str) -> tuple[Any, list[type[Warning]]]:
    """What an expression gives, and the categories of warnings."""
    forget_warnings()
    names = vars(functional) if case in FUNCTIONS else vars(metrics)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        value = eval(case, {**names, **DATA})
    return value, [warning.category for warning in said]


def alike(ours: Any, theirs: Any) -> bool:
    """Whether values are the same in single precision; `theirs` are numbers, in lists and dicts."""
    if isinstance(ours, Tensor):
        ours = ours.tolist()
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(alike(ours[name], theirs[name]) for name in theirs)
    if isinstance(theirs, list):
        same_length = isinstance(ours, list | tuple) and len(ours) == len(theirs)
        return same_length and all(map(alike, ours, theirs))
    if theirs is None or isinstance(ours, list | tuple):
        return ours is theirs
    return math.isclose(ours, theirs, rel_tol=2e-5, abs_tol=1e-5) or (math.isnan(ours) and math.isnan(theirs))


# ---------------------------------------------------------------------------------- against the real versions


def values_of(version: str) -> dict[str, Any]:
    return {
        case: group["value"]
        for case, groups in COMPUTED.items()
        for group in groups
        if version in group["versions"] and case not in OTHERWISE.get(version, set())
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_a_declared_version_computes_what_it_computed(version: str) -> None:
    versions.declare(version)
    cases = values_of(version)
    wrong = []
    for case, theirs in cases.items():
        ours, said = evaluate(case)
        if not alike(ours, theirs) and not (case in MENDED and OldSpelling in said):
            wrong.append(f"{case}: {ours} instead of {theirs}")
    assert len(cases) > 200
    assert wrong == []


def test_undeclared_the_newest_version_counts_and_any_difference_is_said() -> None:
    of_versions = [values_of(version) for version in reversed(VERSIONS)]
    wrong, silent = [], []
    for case in COMPUTED:
        theirs = [values[case] for values in of_versions if case in values]
        if not theirs or case in SCORES_ABOVE_1:
            continue
        ours, said = evaluate(case)
        assert set(said) <= {OldSpelling}
        if not alike(ours, theirs[0]) and not (case in MENDED and said):
            wrong.append(f"{case}: {ours} instead of {theirs[0]}")
        if not said and not all(alike(ours, other) for other in theirs):
            silent.append(case)
    assert wrong == []
    assert silent == []


def test_where_versions_agree_nothing_is_said() -> None:
    of_one_version = {
        "auc(torch.tensor([0., 2., 1., 3.]), torch.tensor([0., 1., 2., 2.]))",  # later ones refuse it
        "precision(B, Y, is_multiclass=True, average='macro', num_classes=2)",  # refused by 1.4, as unheeded
        "run(Precision(), (N, N))",  # refused from 1.2 on
        "run(Fbeta(4, 2.0, average='macro'), (P, T), (P2, T2))",
    }
    needless = set()
    for case, groups in COMPUTED.items():
        first, *others = [group["value"] for group in groups] or [None]
        if groups and all(alike(first, other) for other in others) and evaluate(case)[1]:
            needless.add(case)
    assert needless - MENDED == of_one_version


def parameters(call: Any) -> dict[str, str | None]:
    """The arguments of a function or class, and their defaults as Python writes them."""
    named = inspect.signature(call).parameters.values()
    return {p.name: None if p.default is p.empty else repr(p.default) for p in named}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_names_of_a_version_are_there_with_its_arguments(version: str) -> None:
    versions.declare(version)
    short = versions.parse(version)
    lacking = []
    for name, arguments in RECORDED["functions"][version].items():
        old = table.FUNCTIONS[name]
        assert old.first <= short <= old.last, name
        call = getattr(functional, name)
        forms = vars(call).get("variants", {"1.0": call})
        form = forms[max(first for first in forms if first <= short)]
        renamed = {**eras.ALIASES, **vars(call).get("old_names", {})}
        ours = parameters(form)
        for argument, *default in arguments:
            known = argument if argument in ours else renamed.get(argument)
            if known not in ours or (default and name != "auc" and not alike_defaults(ours[known], *default)):
                lacking.append(f"{name}({argument}={default})")
    for name, arguments in RECORDED["classes"][version].items():
        old = table.CLASSES[name]
        assert old.first <= short <= old.last, name
        ours = {**parameters(getattr(metrics, name)), **parameters(metrics.Metric)}
        for argument, *default in arguments:
            if argument not in ours or (default and not alike_defaults(ours[argument], *default)):
                lacking.append(f"{name}({argument}={default})")
    decided_later = {f"{name}(num_classes=['1'])" for name in ("Precision", "Recall", "F1")}
    of_the_other_form = {
        f"{name}(class_reduction=['None'])" for name in ("precision", "recall", "precision_recall")
    }
    assert set(lacking) <= decided_later | of_the_other_form


def alike_defaults(ours: str | None, theirs: str) -> bool:
    """Whether two defaults mean the same: of a switch, None and False do."""
    if ours is None:
        return False
    first, second = literal_eval(ours), literal_eval(theirs)
    return first == second or {ours, theirs} == {"None", "False"}


def test_the_table_has_every_name_that_is_offered() -> None:
    assert set(table.CLASSES) | {"functional"} == set(metrics.__all__)
    assert set(table.FUNCTIONS) == set(functional.__all__)
    signatures = [row[0] for row in table.rows()]
    assert (
        "accuracy(pred, target, num_classes=None, class_reduction='micro', return_state=False)" in signatures
    )
    assert "accuracy(preds, target, threshold=0.5, top_k=None, subset_accuracy=False)" in signatures


# ----------------------------------------------------------------------------- values from elsewhere, by hand


LABELS = torch.tensor([0, 2, 1, 2, 0, 1, 2, 2])
CHOSEN = torch.tensor([0, 1, 1, 2, 2, 1, 2, 0])


@pytest.mark.parametrize("average", ["micro", "macro", "weighted"])
def test_scores_of_classes_are_those_of_scikit_learn(average: str) -> None:
    for name, theirs in (
        ("Precision", sklearn_metrics.precision_score),
        ("Recall", sklearn_metrics.recall_score),
        ("F1", sklearn_metrics.f1_score),
    ):
        metric = getattr(metrics, name)(num_classes=3, average=average)
        metric.update(CHOSEN[:5], LABELS[:5])
        metric.update(CHOSEN[5:], LABELS[5:])
        assert metric.compute() == pytest.approx(theirs(LABELS, CHOSEN, average=average))
        if name != "F1":
            form = getattr(functional, name.lower())
            expected = pytest.approx(theirs(LABELS, CHOSEN, average=average))
            assert form(CHOSEN, LABELS, num_classes=3, average=average) == expected
            assert form(CHOSEN, LABELS, num_classes=3, class_reduction=average) == expected


def test_areas_are_those_of_scikit_learn() -> None:
    scores, labels = DATA["B"], DATA["Y"]
    weights = DATA["W"]
    theirs = sklearn_metrics.roc_auc_score(labels, scores, sample_weight=weights)
    assert functional.auroc(scores, labels, sample_weight=weights) == pytest.approx(theirs)
    assert functional.auroc(scores, labels, sample_weights=weights.tolist()) == pytest.approx(theirs)
    assert functional.average_precision(scores, labels) == pytest.approx(
        sklearn_metrics.average_precision_score(labels, scores)
    )
    assert functional.auroc(scores, labels, max_fpr=0.3) == pytest.approx(
        sklearn_metrics.roc_auc_score(labels, scores, max_fpr=0.3)
    )


def test_a_score_at_the_threshold_is_predicted() -> None:
    preds, target = torch.tensor([0.5, 0.5, 0.2]), torch.tensor([1, 0, 0])
    assert metrics.Accuracy()(preds, target) == pytest.approx(2 / 3)
    assert metrics.Precision(num_classes=1)(preds, target) == 0.5


def test_errors_of_numbers_by_hand() -> None:
    preds, target = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([1.0, 4.0, 1.0])
    assert functional.mse(preds, target) == pytest.approx(20 / 3)
    assert functional.rmse(pred=preds, target=target, reduction="sum") == pytest.approx(math.sqrt(20))
    assert functional.mae(preds, target, "none").tolist() == [0, 2, 4]
    assert functional.mae(preds, target, return_state=True) == {"absolute_error": 6, "n_observations": 3}
    assert metrics.PSNR(data_range=4.0)(preds, target) == pytest.approx(10 * math.log10(16 / (20 / 3)))


# --------------------------------------------------------------------------------- which version a call is as


def test_either_spelling_of_an_argument_is_understood() -> None:
    for declared in (None, "1.0", "1.4"):
        versions.declare(declared)
        for names in ({"pred": CHOSEN}, {"preds": CHOSEN}):
            assert functional.accuracy(**names, target=LABELS) == 5 / 8
            assert functional.precision(**names, target=LABELS) == 5 / 8
            assert functional.iou(**names, target=LABELS, num_classes=3) > 0
            assert functional.get_num_classes(**names, target=LABELS) == 3


def test_an_argument_that_one_version_has_decides() -> None:
    for declared in (None, "1.0", "1.4"):
        versions.declare(declared)
        assert functional.accuracy(CHOSEN, LABELS, class_reduction="none").tolist() == [0.5, 1, 0.5]
        assert functional.accuracy(CHOSEN, LABELS, 3) == 5 / 8  # a number of classes
        assert functional.accuracy(torch.tensor([0.4, 0.2]), torch.tensor([1, 0]), 0.3) == 1  # a threshold
        assert [int(count) for count in functional.stat_scores(CHOSEN, LABELS, 1)] == [2, 1, 5, 0, 2]
        matrix = functional.confusion_matrix(CHOSEN, LABELS, normalize=True)
        assert matrix.tolist() == [[0.5, 0, 0.5], [0, 1, 0], [0.25, 0.25, 0.5]]
        assert functional.confusion_matrix(CHOSEN, LABELS, 3, "true").tolist() == matrix.tolist()


def test_the_declared_version_decides_where_both_understand() -> None:
    scores, labels = torch.tensor([0.9, 0.8, 0.3, 0.6]), torch.tensor([1, 1, 0, 0])
    versions.declare("1.1")
    assert functional.accuracy(scores, labels) == 0.5  # all are 0
    versions.declare("1.2")
    assert functional.accuracy(scores, labels) == 0.75
    versions.declare(None)
    with pytest.warns(OldSpelling, match="scores of the shape of `target`.*fulmen run --as 1.1"):
        assert functional.accuracy(scores, labels) == 0.75
    assert functional.accuracy(scores, labels) == 0.75  # said once


def test_what_no_version_takes_is_an_error() -> None:
    with pytest.raises(UnknownArgumentError, match=r"accuracy`[\s\S]*avrage=[\s\S]*class_reduction"):
        functional.accuracy(CHOSEN, LABELS, avrage="macro")
    with pytest.raises(ConfigError, match="must be labels"):
        metrics.Accuracy()(CHOSEN / 3, LABELS / 3)
    with pytest.raises(ConfigError, match="several classes"):
        metrics.F1(num_classes=1)(CHOSEN, LABELS)
    with pytest.raises(ConfigError, match="num_classes=2"):
        metrics.Precision(num_classes=2, average="macro").update(CHOSEN, LABELS)
