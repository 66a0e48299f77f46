"""How well the masks of classes overlap."""

from fulmen.metrics.segmentation.dice import DiceScore
from fulmen.metrics.segmentation.mean_iou import MeanIoU

__all__ = ["DiceScore", "MeanIoU"]
