"""How many positives and negatives score at least each threshold: all that curves and areas need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from fulmen.base.report import warn_once
from fulmen.base.tree import map_leaves
from fulmen.metrics.classification.counting import divide
from fulmen.metrics.dtypes import widest


class Curve(NamedTuple):
    """Counts, in int64, along ascending thresholds: [thresholds], or [classes, thresholds] of common ones."""

    thresholds: Tensor
    tp: Tensor
    fp: Tensor
    positives: Tensor
    negatives: Tensor
    is_exact: bool = False
    """Whether every score that occurs is a threshold."""


Points = tuple[Tensor, Tensor, Tensor]
"""Two rates, and thresholds."""

Curves = Curve | list[Curve]
"""Of one class, or of several: together where they have the same thresholds, else one after another."""


def of_scores(scores: Tensor, labels: Tensor) -> Curve:
    """The exact curve: every score that occurs is a threshold. Both flat; labels 0 and 1."""
    ordered, labels = _sorted(scores, labels)
    last_of_score = (ordered[1:] != ordered[:-1]).nonzero().squeeze(1)
    first_of_score = pad(last_of_score + 1, (1, 0))[: len(ordered)]
    positives = labels.sum(dtype=torch.int64)
    tp = positives - pad(labels.cumsum(0)[last_of_score], (1, 0))[: len(ordered)]
    fp = len(ordered) - first_of_score - tp
    thresholds = ordered[first_of_score]
    if ordered.dtype is torch.int32:
        thresholds = _ranked(thresholds).view(torch.float32)
    return Curve(thresholds, tp, fp, positives, len(ordered) - positives, is_exact=True)


def of_histogram(histogram: Tensor, thresholds: Tensor) -> Curve:
    """The curve of counts [2, ..., T + 1]: of label, class, and number of thresholds reached."""
    negatives, positives = histogram.sum(-1)
    fp, tp = histogram[..., 1:].flip(-1).cumsum(-1).flip(-1)
    return Curve(thresholds.clone(), tp, fp, positives, negatives)  # they are the metric's own


def _sorted(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Scores in ascending order, those in 32 bits as integers that `_ranked` undoes; and their labels."""
    if scores.dtype is torch.float64 or not len(scores):
        ordered, order = scores.sort()
        return ordered, labels[order]
    # Integers are sorted twice as fast as floats, and the label as the last bit need not be fetched after it.
    ranks = _ranked((scores + 0.0).view(torch.int32))  # -0.0 becomes the 0.0 that it equals
    lowest, highest = (int(end) for end in torch.aminmax(ranks))
    wide = torch.int32 if highest - lowest < 2**30 else torch.int64
    keys = ((ranks.to(wide) - lowest) * 2 + labels.to(wide)).sort().values
    return ((keys >> 1) + lowest).to(torch.int32), keys & 1


def _ranked(bits: Tensor) -> Tensor:
    """The bits of float32 as int32 in the order of the floats; the bits again of such integers."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


# ------------------------------------------------------------------------------------------------ formulas


def each(formula: Callable[[Curve], Tensor], curves: Curves) -> Tensor:
    """A formula of all curves; of several classes, in the first dimension."""
    return torch.stack([formula(curve) for curve in curves]) if isinstance(curves, list) else formula(curves)


def real(counts: Tensor) -> Tensor:
    """Counts in floating point."""
    return counts.to(widest(counts))


def fraction(part: Tensor, whole: Tensor, otherwise: float = 0.0) -> Tensor:
    """The quotient of counts; something else where there are none."""
    return divide(real(part), real(whole), otherwise)


def averaged(values: Tensor, curves: Curves, average: Any) -> Tensor:
    """The mean of all classes' values that are not NaN, maybe weighted by how many positives each has."""
    if average not in ("macro", "weighted"):
        return values
    weights = (
        real(each(lambda curve: curve.positives, curves))
        if average == "weighted"
        else torch.ones_like(values)
    )
    undefined = values.isnan()
    weights = weights.masked_fill(undefined, 0)
    return divide((values.masked_fill(undefined, 0) * weights).sum(-1), weights.sum(-1))


def warn_of_missing(curves: Curves, *names: str) -> None:
    """Warn if a class has no positives, or negatives, where looking costs no wait."""
    for curve in curves if isinstance(curves, list) else [curves]:
        for name in names if curve.tp.is_cpu else ():
            missing = getattr(curve, name) == 0
            if bool((missing & (curve.positives + curve.negatives > 0)).any()):
                warn_once(
                    f"A class has no {name}, so that its curve and the area under it are undefined: the "
                    "docstring of the metric says what stands there instead."
                )


def points_of(curves: Curves, formula: Callable[[Curve], Points]) -> Any:
    """The points of all curves; of several exact ones, each part as a list with what each class has."""
    if not isinstance(curves, list):
        return formula(curves)
    return tuple(list(parts) for parts in zip(*map(formula, curves), strict=True))


def with_probabilities(curves: Curves) -> Curves:
    """The curves with probabilities for thresholds: where any is a logit, the sigmoid of all."""
    several = curves if isinstance(curves, list) else [curves]
    ends = [
        float(curve.thresholds[at])
        for curve in several
        if curve.is_exact and len(curve.thresholds)
        for at in (0, -1)
    ]
    if all(0 <= end <= 1 for end in ends):
        return curves
    several = [curve._replace(thresholds=curve.thresholds.sigmoid()) for curve in several]
    return several if isinstance(curves, list) else several[0]


def in_dtype(points: Any, dtype: torch.dtype) -> Any:
    """Points in a type; their thresholds in a wider one, if they have it."""
    *values, thresholds = points
    return (
        *map_leaves(tuple(values), Tensor, lambda tensor: tensor.to(dtype)),
        map_leaves(thresholds, Tensor, lambda tensor: tensor.to(torch.promote_types(tensor.dtype, dtype))),
    )


def interpolated(at: Tensor, x: Tensor, y: Tensor, *, last: bool) -> Tensor:
    """Values of a polygon with ascending `x`; of points above one another, the last or the first counts."""
    if len(x) < 2:
        return y.expand_as(at)
    right = torch.searchsorted(x, at, right=last).clamp(1, len(x) - 1)
    x0, x1, y0, y1 = x[right - 1], x[right], y[right - 1], y[right]
    return y0 + (y1 - y0) * divide(at - x0, x1 - x0, float(last))
