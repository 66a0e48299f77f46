"""Scores that are ratios of true and false positives and negatives, averaged as 1.0 to 1.4 did."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fulmen.compat.lightning.metrics.eras import ABSENT_CLASSES
from fulmen.compat.lightning.metrics.inputs import Inputs
from fulmen.errors import ConfigError
from fulmen.metrics.functional import binary_stat_scores, multilabel_stat_scores

Ratio = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Numerator and denominator, of true positives, false positives and false negatives."""


def precision_ratio(tp: Tensor, fp: Tensor, fn: Tensor) -> tuple[Tensor, Tensor]:
    """How many of those predicted are true."""
    return tp, tp + fp


def recall_ratio(tp: Tensor, fp: Tensor, fn: Tensor) -> tuple[Tensor, Tensor]:
    """How many of those true are predicted."""
    return tp, tp + fn


def f_beta_ratio(beta: float) -> Ratio:
    """The harmonic mean of precision and recall, in which recall counts `beta` times."""

    def ratio(tp: Tensor, fp: Tensor, fn: Tensor) -> tuple[Tensor, Tensor]:
        twice = (1 + beta**2) * tp
        return twice, twice + beta**2 * fn + fp

    return ratio


def check_average(average: str | None) -> None:
    """Raise unless there is such an average."""
    if average not in ("micro", "macro", "weighted", "samples", "none", None):
        raise ConfigError(
            "There is no such `average`.",
            received=repr(average),
            expected="'micro', 'macro', 'weighted', 'samples', 'none' or None",
        )


def counts(inputs: Inputs, reduce: str, mdmc_reduce: str | None, ignore_index: int | None = None) -> Tensor:
    """[tp, fp, tn, fn, support] in the last dimension: of all classes together ("micro"), of each ("macro",
    -1 where the class is ignored) or of each sample ("samples"), and of each sample before if "samplewise".
    """
    preds, target, _ = inputs
    if ignore_index is not None and reduce != "macro":
        kept = [index for index in range(preds.shape[1]) if index != ignore_index]
        preds, target = preds[:, kept], target[:, kept]
    if reduce == "samples" and preds.ndim == 3 and mdmc_reduce != "samplewise":
        preds, target = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (preds, target))
    samplewise = mdmc_reduce == "samplewise" and preds.ndim == 3
    average = "samplewise" if samplewise or reduce == "samples" else "global"
    if reduce != "macro":
        return binary_stat_scores(preds, target, multidim_average=average, validate_args=False)
    if preds.shape[1] == 1:
        of_class = binary_stat_scores(preds, target, multidim_average=average, validate_args=False)
        return of_class.unsqueeze(-2)
    values = multilabel_stat_scores(
        preds, target, preds.shape[1], average=None, multidim_average=average, validate_args=False
    )
    if ignore_index is not None:
        values[..., ignore_index, :] = -1
    return values


def score(
    values: Tensor,
    ratio: Ratio,
    average: str | None,
    samplewise: bool = False,
) -> Tensor:
    """A ratio of what `counts` gave, averaged over classes and samples."""
    tp, fp, _, fn, support = values.unbind(-1)
    numerator, denominator = (part.float() for part in ratio(tp.float(), fp.float(), fn.float()))
    scores = torch.where(denominator == 0, 0.0, numerator / denominator)
    if average not in ("micro", "samples"):
        scores = _over_classes(scores, tp, fp, fn, support, average, samplewise)
    return scores.mean(0) if samplewise or average == "samples" else scores


def _over_classes(
    scores: Tensor,
    tp: Tensor,
    fp: Tensor,
    fn: Tensor,
    support: Tensor,
    average: str | None,
    samplewise: bool,
) -> Tensor:
    left_out = tp < 0
    if not samplewise:
        absent = tp + fp + fn == 0
        matter = absent.any() & ((scores != 0).any() | (average != "macro"))
        if average != "weighted" and not ABSENT_CLASSES.is_undone(lambda: bool(matter)):
            left_out = left_out | absent
    if average in ("none", None):
        return scores.masked_fill(left_out, torch.nan)
    weights = support.float() if average == "weighted" else torch.ones_like(scores)
    weights = weights.masked_fill(left_out, 0)
    return (scores * weights).sum(-1) / weights.sum(-1).clamp(min=torch.finfo(weights.dtype).tiny)
