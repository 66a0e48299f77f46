"""Classification by counts of labels: references of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn import metrics as sk
from torch import Generator, Tensor

from fulmen.metrics import classification as classes
from fulmen.metrics.functional import classification as functions

from .case import Batch, Case

Labels = np.ndarray
Reference = Callable[[Labels, Labels], Any]
"""Of true and predicted labels."""

SIZES = (16, 5, 33, 9)
C, L = 4, 3

FUNCTIONS = {
    "StatScores": "stat_scores",
    "Accuracy": "accuracy",
    "Precision": "precision",
    "Recall": "recall",
    "Specificity": "specificity",
    "F1Score": "f1_score",
    "FBetaScore": "fbeta_score",
    "HammingDistance": "hamming_distance",
    "ConfusionMatrix": "confusion_matrix",
    "CohenKappa": "cohen_kappa",
    "MatthewsCorrCoef": "matthews_corrcoef",
    "JaccardIndex": "jaccard_index",
}


# ------------------------------------------------------------------------------------------------- inputs


def marked(target: Tensor, generator: Generator, ignore_index: int | None) -> Tensor:
    """Targets of which a fifth is to be ignored; the first never is."""
    if ignore_index is None:
        return target
    chosen = torch.rand(target.shape, generator=generator) < 0.2
    chosen[:2] = False
    return torch.where(chosen, ignore_index, target)


def scores_of_two(generator: Generator, shape: tuple[int, ...], kind: str) -> Tensor:
    if kind == "labels":
        return torch.randint(2, shape, generator=generator)
    if kind == "logits":
        return 4 * torch.randn(shape, generator=generator)
    return torch.rand(shape, generator=generator)


def two_classes(
    kind: str, inner: tuple[int, ...], ignore_index: int | None
) -> Callable[[Generator], list[Batch]]:
    def draw(generator: Generator) -> list[Batch]:
        return [
            (
                scores_of_two(generator, (size, *inner), kind),
                marked(torch.randint(2, (size, *inner), generator=generator), generator, ignore_index),
            )
            for size in SIZES
        ]

    return draw


def classes_of(
    count: int, kind: str, inner: tuple[int, ...], ignore_index: int | None
) -> Callable[[Generator], list[Batch]]:
    def draw(generator: Generator) -> list[Batch]:
        batches: list[Batch] = []
        for size in SIZES:
            target = torch.randint(count - 1, (size, *inner), generator=generator)  # the last is never true
            scores = torch.randn((size, count, *inner), generator=generator)
            scores = scores + torch.nn.functional.one_hot(target, count).movedim(-1, 1)
            preds = scores.argmax(1) if kind == "labels" else scores
            batches.append((preds, marked(target, generator, ignore_index)))
        return batches

    return draw


def labels_above(preds: Tensor, threshold: float) -> Labels:
    if not preds.is_floating_point():
        return preds.numpy()
    is_logits = bool((preds < 0).any() or (preds > 1).any())
    return (
        preds.double().numpy() > (np.log(threshold / (1 - threshold)) if is_logits else threshold)
    ).astype(int)


def labels_of_highest(preds: Tensor, target: Tensor, top_k: int) -> Labels:
    if preds.ndim == target.ndim:
        return preds.numpy()
    order = np.argsort(-preds.double().numpy(), axis=1, kind="stable")
    among = (order[:, :top_k] == target.numpy()[:, None]).any(1)
    return np.where(among, target.numpy(), order[:, 0])


def kept(true: Labels, predicted: Labels, ignore_index: int | None) -> tuple[Labels, Labels]:
    keep = np.ones(true.shape, bool) if ignore_index is None else true != ignore_index
    return true[keep], predicted[keep]


# -------------------------------------------------------------------------------------------------- cases


def case_of(
    name: str, suffix: str, task: str, batches: Any, reference: Callable[..., Any], options: dict[str, Any]
) -> Case:
    metric, function = (
        getattr(classes, task.capitalize() + name),
        getattr(functions, f"{task}_{FUNCTIONS[name]}"),
    )
    return Case(
        name=f"{task.capitalize()}{name}{'_' * bool(suffix)}{suffix}",
        metric=lambda: metric(**options),
        functional=lambda preds, target: function(preds, target, **options),
        batches=batches,
        reference=reference,
        half_tolerance=1e-5,
    )


def binary(
    name: str, score: Reference, suffix: str = "", kind: str = "probabilities", **options: Any
) -> Case:
    each = options.get("multidim_average") == "samplewise"

    def reference(preds: Tensor, target: Tensor) -> Any:
        predicted, true = labels_above(preds, options.get("threshold", 0.5)), target.numpy()
        pairs = zip(true, predicted, strict=True) if each else [(true, predicted)]
        values = [score(*kept(t, p, options.get("ignore_index"))) for t, p in pairs]
        return np.stack(values) if each else values[0]

    batches = two_classes(kind, (7,) if each else (), options.get("ignore_index"))
    return case_of(name, suffix, "binary", batches, reference, options)


def multilabel(
    name: str, score: Reference, suffix: str = "", kind: str = "probabilities", **options: Any
) -> Case:
    """`score` is that of two classes for each label, [L], unless `average` is something else."""
    each = options.get("multidim_average") == "samplewise"
    ignore_index = options.get("ignore_index")

    def by_label(true: Labels, predicted: Labels) -> Any:
        pairs = [kept(t, p, ignore_index) for t, p in zip(true, predicted, strict=True)]
        if options.get("average") == "micro" or name == "MatthewsCorrCoef":
            return score(*(np.concatenate(labels) for labels in zip(*pairs, strict=True)))
        values = np.stack([score(*pair) for pair in pairs])
        if options.get("average") == "weighted":
            return np.average(values, axis=0, weights=[true.sum() for true, _ in pairs])
        return values if options.get("average") == "none" or name == "ConfusionMatrix" else values.mean(0)

    def reference(preds: Tensor, target: Tensor) -> Any:
        predicted = labels_above(preds, options.get("threshold", 0.5))
        if each:
            return np.stack([by_label(t, p) for t, p in zip(target.numpy(), predicted, strict=True)])
        first = [np.moveaxis(labels, 1, 0).reshape(L, -1) for labels in (target.numpy(), predicted)]
        return by_label(*first)

    batches = two_classes(kind, (L, 7) if each else (L,), ignore_index)
    return case_of(name, suffix, "multilabel", batches, reference, {"num_labels": L, **options})


def multiclass(
    name: str,
    score: Reference,
    suffix: str = "",
    kind: str = "scores",
    inner: tuple[int, ...] = (),
    **options: Any,
) -> Case:
    each = options.get("multidim_average") == "samplewise"
    ignore_index = options.get("ignore_index")
    options = {"num_classes": C, **options}

    def reference(preds: Tensor, target: Tensor) -> Any:
        predicted, true = labels_of_highest(preds, target, options.get("top_k", 1)), target.numpy()
        pairs = zip(true, predicted, strict=True) if each else [(true, predicted)]
        values = [score(*kept(t, p, ignore_index)) for t, p in pairs]
        return np.stack(values) if each else values[0]

    batches = classes_of(options["num_classes"] or C, kind, (7,) if each else inner, ignore_index)
    return case_of(name, suffix, "multiclass", batches, reference, options)


# --------------------------------------------------------------------------------------------- references


def of_scikit_learn(score: Callable[..., Any], **options: Any) -> Reference:
    return lambda true, predicted: score(true, predicted, **options)


def ratio(score: Callable[..., Any], **options: Any) -> Reference:
    return of_scikit_learn(score, zero_division=0, **options)


def counts_of_two(true: Labels, predicted: Labels) -> Any:
    tn, fp, fn, tp = sk.confusion_matrix(true, predicted, labels=[0, 1]).ravel()
    return np.array([tp, fp, tn, fn, tp + fn])


def counts_of_classes(true: Labels, predicted: Labels) -> Any:
    cells = sk.multilabel_confusion_matrix(true, predicted, labels=range(C)).reshape(-1, 4)
    tn, fp, fn, tp = cells.T
    return np.stack([tp, fp, tn, fn, tp + fn], axis=-1)


def specificity_of_classes(true: Labels, predicted: Labels) -> Any:
    tp, fp, tn, fn, _ = counts_of_classes(true, predicted).T
    return np.divide(tn, tn + fp, out=np.zeros(C), where=tn + fp > 0)[tp + fp + fn > 0].mean()


def mean_of_recalls(true: Labels, predicted: Labels) -> Any:
    """Of the classes that are true."""
    return ratio(sk.recall_score, average="macro", labels=np.unique(true))(true, predicted)


def specificity(true: Labels, predicted: Labels) -> Any:
    return ratio(sk.recall_score, pos_label=0)(true, predicted)


def f_beta(beta: float, **options: Any) -> Reference:
    return ratio(sk.fbeta_score, beta=beta, **options)


def one_minus(score: Reference) -> Reference:
    return lambda true, predicted: 1 - score(true, predicted)


def matrix(labels: int, normalize: str | None = None) -> Reference:
    return of_scikit_learn(sk.confusion_matrix, labels=range(labels), normalize=normalize)


def kappa(labels: int, weights: str | None = None) -> Reference:
    return of_scikit_learn(sk.cohen_kappa_score, labels=range(labels), weights=weights)


RATIOS = {"Precision": sk.precision_score, "Recall": sk.recall_score, "F1Score": sk.f1_score}
ACCURACY, CORRELATION = of_scikit_learn(sk.accuracy_score), of_scikit_learn(sk.matthews_corrcoef)
ALL_RECALLS = ratio(sk.recall_score, average=None, labels=range(C))

CASES = [
    # Two classes
    binary("StatScores", counts_of_two),
    binary("StatScores", counts_of_two, "samplewise", multidim_average="samplewise", ignore_index=-1),
    binary("Accuracy", ACCURACY),
    binary("Accuracy", ACCURACY, "logits", kind="logits", threshold=0.3),
    binary("Accuracy", ACCURACY, "labels", kind="labels", ignore_index=-100),
    binary("Accuracy", ACCURACY, "samplewise", multidim_average="samplewise"),
    *(binary(name, ratio(score)) for name, score in RATIOS.items()),
    *(binary(name, ratio(score), "ignore", ignore_index=255) for name, score in RATIOS.items()),
    binary("Specificity", specificity, threshold=0.7),
    binary("FBetaScore", f_beta(2.0), beta=2.0),
    binary("HammingDistance", of_scikit_learn(sk.hamming_loss)),
    binary("ConfusionMatrix", matrix(2)),
    *(binary("ConfusionMatrix", matrix(2, n), n, normalize=n) for n in ("true", "pred", "all")),
    binary("CohenKappa", kappa(2), ignore_index=-1),
    binary("MatthewsCorrCoef", CORRELATION),
    binary("JaccardIndex", ratio(sk.jaccard_score)),
    # Several classes
    multiclass("StatScores", counts_of_classes, average="none"),
    multiclass("StatScores", counts_of_classes, "samplewise", average="none", multidim_average="samplewise"),
    multiclass("Accuracy", ratio(sk.recall_score, average="macro")),
    multiclass("Accuracy", ACCURACY, "micro", average="micro"),
    multiclass("Accuracy", ACCURACY, "of_unknown_classes", average="micro", num_classes=None),
    multiclass("Accuracy", ALL_RECALLS, "none", average="none", ignore_index=-100),
    multiclass("Accuracy", ALL_RECALLS, "none_ignoring_a_class", average="none", ignore_index=1),
    multiclass("Accuracy", mean_of_recalls, "top_2", top_k=2),
    multiclass("Accuracy", ACCURACY, "top_2_micro", top_k=2, average="micro", ignore_index=-1),
    multiclass("Accuracy", ACCURACY, "many", average="micro", num_classes=70),
    multiclass(
        "Accuracy", ratio(sk.recall_score, average="macro"), "many_macro", num_classes=70, ignore_index=-1
    ),
    multiclass(
        "Accuracy", ACCURACY, "samplewise", average="micro", multidim_average="samplewise", ignore_index=-1
    ),
    *(
        multiclass(name, ratio(score, average=average), average, average=average)
        for name, score in RATIOS.items()
        for average in ("micro", "macro", "weighted")
    ),
    *(
        multiclass(name, ratio(score, average=None, labels=range(C)), "none", average="none", inner=(3, 2))
        for name, score in RATIOS.items()
    ),
    multiclass("F1Score", ratio(sk.f1_score, average="macro"), "many", num_classes=70, kind="labels"),
    multiclass("F1Score", ratio(sk.f1_score, average="macro"), "top_2", top_k=2),
    multiclass("Specificity", specificity_of_classes),
    multiclass("FBetaScore", f_beta(0.5, average="macro"), beta=0.5),
    multiclass("FBetaScore", f_beta(0.5, average="weighted"), "weighted", beta=0.5, average="weighted"),
    multiclass("HammingDistance", one_minus(ratio(sk.recall_score, average="macro"))),
    multiclass("HammingDistance", of_scikit_learn(sk.hamming_loss), "micro", average="micro", kind="labels"),
    multiclass("ConfusionMatrix", matrix(C), ignore_index=-1),
    multiclass("ConfusionMatrix", matrix(70), "many", num_classes=70, inner=(2,)),
    *(multiclass("ConfusionMatrix", matrix(C, n), n, normalize=n) for n in ("true", "pred", "all")),
    multiclass("CohenKappa", kappa(C)),
    multiclass("CohenKappa", kappa(70), "many", num_classes=70),
    *(multiclass("CohenKappa", kappa(C, w), w, weights=w, ignore_index=0) for w in ("linear", "quadratic")),
    multiclass("MatthewsCorrCoef", CORRELATION, inner=(3,)),
    multiclass("MatthewsCorrCoef", CORRELATION, "many", num_classes=70, ignore_index=-1),
    *(
        multiclass("JaccardIndex", ratio(sk.jaccard_score, average=average), average, average=average)
        for average in ("micro", "macro", "weighted")
    ),
    multiclass(
        "JaccardIndex", ratio(sk.jaccard_score, average=None, labels=range(C)), "none", average="none"
    ),
    # Several labels
    multilabel("StatScores", counts_of_two, average="none"),
    multilabel("StatScores", counts_of_two, "samplewise", average="none", multidim_average="samplewise"),
    multilabel("Accuracy", ACCURACY),
    multilabel("Accuracy", ACCURACY, "logits", kind="logits", threshold=0.6, average="none"),
    multilabel("Accuracy", ACCURACY, "samplewise", multidim_average="samplewise", ignore_index=-1),
    *(
        multilabel(name, ratio(score), average, average=average)
        for name, score in RATIOS.items()
        for average in ("micro", "macro", "weighted", "none")
    ),
    multilabel("Recall", ratio(sk.recall_score), "ignore", ignore_index=-100, kind="labels"),
    multilabel("Specificity", specificity),
    multilabel("FBetaScore", f_beta(2.0), beta=2.0, average="weighted"),
    multilabel("HammingDistance", of_scikit_learn(sk.hamming_loss)),
    multilabel("ConfusionMatrix", matrix(2)),
    multilabel("ConfusionMatrix", matrix(2, "true"), "true", normalize="true", ignore_index=-1),
    multilabel("MatthewsCorrCoef", CORRELATION),
    multilabel("JaccardIndex", ratio(sk.jaccard_score)),
    multilabel("JaccardIndex", ratio(sk.jaccard_score), "micro", average="micro"),
]
