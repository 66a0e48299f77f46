"""How well the masks of classes overlap, of tensors that are all there."""

from fulmen.metrics.segmentation.dice import dice_score
from fulmen.metrics.segmentation.mean_iou import mean_iou

__all__ = ["dice_score", "mean_iou"]
