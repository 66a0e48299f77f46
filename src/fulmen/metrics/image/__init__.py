"""How alike two images are."""

from fulmen.metrics.image.psnr import PeakSignalNoiseRatio
from fulmen.metrics.image.similarity import (
    MultiScaleStructuralSimilarityIndexMeasure,
    StructuralSimilarityIndexMeasure,
)

__all__ = [
    "MultiScaleStructuralSimilarityIndexMeasure",
    "PeakSignalNoiseRatio",
    "StructuralSimilarityIndexMeasure",
]
