"""Structural similarity, on one scale and on several.

Wang, Bovik, Sheikh, Simoncelli (2004), "Image quality assessment: from error visibility to structural
similarity"; Wang, Simoncelli, Bovik (2003), "Multiscale structural similarity for image quality assessment".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, avg_pool3d, pad

from fulmen.errors import ConfigError, UsageError
from fulmen.metrics.arguments import check_among
from fulmen.metrics.image.images import (
    REDUCTIONS,
    Range,
    Reduction,
    limits_and_width,
    prepare,
    reduce_scores,
)
from fulmen.metrics.image.windows import Weights, Window, smooth
from fulmen.metrics.metric import Metric

BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""The weights of five scales, the finest first, that Wang et al. found in experiments with people."""

Normalize = Literal["relu", "simple"] | None


class _Formula:
    """How similar the pixels of two images are, with all constants."""

    def __init__(
        self,
        gaussian_kernel: bool,
        sigma: float | Sequence[float],
        kernel_size: int | Sequence[int],
        data_range: Range | None,
        k1: float,
        k2: float,
    ) -> None:
        self.window = Window(gaussian_kernel, sigma, kernel_size)
        self.limits, self.width = (None, None) if data_range is None else limits_and_width(data_range)
        self.k1, self.k2 = k1, k2

    def prepare(self, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Weights]:
        """The images as they are compared, and the weights of the window."""
        preds, target = prepare(preds, target, self.limits)
        if preds.ndim not in (4, 5):
            raise UsageError(
                "These are no images, and no volumes.",
                received=f"preds and target {list(preds.shape)}",
                expected="[N, C, H, W] or [N, C, D, H, W]",
            )
        return preds, target, self.window.weights(preds.ndim - 2)

    def compare(self, preds: Tensor, target: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        """The similarity at each pixel, and that part of it which is of contrast and structure."""
        _check_size(preds, [len(of_dim) // 2 + 1 for of_dim in weights])
        beyond = [len(of_dim) // 2 for of_dim in reversed(weights) for _ in ("before", "after")]
        x, y = pad(preds, beyond, mode="reflect"), pad(target, beyond, mode="reflect")
        mean_x, mean_y, of_squares, of_products = smooth(torch.stack([x, y, x * x + y * y, x * y]), weights)
        squares, product = mean_x * mean_x + mean_y * mean_y, mean_x * mean_y
        width: Any = _range_of(preds, target) if self.width is None else self.width
        c1, c2 = (self.k1 * width) ** 2, (self.k2 * width) ** 2
        contrast = (2 * (of_products - product) + c2) / ((of_squares - squares).clamp(min=0) + c2)
        return (2 * product + c1) / (squares + c1) * contrast, contrast


def _range_of(preds: Tensor, target: Tensor) -> Tensor | float:
    if not preds.numel():
        return 1.0
    return torch.maximum(preds.amax() - preds.amin(), target.amax() - target.amin())


def _means(maps: Tensor) -> Tensor:
    return maps.flatten(1).mean(1)


def _inner_means(maps: Tensor, weights: Weights) -> Tensor:
    """The mean of each image over the pixels whose window lies within it."""
    _check_size(maps, [len(of_dim) for of_dim in weights])
    for dim, of_dim in enumerate(weights, start=2):
        maps = maps.narrow(dim, len(of_dim) // 2, maps.shape[dim] - len(of_dim) + 1)
    return _means(maps)


def _check_size(images: Tensor, least: list[int]) -> None:
    if any(size < needed for size, needed in zip(images.shape[2:], least, strict=True)):
        raise UsageError(
            "The images are too small for the window.",
            received=f"images of {list(images.shape)}",
            expected=f"at least {least} pixels",
            fix="a smaller `sigma`; a smaller `kernel_size`, where `gaussian_kernel=False`; fewer `betas`",
        )


# ----------------------------------------------------------------------------------------------- on one scale


def structural_similarity_index_measure(
    preds: Tensor,
    target: Tensor,
    gaussian_kernel: bool = True,
    sigma: float | Sequence[float] = 1.5,
    kernel_size: int | Sequence[int] = 11,
    reduction: Reduction = "elementwise_mean",
    data_range: Range | None = None,
    k1: float = 0.01,
    k2: float = 0.03,
    return_full_image: bool = False,
    return_contrast_sensitivity: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """See `fulmen.metrics.StructuralSimilarityIndexMeasure`."""
    check_among("reduction", reduction, REDUCTIONS)
    besides = _what_besides(return_full_image, return_contrast_sensitivity)
    formula = _Formula(gaussian_kernel, sigma, kernel_size, data_range, k1, k2)
    scores, returned = _score(preds, target, formula, besides)
    value = reduce_scores(scores, reduction)
    return value if returned is None else (value, returned)


_Besides = Literal["full image", "contrast sensitivity"] | None
"""What is wanted besides the scores."""


def _what_besides(full_image: bool, contrast_sensitivity: bool) -> _Besides:
    if full_image and contrast_sensitivity:
        raise ConfigError("Either the full image is returned, or the contrast sensitivity: not both.")
    return "full image" if full_image else "contrast sensitivity" if contrast_sensitivity else None


def _score(
    preds: Tensor, target: Tensor, formula: _Formula, besides: _Besides
) -> tuple[Tensor, Tensor | None]:
    """The similarity of each pair of images, and what is wanted besides."""
    preds, target, weights = formula.prepare(preds, target)
    similarity, contrast = formula.compare(preds, target, weights)
    if besides == "contrast sensitivity":
        return _means(similarity), _inner_means(contrast, weights)
    return _means(similarity), similarity if besides == "full image" else None


class _Similarity(Metric):
    """A score for each pair of images, of which sum and number are kept, or all."""

    is_differentiable = True
    higher_is_better = True
    similarity: Any
    total: Tensor

    def __init__(self, formula: _Formula, reduction: Reduction, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_among("reduction", reduction, REDUCTIONS)
        self.formula, self.reduction = formula, reduction
        if reduction in ("none", None):
            self.add_state("similarity", [], "cat")
        else:
            self.add_state("similarity", torch.zeros((), dtype=torch.float64), "sum")
        self.add_state("total", torch.tensor(0), "sum")

    def _add(self, scores: Tensor) -> None:
        self.total = self.total + len(scores)
        if isinstance(self.similarity, list):
            self.similarity.append(scores)
        else:
            self.similarity = self.similarity + scores.sum(dtype=self.similarity.dtype)

    def _reduced(self) -> Tensor:
        if isinstance(self.similarity, list):
            return self._joined(self.similarity)
        value = self.similarity / self.total if self.reduction == "elementwise_mean" else self.similarity
        return value.to(self.dtype)

    def _joined(self, tensors: list[Tensor]) -> Tensor:
        joined = torch.cat(tensors) if tensors else torch.empty(0, device=self.device)
        return joined.to(self.dtype)


class StructuralSimilarityIndexMeasure(_Similarity):
    """SSIM: how alike neighbourhoods are in luminance, contrast and structure; 1 where images are equal.

    `preds` and `target` are [N, C, H, W] or [N, C, D, H, W]. The score of an image is the mean over all its
    pixels and channels, windows at the borders being filled by reflection, as torchmetrics has it. scikit-
    image leaves out the pixels whose window reaches beyond the image, so that its mean is a different one;
    with the same window (`gaussian_weights=True, sigma=1.5, use_sample_covariance=False`) each pixel it
    counts has the same value. Volumes differ from those of torchmetrics unless sigma is 1.5: it pads too
    much.

    Args:
        gaussian_kernel: whether neighbours count less the further they are, or all alike.
        sigma: pixels, for all dimensions or for each; the window reaches 3.5 times as far.
        kernel_size: pixels, odd, for all dimensions or for each, of the window without `gaussian_kernel`.
        reduction: of the scores of images: "elementwise_mean", "sum", or "none" for all of them.
        data_range: how far apart the least and the greatest possible value are; or both, as (least,
            greatest), and what lies beyond is clamped. None: as far as they are in the batch, so that the
            value depends on how images are batched, and is NaN where they have one colour.
        k1, k2: small numbers that keep dark and even regions from being divided by zero.
        return_full_image: whether the value of each pixel is given as well, in the shape of the images.
        return_contrast_sensitivity: whether the part without the luminance is given as well, for each image,
            over the pixels whose window lies within it.
    """

    image_return: list[Tensor]

    def __init__(
        self,
        gaussian_kernel: bool = True,
        sigma: float | Sequence[float] = 1.5,
        kernel_size: int | Sequence[int] = 11,
        reduction: Reduction = "elementwise_mean",
        data_range: Range | None = None,
        k1: float = 0.01,
        k2: float = 0.03,
        return_full_image: bool = False,
        return_contrast_sensitivity: bool = False,
        **kwargs: Any,
    ) -> None:
        formula = _Formula(gaussian_kernel, sigma, kernel_size, data_range, k1, k2)
        super().__init__(formula, reduction, **kwargs)
        self.besides: _Besides = _what_besides(return_full_image, return_contrast_sensitivity)
        if self.besides:
            self.add_state("image_return", [], "cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add pairs of images."""
        scores, returned = _score(preds, target, self.formula, self.besides)
        self._add(scores)
        if returned is not None:
            self.image_return.append(returned)

    def compute(self) -> Tensor | tuple[Tensor, Tensor]:
        """The similarity, reduced; and what was asked for besides, of all images."""
        return (self._reduced(), self._joined(self.image_return)) if self.besides else self._reduced()


# ------------------------------------------------------------------------------------------ on several scales


def multiscale_structural_similarity_index_measure(
    preds: Tensor,
    target: Tensor,
    gaussian_kernel: bool = True,
    sigma: float | Sequence[float] = 1.5,
    kernel_size: int | Sequence[int] = 11,
    reduction: Reduction = "elementwise_mean",
    data_range: Range | None = None,
    k1: float = 0.01,
    k2: float = 0.03,
    betas: Sequence[float] = BETAS,
    normalize: Normalize = "relu",
) -> Tensor:
    """See `fulmen.metrics.MultiScaleStructuralSimilarityIndexMeasure`."""
    check_among("reduction", reduction, REDUCTIONS)
    _check_scales(betas, normalize)
    formula = _Formula(gaussian_kernel, sigma, kernel_size, data_range, k1, k2)
    return reduce_scores(_score_scales(preds, target, formula, betas, normalize), reduction)


def _check_scales(betas: Sequence[float], normalize: Normalize) -> None:
    if not isinstance(betas, Sequence) or not betas:
        raise ConfigError("`betas` are the weights of scales.", received=repr(betas), expected="numbers")
    check_among("normalize", normalize, ("relu", "simple", None))


def _score_scales(
    preds: Tensor, target: Tensor, formula: _Formula, betas: Sequence[float], normalize: Normalize
) -> Tensor:
    """The similarity of each pair of images: the product over scales of what they are alike in."""
    preds, target, weights = formula.prepare(preds, target)
    coarsest = len(betas) - 1
    _check_size(preds, [len(of_dim) << coarsest for of_dim in weights])
    halve = avg_pool2d if preds.ndim == 4 else avg_pool3d
    factors: list[Tensor] = []
    for scale in range(len(betas)):
        if scale:
            preds, target = halve(preds, 2), halve(target, 2)
        similarity, contrast = formula.compare(preds, target, weights)
        factors.append(_means(similarity) if scale == coarsest else _inner_means(contrast, weights))
    alike = torch.stack(factors, dim=1)
    if normalize == "relu":
        alike = alike.relu()
    elif normalize == "simple":
        alike = (alike + 1) / 2
    return alike.pow(alike.new_tensor(betas)).prod(dim=1)


class MultiScaleStructuralSimilarityIndexMeasure(_Similarity):
    """MS-SSIM: how alike images are on several scales, each half the one before; 1 where they are equal.

    `preds` and `target` are [N, C, H, W] or [N, C, D, H, W], with at least 11 pixels left on the coarsest
    scale: 176 where there are five. The product over scales of what SSIM calls contrast sensitivity, and of
    SSIM itself on the coarsest, to the power of `betas`. Arguments that SSIM has as well mean the same here;
    values are clamped before images are halved (torchmetrics: afterwards).

    Args:
        betas: the weights of the scales, the finest first.
        normalize: what is done with negative factors, which have no such power: "relu" takes them for 0,
            "simple" maps [-1, 1] to [0, 1] before, None leaves them, and the score is NaN.
    """

    def __init__(
        self,
        gaussian_kernel: bool = True,
        kernel_size: int | Sequence[int] = 11,
        sigma: float | Sequence[float] = 1.5,
        reduction: Reduction = "elementwise_mean",
        data_range: Range | None = None,
        k1: float = 0.01,
        k2: float = 0.03,
        betas: Sequence[float] = BETAS,
        normalize: Normalize = "relu",
        **kwargs: Any,
    ) -> None:
        formula = _Formula(gaussian_kernel, sigma, kernel_size, data_range, k1, k2)
        super().__init__(formula, reduction, **kwargs)
        _check_scales(betas, normalize)
        self.betas = tuple(betas)
        self.normalize: Normalize = normalize

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add pairs of images."""
        self._add(_score_scales(preds, target, self.formula, self.betas, self.normalize))

    def compute(self) -> Tensor:
        """The similarity, reduced."""
        return self._reduced()
