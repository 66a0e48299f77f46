"""How alike two images are, of tensors that are all there."""

from fulmen.metrics.image.psnr import peak_signal_noise_ratio
from fulmen.metrics.image.similarity import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

__all__ = [
    "multiscale_structural_similarity_index_measure",
    "peak_signal_noise_ratio",
    "structural_similarity_index_measure",
]
