"""Weighted means over the neighbourhood of each pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import pad

from fulmen.errors import ConfigError, UsageError

GAUSSIAN_TRUNCATED_AT = 3.5
"""Standard deviations that the window reaches, as in scikit-image."""

Weights = list[list[float]]
"""For each spatial dimension those of a pixel's neighbours, in order; of odd length, with the sum 1."""


@dataclass(frozen=True)
class Window:
    """How much the neighbours of a pixel count: by a Gaussian of `sigma` pixels, or `kernel_size` of them
    alike."""

    gaussian: bool
    sigma: float | Sequence[float]
    kernel_size: int | Sequence[int]

    def __post_init__(self) -> None:
        sigmas = self.sigma if isinstance(self.sigma, Sequence) else [self.sigma]
        if not all(sigma > 0 for sigma in sigmas):
            raise ConfigError("`sigma` is positive.", received=repr(self.sigma))
        sizes = self.kernel_size if isinstance(self.kernel_size, Sequence) else [self.kernel_size]
        if not all(size > 0 and size % 2 for size in sizes):
            raise ConfigError("`kernel_size` is positive and odd.", received=repr(self.kernel_size))

    def weights(self, spatial_dims: int) -> Weights:
        """Those for images of two or three spatial dimensions."""
        option, name = (self.sigma, "sigma") if self.gaussian else (self.kernel_size, "kernel_size")
        each = option if isinstance(option, Sequence) else [option] * spatial_dims
        if len(each) != spatial_dims:
            raise UsageError(
                f"`{name}` does not fit the images.",
                received=f"{name}={option!r}, images of {spatial_dims} spatial dimensions",
                expected=f"a number, or {spatial_dims} of them",
            )
        return [_gaussian(value) if self.gaussian else [1 / value] * int(value) for value in each]


def _gaussian(sigma: float) -> list[float]:
    radius = int(GAUSSIAN_TRUNCATED_AT * sigma + 0.5)
    densities = [math.exp(-((offset / sigma) ** 2) / 2) for offset in range(-radius, radius + 1)]
    return [density / sum(densities) for density in densities]


def smooth(images: Tensor, weights: Weights) -> Tensor:
    """The weighted mean around each pixel whose window lies within the image.

    Dimension by dimension, as sums of shifted images: faster than convolutions on the CPU, and in full
    precision where convolutions and matrix products have less (TF32, autocast): the differences of moments
    that SSIM takes do not bear it.
    """
    for dim, of_dim in enumerate(weights, start=images.ndim - len(weights)):
        images = _Smoothing.apply(images, dim, of_dim)  # pyright: ignore[reportAssignmentType]
    return images


class _Smoothing(Function):
    """Along one dimension. The gradient is smoothed by the same window, mirrored, instead of shift by
    shift."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, dim: int, weights: list[float]) -> Tensor:
        ctx.dim, ctx.weights = dim, weights
        size = images.shape[dim] - len(weights) + 1
        smoothed = images.narrow(dim, 0, size) * weights[0]
        for offset, weight in enumerate(weights[1:], start=1):
            smoothed.add_(images.narrow(dim, offset, size), alpha=weight)
        return smoothed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, None, None]:
        beyond = len(ctx.weights) - 1
        widened = pad(gradients[0], [0, 0] * (gradients[0].ndim - 1 - ctx.dim) + [beyond, beyond])
        return _Smoothing.apply(widened, ctx.dim, ctx.weights[::-1]), None, None
