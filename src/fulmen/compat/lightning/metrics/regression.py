"""The metrics of numbers and images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fulmen import metrics
from fulmen.compat.lightning.metrics.functional.regression import ssim
from fulmen.compat.lightning.metrics.metric import Metric, named
from fulmen.errors import ConfigError
from fulmen.metrics.image.images import Reduction
from fulmen.metrics.regression.determination import MultiOutput


class MeanSquaredError(metrics.MeanSquaredError, Metric):
    """The mean of squared errors."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(**named(args), **kwargs)


class MeanAbsoluteError(metrics.MeanAbsoluteError, Metric):
    """The mean of absolute errors."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(**named(args), **kwargs)


class MeanSquaredLogError(metrics.MeanSquaredLogError, Metric):
    """The mean of squared errors of log(1 + x)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(**named(args), **kwargs)


class ExplainedVariance(metrics.ExplainedVariance, Metric):
    """How much of the variance of targets is accounted for."""

    def __init__(self, multioutput: MultiOutput = "uniform_average", *args: Any, **kwargs: Any) -> None:
        super().__init__(**named(args), multioutput=multioutput, **kwargs)


class R2Score(metrics.R2Score, Metric):
    """The coefficient of determination."""

    def __init__(
        self,
        num_outputs: int = 1,
        adjusted: int = 0,
        multioutput: MultiOutput = "uniform_average",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            **named(args), num_outputs=num_outputs, adjusted=adjusted, multioutput=multioutput, **kwargs
        )


class PSNR(metrics.PeakSignalNoiseRatio, Metric):
    """Peak signal-to-noise ratio.

    Args:
        data_range: how far apart the least and the greatest value may be; None takes those of all targets,
            and 0.
        reduction: of the ratios that `dim` leaves.
        dim: what errors are averaged over; None for one ratio of everything.
    """

    least: Tensor
    greatest: Tensor

    def __init__(
        self,
        data_range: float | None = None,
        base: float = 10.0,
        reduction: Reduction = "elementwise_mean",
        dim: int | tuple[int, ...] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if isinstance(dim, bool):  # 1.0 and 1.1 had `compute_on_step` there
            args, dim = (dim, *args), None
        if data_range is None and dim is not None:
            raise ConfigError("With `dim`, the range of values must be known.", fix="give `data_range`")
        width = 1.0 if data_range is None else data_range
        super().__init__(**named(args), data_range=width, base=base, reduction=reduction, dim=dim, **kwargs)
        self.data_range = data_range
        if data_range is None:
            self.add_state("least", torch.tensor(0.0), "min")
            self.add_state("greatest", torch.tensor(0.0), "max")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add images."""
        super().update(preds, target)
        if self.data_range is None:
            self.least = torch.minimum(self.least, target.min())
            self.greatest = torch.maximum(self.greatest, target.max())

    def compute(self) -> Tensor:
        """The ratio of all batches."""
        if self.data_range is None:
            self.width = float(self.greatest - self.least)
        return super().compute()


class SSIM(Metric):
    """Structural similarity of all images that were added, which are kept."""

    preds: list[Tensor]
    target: list[Tensor]

    def __init__(
        self,
        kernel_size: Sequence[int] = (11, 11),
        sigma: Sequence[float] = (1.5, 1.5),
        reduction: str = "elementwise_mean",
        data_range: float | None = None,
        k1: float = 0.01,
        k2: float = 0.03,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.kernel_size = kernel_size
        self.sigma = sigma
        self.reduction = reduction
        self.data_range = data_range
        self.k1, self.k2 = k1, k2
        self.add_state("preds", [], "cat")
        self.add_state("target", [], "cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add images."""
        self.preds.append(preds)
        self.target.append(target)

    def compute(self) -> Tensor:
        """The similarity of all batches."""
        return ssim(
            torch.cat(self.preds),
            torch.cat(self.target),
            self.kernel_size,
            self.sigma,
            self.reduction,
            self.data_range,
            self.k1,
            self.k2,
        )
