"""How much of the variance of targets predictions account for."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from fulmen.errors import ConfigError
from fulmen.metrics.arguments import check_among
from fulmen.metrics.dtypes import result_dtype
from fulmen.metrics.regression.moments import Moments, PairMetric, moments_of, value_of

MultiOutput = Literal["raw_values", "uniform_average", "variance_weighted"]
_MULTIOUTPUT = ("raw_values", "uniform_average", "variance_weighted")


class R2Score(PairMetric):
    """Coefficient of determination: `1 - sum((target - preds)²) / sum((target - mean(target))²)`, at most 1.

    Batches are `(N,)` or `(N, outputs)`. As in scikit-learn, an output whose targets are all the same has 1
    if all predictions are right, else 0; with fewer than two samples the score is NaN.

    Args:
        adjusted: how many independent variables the model has; `1 - (1 - R²) (N - 1) / (N - adjusted - 1)` is
            given then, for as many samples as that needs.
        multioutput: "raw_values" gives each output its score; "uniform_average" and
            "variance_weighted" their mean.
    """

    def __init__(
        self, adjusted: int = 0, multioutput: MultiOutput = "uniform_average", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        _check_r2_options(adjusted, multioutput)
        self.adjusted = adjusted
        self.multioutput = multioutput

    def compute(self) -> Tensor:
        """The score over all batches."""
        return _r2(self._moments(), self.adjusted, self.multioutput, self.dtype)


def r2_score(
    preds: Tensor, target: Tensor, adjusted: int = 0, multioutput: MultiOutput = "uniform_average"
) -> Tensor:
    """Coefficient of determination; see `R2Score`."""
    _check_r2_options(adjusted, multioutput)
    moments = moments_of(preds, target)
    return _r2(moments, adjusted, multioutput, result_dtype(preds, target))


def _check_r2_options(adjusted: int, multioutput: str) -> None:
    if not isinstance(adjusted, int) or adjusted < 0:
        raise ConfigError(
            "`adjusted` cannot be used.", received=repr(adjusted), expected="an integer from 0 on"
        )
    check_among("multioutput", multioutput, _MULTIOUTPUT)


def _r2(moments: Moments, adjusted: int, multioutput: str, dtype: torch.dtype) -> Tensor:
    count = moments.count
    exact = moments.squared_residuals <= moments.rounding[:, 1].square() * count
    scores = _scores(moments, moments.squared_residuals, exact)
    scores = torch.where(count < 2, torch.nan, scores)
    score = _averaged(moments, scores, multioutput)
    if adjusted:
        free = count - adjusted - 1
        score = torch.where(free > 0, 1 - (1 - score) * (count - 1) / free.clamp(min=1), score)
    return score.to(dtype)


class ExplainedVariance(PairMetric):
    """`1 - Var(target - preds) / Var(target)`, at most 1; unlike R² it forgives predictions a constant error.

    Batches are `(N,)` or `(N, outputs)`. As in scikit-learn, an output whose targets are all the same has 1
    if all differences are, else 0. NaN where nothing was added. `multioutput`: "raw_values" gives each output
    its score, "uniform_average" and "variance_weighted" their mean.
    """

    def __init__(self, multioutput: MultiOutput = "uniform_average", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_among("multioutput", multioutput, _MULTIOUTPUT)
        self.multioutput = multioutput

    def compute(self) -> Tensor:
        """The score over all batches."""
        return _explained_variance(self._moments(), self.multioutput).to(self.dtype)


def explained_variance(preds: Tensor, target: Tensor, multioutput: MultiOutput = "uniform_average") -> Tensor:
    """`1 - Var(target - preds) / Var(target)`; see `ExplainedVariance`."""
    check_among("multioutput", multioutput, _MULTIOUTPUT)
    moments = moments_of(preds, target)
    return _explained_variance(moments, multioutput).to(result_dtype(preds, target))


def _explained_variance(moments: Moments, multioutput: str) -> Tensor:
    residual = moments.residual_comoment
    exact = residual <= moments.rounding.square().sum(1) * moments.count
    scores = torch.where(moments.count < 1, torch.nan, _scores(moments, residual, exact))
    return _averaged(moments, scores, multioutput)


def _scores(moments: Moments, unexplained: Tensor, exact: Tensor) -> Tensor:
    """One less the unexplained share of each output's variance; 1 or 0 where there is none to explain."""
    constant = moments.is_constant[:, 1]
    variation = torch.where(constant, 1, moments.comoment[:, 1, 1])
    return torch.where(constant, exact.to(variation.dtype), 1 - unexplained / variation)


def _averaged(moments: Moments, scores: Tensor, multioutput: str) -> Tensor:
    if multioutput == "raw_values" or not len(scores):
        return value_of(scores, scores.dtype)
    if multioutput == "uniform_average":
        return scores.mean()
    variation = torch.where(moments.is_constant[:, 1], 0, moments.comoment[:, 1, 1])
    weights = torch.where(variation.sum() > 0, variation, 1)
    return (scores * weights).sum() / weights.sum()
