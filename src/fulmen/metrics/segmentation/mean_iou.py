"""Mean intersection over union."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fulmen.metrics.metric import Metric
from fulmen.metrics.segmentation.pixels import InputFormat, check_masks, count_pixels

ABSENT = -1.0
"""The score of a class that is in neither mask, where each class has one."""


def mean_iou(
    preds: Tensor,
    target: Tensor,
    num_classes: int | None = None,
    include_background: bool = True,
    per_class: bool = False,
    input_format: InputFormat = "one-hot",
) -> Tensor:
    """The score of each sample, [N], or of each sample and class, [N, C]: see `fulmen.metrics.MeanIoU`."""
    check_masks(num_classes, input_format)
    common, union = _common_and_union(preds, target, num_classes, input_format, include_background)
    scores = common / union
    return scores.nan_to_num(ABSENT) if per_class else scores.nanmean(1)


class MeanIoU(Metric):
    """Intersection over union of masks, averaged over all classes of all samples that have any pixel.

    A mask is of labels, [N, H, W] (or [H, W], a single one), or one-hot, [N, C, H, W]: truth values, or
    scores of floating point, of which the highest counts. There may be fewer or more spatial dimensions than
    two. NaN where there is nothing but background that is left out.

    Args:
        num_classes: with the background; None for that of one-hot masks.
        include_background: whether the first class has a score.
        per_class: whether each class has a score, averaged over samples; -1 where it is nowhere.
        input_format: "index" for two masks of labels, "one-hot", or "mixed" for one of each.
    """

    is_differentiable = False
    higher_is_better = True
    score: Tensor
    total: Tensor

    def __init__(
        self,
        num_classes: int | None = None,
        include_background: bool = True,
        per_class: bool = False,
        input_format: InputFormat = "one-hot",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_masks(num_classes, input_format)
        self.num_classes = num_classes
        self.include_background = include_background
        self.per_class = per_class
        self.input_format: InputFormat = input_format
        shape = [num_classes - (not include_background)] if per_class and num_classes else []
        self.add_state("score", torch.zeros(shape, dtype=torch.float64), "sum")
        self.add_state("total", torch.zeros(shape, dtype=torch.int64), "sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add masks."""
        common, union = _common_and_union(
            preds, target, self.num_classes, self.input_format, self.include_background
        )
        scores = common.to(self.score.dtype) / union.clamp(min=1)
        over = (0,) if self.per_class else (0, 1)
        self.score = self.score + scores.sum(over)
        self.total = self.total + (union > 0).sum(over)

    def compute(self) -> Tensor:
        """The score, or that of each class."""
        scores = (self.score / self.total).to(self.dtype)
        return scores.nan_to_num(ABSENT) if self.per_class else scores

    def combine_states(self, parts: list[dict[str, Any]], counts: Sequence[int]) -> dict[str, Any]:
        """Their sums. Where no one said how many classes there are, who had no masks has single zeros."""
        return {name: sum(part[name] for part in parts) for name in self._defaults}


def _common_and_union(
    preds: Tensor,
    target: Tensor,
    num_classes: int | None,
    input_format: InputFormat,
    include_background: bool,
) -> tuple[Tensor, Tensor]:
    """Numbers of pixels, [N, C]."""
    common, of_preds, of_target = count_pixels(preds, target, num_classes, input_format)
    union = of_preds + of_target - common
    return (common, union) if include_background else (common[:, 1:], union[:, 1:])
