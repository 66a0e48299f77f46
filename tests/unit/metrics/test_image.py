"""Metrics of images: beside scikit-image and torchmetrics, on large and degenerate ones, and as losses."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torchmetrics.functional.image as theirs
from skimage.metrics import structural_similarity
from torch import Tensor

from fulmen.errors import ConfigError, UsageError
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

PSNR: Any = PeakSignalNoiseRatio
SSIM: Any = StructuralSimilarityIndexMeasure
MS_SSIM: Any = MultiScaleStructuralSimilarityIndexMeasure
ssim: Any = structural_similarity_index_measure
ms_ssim: Any = multiscale_structural_similarity_index_measure


def pair(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Noise from 0 to 1, and the same with more of it."""
    generator = torch.Generator().manual_seed(1)
    target = torch.rand(shape, generator=generator, dtype=dtype)
    return (target + 0.2 * torch.randn(shape, generator=generator, dtype=dtype)).clamp(0, 1), target


class TestAgainstOthers:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"data_range": 1.0},
            {"data_range": (0.2, 0.8)},
            {"data_range": 1.0, "sigma": 2.5},
            {"data_range": 1.0, "sigma": (1.5, 0.8)},
            {"data_range": 1.0, "k1": 0.02, "k2": 0.1},
            {"data_range": 1.0, "gaussian_kernel": False},
            {"data_range": 1.0, "gaussian_kernel": False, "kernel_size": (7, 3)},
            {"data_range": 1.0, "return_full_image": True},
            {"data_range": 1.0, "return_contrast_sensitivity": True},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("reduction", ["elementwise_mean", "sum", "none"])
    def test_ssim_is_that_of_torchmetrics(self, options: dict[str, Any], reduction: Any) -> None:
        images = pair(3, 2, 40, 30)
        expected = theirs.structural_similarity_index_measure(*images, reduction=reduction, **options)
        torch.testing.assert_close(ssim(*images, reduction=reduction, **options), expected)

    def test_ssim_in_3d_is_that_of_torchmetrics(self) -> None:
        images = pair(2, 1, 16, 15, 14)
        expected = theirs.structural_similarity_index_measure(*images, data_range=1.0)
        torch.testing.assert_close(ssim(*images, data_range=1.0), expected)

    @pytest.mark.parametrize("normalize", ["relu", "simple", None])
    @pytest.mark.parametrize("betas", [(0.0448, 0.2856, 0.3001, 0.2363, 0.1333), (0.5, 0.5)], ids=len)
    def test_ms_ssim_is_that_of_torchmetrics(self, betas: Any, normalize: Any) -> None:
        images = pair(2, 1, 176, 180)
        options: dict[str, Any] = {"data_range": 1.0, "betas": betas, "normalize": normalize}
        expected = theirs.multiscale_structural_similarity_index_measure(*images, **options)
        torch.testing.assert_close(ms_ssim(*images, **options), expected)

    @pytest.mark.parametrize(
        ("ours", "skimage", "border"),
        [
            ({"sigma": 1.5}, {"gaussian_weights": True, "sigma": 1.5}, 5),
            ({"sigma": 2.5}, {"gaussian_weights": True, "sigma": 2.5}, 9),
            ({"gaussian_kernel": False, "kernel_size": 7}, {"win_size": 7}, 3),
        ],
        ids=["sigma 1.5", "sigma 2.5", "flat"],
    )
    def test_within_the_borders_ssim_is_that_of_scikit_image(
        self, ours: Any, skimage: Any, border: int
    ) -> None:
        preds, target = pair(1, 3, 40, 32)
        _, at_pixels = ssim(preds, target, data_range=1.0, return_full_image=True, **ours)
        inner = at_pixels[0, :, border:-border, border:-border]
        compare: Any = structural_similarity
        mean, map_ = compare(
            preds[0].numpy(),
            target[0].numpy(),
            data_range=1.0,
            channel_axis=0,
            use_sample_covariance=False,
            full=True,
            **skimage,
        )
        torch.testing.assert_close(inner, torch.from_numpy(map_)[:, border:-border, border:-border])
        assert inner.mean().item() == pytest.approx(mean, rel=1e-12)

    def test_single_precision_is_enough_far_from_zero(self) -> None:
        preds, target = (255 * images + 1000 for images in pair(1, 1, 64, 64))
        exact = ssim(preds, target, data_range=255.0)
        assert ssim(preds.float(), target.float(), data_range=255.0).item() == pytest.approx(
            exact.item(), abs=1e-3
        )


