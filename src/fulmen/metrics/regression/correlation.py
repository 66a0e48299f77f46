"""How far predictions follow targets on a line, any or that of equality."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fulmen.metrics.dtypes import result_dtype
from fulmen.metrics.regression.moments import Moments, PairMetric, moments_of, value_of


class PearsonCorrCoef(PairMetric):
    """Pearson's coefficient of linear correlation, from -1 to 1.

    NaN where all predictions or all targets are the same. Batches are `(N,)` or `(N, num_outputs)`; with
    several outputs each has its value.
    """

    higher_is_better = None  # both ends mean that they follow

    def __init__(self, num_outputs: int = 1, **kwargs: Any) -> None:
        super().__init__(num_outputs, **kwargs)

    def compute(self) -> Tensor:
        """The coefficient over all batches."""
        return value_of(_pearson(self._moments()), self.dtype)


def pearson_corrcoef(preds: Tensor, target: Tensor) -> Tensor:
    """Pearson's coefficient of linear correlation, for each output; see `PearsonCorrCoef`."""
    moments = moments_of(preds, target)
    return value_of(_pearson(moments), result_dtype(preds, target))


def _pearson(moments: Moments) -> Tensor:
    (pp, pt), (_, tt) = moments.comoment.permute(1, 2, 0)
    undefined = moments.is_constant.any(1)
    scale = torch.where(undefined, 1, pp).sqrt() * torch.where(undefined, 1, tt).sqrt()
    return torch.where(undefined, torch.nan, (pt / scale).clamp(-1, 1))


class ConcordanceCorrCoef(PairMetric):
    """Lin's coefficient of concordance: `2 cov / (var(preds) + var(target) + (mean(preds) - mean(target))²)`.

    From -1 to 1, which is perfect agreement; variances are divided by N, as Lin (1989) has them
    (torchmetrics divides by N - 1). 0 where predictions or targets are all the same; NaN where both are, and
    equal. Batches are `(N,)` or `(N, num_outputs)`; with several outputs each has its value.
    """

    def __init__(self, num_outputs: int = 1, **kwargs: Any) -> None:
        super().__init__(num_outputs, **kwargs)

    def compute(self) -> Tensor:
        """The coefficient over all batches."""
        return value_of(_concordance(self._moments()), self.dtype)


def concordance_corrcoef(preds: Tensor, target: Tensor) -> Tensor:
    """Lin's coefficient of concordance, for each output; see `ConcordanceCorrCoef`."""
    moments = moments_of(preds, target)
    return value_of(_concordance(moments), result_dtype(preds, target))


def _concordance(moments: Moments) -> Tensor:
    (pp, pt), (_, tt) = moments.comoment.permute(1, 2, 0)
    apart = moments.mean[:, 0] - moments.mean[:, 1]
    return 2 * pt / (pp + tt + moments.count * apart.square())
