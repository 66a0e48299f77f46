"""Images: references of scikit-image and SciPy."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.ndimage import correlate1d, gaussian_filter1d
from skimage.metrics import peak_signal_noise_ratio as skimage_psnr
from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d

from fulmen.metrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from fulmen.metrics.image import (
    MultiScaleStructuralSimilarityIndexMeasure,
    PeakSignalNoiseRatio,
    StructuralSimilarityIndexMeasure,
)

from .case import Batch, Case

SIZES = (3, 1, 4)


def images(generator: Generator, shape: tuple[int, ...] = (2, 20, 17)) -> list[Batch]:
    """Smooth pictures from 0 to 1, and the same with noise; each batch has both extremes."""
    return [_pictures(size, shape, generator) for size in SIZES]


def _pictures(size: int, shape: tuple[int, ...], generator: Generator) -> Batch:
    target = torch.rand(size, *shape, generator=generator).cumsum(-1).cumsum(-2).sin().square()
    preds = (target + 0.1 * torch.randn(target.shape, generator=generator)).clamp(0, 1)
    target[0, 0, ..., 0, 0], target[0, 0, ..., 0, 1] = 0, 1
    return preds, target


def as_arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """In float64."""
    return tuple(tensor.double().numpy() for tensor in tensors)


def psnr(preds: Tensor, target: Tensor) -> float:
    """Of everything."""
    x, y = as_arrays(preds, target)
    return skimage_psnr(y, x, data_range=1.0)


def psnr_of_each(preds: Tensor, target: Tensor) -> np.ndarray:
    """Of each image."""
    return np.array([psnr(x, y) for x, y in zip(preds, target, strict=True)])


def psnr_base_2_clamped(preds: Tensor, target: Tensor) -> float:
    """The formula written out, for values from 0.25 to 0.75."""
    x, y = (np.clip(array, 0.25, 0.75) for array in as_arrays(preds, target))
    return 10 * np.log2(0.5**2 / np.mean((x - y) ** 2))


def ssim_maps(x: np.ndarray, y: np.ndarray, *, sigma: float | None = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """SSIM at each pixel, and its part of contrast, of [N, C, ...]; with a window of 7 without sigma."""

    def smooth(array: np.ndarray) -> np.ndarray:
        for axis in range(2, array.ndim):
            if sigma is None:
                array = correlate1d(array, np.full(7, 1 / 7), axis, mode="mirror")
            else:
                array = gaussian_filter1d(array, sigma, axis, mode="mirror", truncate=3.5)
        return array

    mean_x, mean_y = smooth(x), smooth(y)
    var_x, var_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
    covariance = smooth(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    contrast = (2 * covariance + c2) / (var_x + var_y + c2)
    return (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1) * contrast, contrast


def ssim(preds: Tensor, target: Tensor, **options: Any) -> np.ndarray:
    """Of each image."""
    similarity, _ = ssim_maps(*as_arrays(preds, target), **options)
    return similarity.reshape(len(preds), -1).mean(1)


def ssim_and_map(preds: Tensor, target: Tensor) -> tuple[float, np.ndarray]:
    """The mean, and the similarity at each pixel."""
    similarity, _ = ssim_maps(*as_arrays(preds, target))
    return similarity.mean(), similarity


def ssim_and_contrast(preds: Tensor, target: Tensor) -> tuple[float, np.ndarray]:
    """The mean, and the contrast sensitivity of each image."""
    similarity, contrast = ssim_maps(*as_arrays(preds, target))
    return similarity.mean(), contrast[:, :, 5:-5, 5:-5].reshape(len(preds), -1).mean(1)


def ms_ssim(preds: Tensor, target: Tensor, betas: tuple[float, ...]) -> np.ndarray:
    """Of each image."""
    value = np.ones(len(preds))
    preds, target = preds.double(), target.double()
    for scale, beta in enumerate(betas):
        similarity, contrast = ssim_maps(*as_arrays(preds, target))
        is_last = scale == len(betas) - 1
        factors = similarity if is_last else contrast[:, :, 5:-5, 5:-5]
        value *= factors.reshape(len(preds), -1).mean(1) ** beta
        preds, target = avg_pool2d(preds, 2), avg_pool2d(target, 2)
    return value


def _case(
    name: str, kind: Any, reference: Any, batches: Any = images, *, half: bool = True, **options: Any
) -> Case:
    functional = partial(FUNCTIONS[kind], **options)
    tolerance = 1e-6 if half else 1e-5  # of single pixels, which are not averaged
    return Case(
        f"{kind.__name__}, {name}", partial(kind, **options), batches, reference, functional, tolerance, half
    )


FUNCTIONS: dict[Any, Any] = {
    PeakSignalNoiseRatio: peak_signal_noise_ratio,
    StructuralSimilarityIndexMeasure: structural_similarity_index_measure,
    MultiScaleStructuralSimilarityIndexMeasure: multiscale_structural_similarity_index_measure,
}
REDUCED: dict[str, Any] = {"elementwise_mean": np.mean, "sum": np.sum, "none": np.asarray}
BETAS = (0.3, 0.7)
CASES = [
    _case("of everything", PeakSignalNoiseRatio, psnr, data_range=1.0),
    _case("clamped", PeakSignalNoiseRatio, psnr_base_2_clamped, data_range=(0.25, 0.75), base=2.0),
    *(
        case
        for reduction, reduce in REDUCED.items()
        for case in (
            _case(
                f"of each image, {reduction}",
                PeakSignalNoiseRatio,
                lambda *args, reduce=reduce: reduce(psnr_of_each(*args)),
                data_range=1.0,
                reduction=reduction,
                dim=(1, 2, 3),
            ),
            _case(
                reduction,
                StructuralSimilarityIndexMeasure,
                lambda *args, reduce=reduce: reduce(ssim(*args)),
                data_range=1.0,
                reduction=reduction,
            ),
            _case(
                reduction,
                MultiScaleStructuralSimilarityIndexMeasure,
                lambda *args, reduce=reduce: reduce(ms_ssim(*args, betas=BETAS)),
                partial(images, shape=(1, 26, 24)),
                data_range=1.0,
                betas=BETAS,
                reduction=reduction,
            ),
        )
    ),
    _case("the range of the batch", StructuralSimilarityIndexMeasure, lambda *args: ssim(*args).mean()),
    _case(
        "a flat window",
        StructuralSimilarityIndexMeasure,
        lambda *args: ssim(*args, sigma=None).mean(),
        gaussian_kernel=False,
        kernel_size=7,
        data_range=1.0,
    ),
    _case(
        "3D",
        StructuralSimilarityIndexMeasure,
        lambda *args: ssim(*args, sigma=0.8).mean(),
        partial(images, shape=(1, 7, 9, 8)),
        sigma=0.8,
        data_range=1.0,
    ),
    _case(
        "full image",
        StructuralSimilarityIndexMeasure,
        ssim_and_map,
        half=False,
        data_range=1.0,
        return_full_image=True,
    ),
    _case(
        "contrast sensitivity",
        StructuralSimilarityIndexMeasure,
        ssim_and_contrast,
        data_range=1.0,
        return_contrast_sensitivity=True,
    ),
]