class TestAsLosses:
    def test_gradients_of_ssim(self) -> None:
        preds, target = (images.requires_grad_() for images in pair(2, 2, 9, 8))
        assert torch.autograd.gradcheck(partial(ssim, sigma=0.8, data_range=1.0), (preds, target))
        small = tuple(images.detach()[:1, :1, :5, :5].requires_grad_() for images in (preds, target))
        assert torch.autograd.gradgradcheck(partial(ssim, sigma=0.8, data_range=1.0), small)

    def test_gradients_of_ms_ssim_and_psnr(self) -> None:
        preds, target = (images.requires_grad_() for images in pair(1, 1, 14, 15))
        scales = partial(ms_ssim, sigma=0.8, data_range=1.0, betas=(0.5, 0.5), normalize="simple")
        assert torch.autograd.gradcheck(scales, (preds, target))
        assert torch.autograd.gradcheck(partial(peak_signal_noise_ratio, data_range=1.0), (preds, target))

    @pytest.mark.parametrize("kind", [PSNR, SSIM])
    def test_a_call_can_be_trained_through(self, kind: Any) -> None:
        preds, target = pair(2, 1, 12, 12, dtype=torch.float32)
        metric = kind(data_range=1.0)
        metric(preds.requires_grad_(), target).backward()
        assert preds.grad is not None
        assert preds.grad.abs().sum() > 0

    def test_under_autocast_nothing_is_rounded(self) -> None:
        images = pair(2, 1, 32, 32, dtype=torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            value = ssim(*images, data_range=1.0)
        torch.testing.assert_close(value, ssim(*images, data_range=1.0), rtol=0, atol=0)


class TestDegenerate:
    def test_equal_images(self) -> None:
        images = torch.rand(2, 1, 24, 24)
        assert peak_signal_noise_ratio(images, images, data_range=1.0) == torch.inf
        assert ssim(images, images, data_range=1.0) == pytest.approx(1)
        assert ms_ssim(images, images, data_range=1.0, betas=(0.5, 0.5)) == pytest.approx(1)

    def test_images_of_one_colour(self) -> None:
        black, white = torch.zeros(1, 1, 12, 12), torch.ones(1, 1, 12, 12)
        assert ssim(black, black, data_range=1.0) == 1
        assert ssim(black, white, data_range=1.0) == pytest.approx(1e-4 / (1 + 1e-4))
        assert ssim(black, black).isnan()

    def test_opposite_images_on_several_scales(self) -> None:
        preds, _ = pair(1, 1, 24, 24)
        of_negatives = partial(ms_ssim, preds, 1 - preds, data_range=1.0, betas=(0.5, 0.5))
        assert of_negatives(normalize="relu") == 0
        assert of_negatives(normalize=None).isnan()
        assert 0 < of_negatives(normalize="simple") < 0.5

    def test_a_nan_is_not_lost(self) -> None:
        images = torch.full((1, 1, 12, 12), torch.nan)
        assert peak_signal_noise_ratio(images, images, data_range=1.0).isnan()
        assert ssim(images, images, data_range=1.0).isnan()

    def test_whole_numbers_do_not_wrap(self) -> None:
        dark, light = (
            torch.full((1, 1, 12, 12), 10, dtype=torch.uint8),
            torch.full((1, 1, 12, 12), 20, dtype=torch.uint8),
        )
        assert peak_signal_noise_ratio(dark, light, data_range=255) == pytest.approx(28.1308, abs=1e-4)
        assert ssim(dark, light, data_range=255) == ssim(dark.float(), light.float(), data_range=255)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_the_type_of_values(self, dtype: torch.dtype) -> None:
        images = pair(1, 1, 24, 24, dtype=dtype)
        assert peak_signal_noise_ratio(*images, data_range=1.0).dtype is dtype
        assert ssim(*images).dtype is dtype
        assert ms_ssim(*images, betas=(0.5, 0.5)).dtype is dtype
        assert ssim(*(image.half() for image in images)).dtype is torch.float32

    def test_all_of_nothing(self) -> None:
        metric = SSIM(reduction="none", data_range=1.0)
        metric.update(torch.empty(0, 1, 12, 12), torch.empty(0, 1, 12, 12))
        value: Any = metric.compute()
        assert value.shape == (0,)

    def test_psnr_of_a_million_small_errors(self) -> None:
        metric = PSNR(data_range=1.0)
        for _ in range(4):
            metric.update(torch.full((500, 500), 1e-4), torch.zeros(500, 500))
        assert metric.compute().item() == pytest.approx(80, abs=1e-5)


class TestErrors:
    @pytest.mark.parametrize(
        ("make", "received"),
        [
            (partial(PSNR, 0.0), "data_range=0.0"),
            (partial(PSNR, (1.0, 0.5)), r"data_range=\(1.0, 0.5\)"),
            (partial(PSNR, 1.0, reduction="mean"), "'mean'"),
            (partial(SSIM, reduction="mean"), "'mean'"),
            (partial(SSIM, sigma=-1), "-1"),
            (partial(SSIM, kernel_size=8), "8"),
            (partial(SSIM, data_range=-1.0), "data_range=-1.0"),
            (
                partial(SSIM, return_full_image=True, return_contrast_sensitivity=True),
                "not both",
            ),
            (partial(MS_SSIM, betas=()), r"\(\)"),
            (partial(MS_SSIM, normalize="sum"), "'sum'"),
        ],
    )
    def test_options(self, make: Any, received: str) -> None:
        with pytest.raises(ConfigError, match=received):
            make()

    @pytest.mark.parametrize(
        ("function", "shapes", "message"),
        [
            (
                partial(peak_signal_noise_ratio, data_range=1.0),
                ((2, 3), (1, 3)),
                r"\[2, 3\], target \[1, 3\]",
            ),
            (ssim, ((1, 1, 12, 12), (1, 1, 12, 13)), r"target \[1, 1, 12, 13\]"),
            (ssim, ((1, 12, 12), (1, 12, 12)), r"\[N, C, H, W\] or \[N, C, D, H, W\]"),
            (ssim, ((1, 1, 5, 12), (1, 1, 5, 12)), r"received: images of \[1, 1, 5, 12\]"),
            (partial(ssim, sigma=(1.0, 1.0, 1.0)), ((1, 1, 12, 12),) * 2, "sigma=.*2 spatial"),
            (ms_ssim, ((1, 1, 175, 176),) * 2, r"expected: at least \[176, 176\]"),
        ],
    )
    def test_shapes(self, function: Any, shapes: Any, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            function(*(torch.rand(shape) for shape in shapes))
