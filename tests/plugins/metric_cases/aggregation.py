"""Aggregation: references of NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from fulmen.metrics import aggregation

from .case import Batch, Case


def values(generator: Generator, weighted: bool = False, with_nan: bool = False) -> list[Batch]:
    """Values, with weights behind them if asked for."""
    batches: list[Batch] = []
    for size in (21, 1, 50, 4):
        value = torch.randn(size, generator=generator) + 3
        if with_nan and size > 4:
            value[::7] = torch.nan
        weight = torch.rand(size, generator=generator)
        batches.append((value, weight) if weighted else (value,))
    return batches


def case(
    name: str, reference: Callable[..., Any], drawn: dict[str, Any] | None = None, **options: Any
) -> Case:
    def of(*arguments: Tensor) -> Any:
        return reference(*(argument.double().numpy() for argument in arguments))

    metric = getattr(aggregation, name.partition("_")[0])
    return Case(name, partial(metric, **options), partial(values, **drawn or {}), of)


def weighted_mean(value: np.ndarray, weight: np.ndarray) -> float:
    return (value * weight).sum() / weight.sum()


NAN = {"with_nan": True}

CASES = [
    case("MeanMetric", np.mean),
    case("MeanMetric_weighted", weighted_mean, {"weighted": True}),
    case("MeanMetric_ignore", np.nanmean, NAN, nan_strategy="ignore"),
    case("MeanMetric_number", lambda v: np.nan_to_num(v, nan=7.0).mean(), NAN, nan_strategy=7.0),
    case("MeanMetric_disable", np.mean, NAN, nan_strategy="disable"),
    case("SumMetric", np.sum),
    case("SumMetric_ignore", np.nansum, NAN, nan_strategy="ignore"),
    case("MaxMetric", np.max),
    case("MaxMetric_ignore", np.nanmax, NAN, nan_strategy="ignore"),
    case("MinMetric", np.min),
    case("MinMetric_disable", np.min, NAN, nan_strategy="disable"),
    case("CatMetric", lambda v: v),
    case("CatMetric_ignore", lambda v: v[~np.isnan(v)], NAN, nan_strategy="ignore"),
    case("MedianMetric", np.median),
    case("MedianMetric_ignore", np.nanmedian, NAN, nan_strategy="ignore"),
    case("QuantileMetric", partial(np.quantile, q=0.3), q=0.3),
    case("QuantileMetric_several", partial(np.quantile, q=[0.0, 0.25, 1.0]), q=[0.0, 0.25, 1.0]),
    case("RunningMean", np.mean, window=9),
    case("RunningSum", np.sum, window=9),
]
