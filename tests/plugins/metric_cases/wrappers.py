"""Wrappers whose value is that of all batches; the others have tests of their own."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from fulmen.metrics.regression import MeanSquaredError
from fulmen.metrics.wrappers import ClasswiseWrapper, Running

from .case import Case
from .regression import pairs


def mean_squares(preds: Tensor, target: Tensor) -> dict[str, Tensor]:
    means = (preds.double() - target.double()).square().mean(0)
    return {f"of_{name}": mean for name, mean in zip("xyz", means, strict=True)}


CASES = [
    Case(
        "Running",
        lambda: Running(MeanSquaredError(), window=9),
        pairs,
        lambda preds, target: (preds.double() - target.double()).square().mean(),
    ),
    Case(
        "ClasswiseWrapper",
        lambda: ClasswiseWrapper(MeanSquaredError(num_outputs=3), list("xyz"), prefix="of_"),
        partial(pairs, outputs=3),
        mean_squares,
    ),
]
