"""Errors of numbers and likeness of images, as functions of 1.0 to 1.4."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from fulmen.compat.lightning.metrics.eras import (
    OBLONG_WINDOW,
    PSNR_REDUCTION,
    accepting,
    by_version,
    version,
)
from fulmen.compat.lightning.metrics.labels import reduce
from fulmen.errors import ConfigError
from fulmen.metrics.functional import (
    explained_variance,
    mean_absolute_error,
    mean_squared_error,
    mean_squared_log_error,
    peak_signal_noise_ratio,
    r2_score,
)
from fulmen.metrics.image.windows import smooth

__all__ = ["explained_variance", "mean_absolute_error", "mean_squared_error", "mean_squared_log_error"]


def _reduced(errors: Tensor, name: str, reduction: str, return_state: bool) -> Any:
    if return_state:
        return {name: errors.sum(), "n_observations": torch.tensor(errors.numel())}
    return reduce(errors, reduction)


@accepting(preds="pred")
def mse(pred: Tensor, target: Tensor, reduction: str = "elementwise_mean", return_state: bool = False) -> Any:
    """Squared errors: their mean, their sum, or ("none") all of them."""
    return _reduced((pred - target) ** 2, "squared_error", reduction, return_state)


@accepting(preds="pred")
def rmse(
    pred: Tensor, target: Tensor, reduction: str = "elementwise_mean", return_state: bool = False
) -> Any:
    """The root of what `mse` gives."""
    if return_state:
        return {"squared_error": mse(pred, target), "n_observations": torch.tensor(1)}
    return mse(pred, target, reduction).sqrt()


@accepting(preds="pred")
def mae(pred: Tensor, target: Tensor, reduction: str = "elementwise_mean", return_state: bool = False) -> Any:
    """Absolute errors: their mean, their sum, or ("none") all of them."""
    return _reduced((pred - target).abs(), "absolute_error", reduction, return_state)


@accepting(preds="pred")
def rmsle(pred: Tensor, target: Tensor, reduction: str = "elementwise_mean") -> Tensor:
    """The root of what `mse` gives of log(1 + x)."""
    return rmse((pred + 1).log(), (target + 1).log(), reduction)


def mean_relative_error(preds: Tensor, target: Tensor) -> Tensor:
    """The mean of errors by targets, without sign; where the target is 0, of errors."""
    return ((preds - target) / torch.where(target == 0, 1, target)).abs().mean()


def r2score(preds: Tensor, target: Tensor, adjusted: int = 0, multioutput: str = "uniform_average") -> Tensor:
    """The coefficient of determination."""
    if len(preds) < 2:
        raise ConfigError("The coefficient of determination needs two samples.", received=len(preds))
    return r2_score(preds, target, adjusted, multioutput)  # pyright: ignore[reportArgumentType]


# ------------------------------------------------------------------------------------------------ images


def _psnr_1_0(
    pred: Tensor,
    target: Tensor,
    data_range: float | None = None,
    base: float = 10.0,
    reduction: str = "elementwise_mean",
    return_state: bool = False,
) -> Any:
    """Peak signal-to-noise ratio of the mean squared error, or of what `reduction` makes of the errors."""
    width = float(target.max() - target.min()) if data_range is None else float(data_range)
    if return_state:
        squared = ((pred - target) ** 2).sum()
        return {"data_range": torch.tensor(width), "sum_squared_error": squared, "n_obs": pred.numel()}
    if reduction == "elementwise_mean":
        return _psnr_1_1(pred, target, data_range, base)
    PSNR_REDUCTION.say()
    return (2 * math.log(width) - mse(pred.flatten(), target.flatten(), reduction).log()) * (
        10 / math.log(base)
    )


def _psnr_1_1(
    preds: Tensor,
    target: Tensor,
    data_range: float | None = None,
    base: float = 10.0,
    reduction: str = "elementwise_mean",
    dim: int | tuple[int, ...] | None = None,
) -> Tensor:
    """Peak signal-to-noise ratio; `reduction` is of those that `dim` leaves."""
    if data_range is None and dim is not None:
        raise ConfigError("With `dim`, the range of values must be known.", fix="give `data_range`")
    width = float(target.max() - target.min()) if data_range is None else float(data_range)
    return peak_signal_noise_ratio(
        preds,
        target,
        width,
        base,
        reduction,  # pyright: ignore[reportArgumentType]
        dim,
    )


def _is_reduced(arguments: Mapping[str, Any]) -> bool:
    return arguments["reduction"] != "elementwise_mean" and arguments["dim"] is None


psnr = by_version("psnr", {"1.0": _psnr_1_0, "1.1": _psnr_1_1}, PSNR_REDUCTION, _is_reduced)


@accepting(pred="preds")
def ssim(
    preds: Tensor,
    target: Tensor,
    kernel_size: Sequence[int] = (11, 11),
    sigma: Sequence[float] = (1.5, 1.5),
    reduction: str = "elementwise_mean",
    data_range: float | None = None,
    k1: float = 0.01,
    k2: float = 0.03,
) -> Tensor:
    """Structural similarity, of the pixels whose window lies within the image.

    The window is Gaussian, of `kernel_size` pixels whatever `sigma`; its borders reach half a window more.
    """
    if kernel_size[0] != kernel_size[1] and version() in (None, "1.4"):
        OBLONG_WINDOW.say()
    if preds.shape != target.shape or preds.ndim != 4:
        raise ConfigError(
            "These are no images of one shape.",
            received=f"preds {tuple(preds.shape)}, target {tuple(target.shape)}",
            expected="[N, C, H, W]",
        )
    if data_range is None:
        data_range = max(float(preds.max() - preds.min()), float(target.max() - target.min()))
    weights = [_gaussian(size, width) for size, width in zip(kernel_size, sigma, strict=True)]
    margins = [size // 2 for size in kernel_size]
    x, y = (pad(image, (margins[1],) * 2 + (margins[0],) * 2, mode="reflect") for image in (preds, target))
    mean_x, mean_y, xx, yy, xy = smooth(torch.stack([x, y, x * x, y * y, x * y]), weights)
    c1, c2 = (k1 * data_range) ** 2, (k2 * data_range) ** 2
    contrast = (2 * (xy - mean_x * mean_y) + c2) / (xx - mean_x**2 + yy - mean_y**2 + c2)
    similarity = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1) * contrast
    rows, columns = margins
    height, width = similarity.shape[-2:]
    return reduce(similarity[..., rows : height - rows, columns : width - columns], reduction)


def _gaussian(size: int, sigma: float) -> list[float]:
    densities = [math.exp(-(((offset - (size - 1) / 2) / sigma) ** 2) / 2) for offset in range(size)]
    return [density / sum(densities) for density in densities]


def image_gradients(img: Tensor) -> tuple[Tensor, Tensor]:
    """The differences to the next pixel, downwards and to the right, of images [N, C, H, W]; 0 at the end."""
    if img.ndim != 4:
        raise ConfigError("These are no images.", received=tuple(img.shape), expected="[N, C, H, W]")
    return pad(img.diff(dim=2), (0, 0, 0, 1)), pad(img.diff(dim=3), (0, 1))
