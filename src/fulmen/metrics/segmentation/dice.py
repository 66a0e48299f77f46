"""Dice score."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any, Literal

import torch
from torch import Tensor

from fulmen.metrics.arguments import check_among
from fulmen.metrics.metric import Metric
from fulmen.metrics.segmentation.pixels import InputFormat, check_masks, count_pixels

Average = Literal["micro", "macro", "weighted", "none"] | None
Level = Literal["samplewise", "global"]


def dice_score(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    include_background: bool = True,
    average: Average = "macro",
    input_format: InputFormat = "one-hot",
    aggregation_level: Level = "samplewise",
    zero_division: float = math.nan,
) -> Tensor:
    """The score of each sample, [N], or of all together, [1]; with `average="none"`, [N, C] or [1, C].

    See `fulmen.metrics.DiceScore`.
    """
    _check(num_classes, average, input_format, aggregation_level)
    counts = _count(preds, target, num_classes, input_format)
    if aggregation_level == "global":
        counts = counts.sum(1, keepdim=True)
    return _score(counts, include_background, average, zero_division).to(torch.get_default_dtype())


class DiceScore(Metric):
    """2 · common pixels / (pixels predicted + pixels true): F1 of the pixels.

    A mask is of labels, [N, H, W] (or [H, W], a single one), or one-hot, [N, C, H, W]: truth values, or
    scores of floating point, of which the highest counts. There may be fewer or more spatial dimensions than
    two.

    Args:
        num_classes: with the background.
        include_background: whether the first class counts.
        average: over classes: "micro" adds their pixels up, "macro" is the mean of their scores, "weighted"
            that by true pixels, "none" keeps them all.
        aggregation_level: "samplewise" for the mean of the scores of samples, "global" for the score of all
            pixels.
        input_format: "index" for two masks of labels, "one-hot", or "mixed" for one of each.
        zero_division: the score of what has no pixel in either mask; with NaN, means leave it out.
    """

    is_differentiable = False
    higher_is_better = True
    counts: Tensor
    score: Tensor
    total: Tensor

    def __init__(
        self,
        num_classes: int,
        include_background: bool = True,
        average: Average = "macro",
        aggregation_level: Level = "samplewise",
        input_format: InputFormat = "one-hot",
        zero_division: float = math.nan,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check(num_classes, average, input_format, aggregation_level)
        self.num_classes = num_classes
        self.include_background = include_background
        self.average: Average = average
        self.aggregation_level = aggregation_level
        self.input_format: InputFormat = input_format
        self.zero_division = zero_division
        if aggregation_level == "global":
            self.add_state("counts", torch.zeros(3, num_classes, dtype=torch.int64), "sum")
            return
        shape = [num_classes - (not include_background)] if average in ("none", None) else []
        self.add_state("score", torch.zeros(shape, dtype=torch.float64), "sum")
        self.add_state("total", torch.zeros(shape, dtype=torch.int64), "sum")

    @property
    def update_options(self) -> Hashable | None:
        """What pixels are counted: global scores are made of the same counts."""
        return (self.num_classes, self.input_format) if self.aggregation_level == "global" else None

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add masks."""
        counts = _count(preds, target, self.num_classes, self.input_format)
        if self.aggregation_level == "global":
            self.counts = self.counts + counts.sum(1)
            return
        scores = _score(counts, self.include_background, self.average, self.zero_division)
        self.score = self.score + scores.nansum(0).to(self.score.dtype)
        self.total = self.total + (~scores.isnan()).sum(0)

    def compute(self) -> Tensor:
        """The score, or that of each class."""
        if self.aggregation_level == "global":
            score = _score(self.counts, self.include_background, self.average, self.zero_division)
        else:
            score = self.score / self.total
        return score.to(self.dtype)


def _check(num_classes: int, average: Average, input_format: InputFormat, aggregation_level: Level) -> None:
    check_masks(num_classes, input_format)
    check_among("average", average, ("micro", "macro", "weighted", "none", None))
    check_among("aggregation_level", aggregation_level, ("samplewise", "global"))


def _count(preds: Tensor, target: Tensor, num_classes: int, input_format: InputFormat) -> Tensor:
    """Pixels in common, predicted and true, [3, N, C]."""
    return torch.stack(count_pixels(preds, target, num_classes, input_format))


def _score(counts: Tensor, include_background: bool, average: Average, zero_division: float) -> Tensor:
    """Scores of such counts; of each class, or averaged over the last dimension."""
    common, preds, target = counts if include_background else counts[..., 1:]
    if average == "micro":
        return _ratio(common.sum(-1), preds.sum(-1) + target.sum(-1), zero_division)
    scores = _ratio(common, preds + target, zero_division)
    if average == "macro":
        return scores.nanmean(-1)
    if average == "weighted":
        weights = target / target.sum(-1, keepdim=True).clamp(min=1)
        nothing = (preds + target).sum(-1) == 0
        return torch.where(nothing, zero_division, (scores.nan_to_num(0.0) * weights).sum(-1))
    return scores


def _ratio(common: Tensor, both: Tensor, zero_division: float) -> Tensor:
    return (2 * common / both).nan_to_num(zero_division)
