"""How far vectors point in one direction."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from fulmen.errors import UsageError
from fulmen.metrics.arguments import check_among
from fulmen.metrics.dtypes import result_dtype, widest
from fulmen.metrics.folding import States
from fulmen.metrics.regression.blocks import ErrorMetric, blocks
from fulmen.metrics.regression.inputs import paired

Reduction = Literal["mean", "sum", "none"]


class CosineSimilarity(ErrorMetric):
    """The cosine of the angle between each prediction and its target, from -1 to 1; takes `(N, dimensions)`.

    That of a vector of length 0 is 0, as in scikit-learn. `reduction`: "sum", "mean", or "none" (and None)
    for the similarities of all samples, which are only then kept.
    """

    is_differentiable = True
    higher_is_better = True

    total: Tensor
    count: Tensor
    similarity: list[Tensor]

    def __init__(self, reduction: Reduction | None = "sum", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_among("reduction", reduction, ("sum", "mean", "none", None))
        self.reduction = reduction
        self._keeps_all = reduction in ("none", None)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("similarity", [], dist_reduce_fx="cat")

    @property
    def update_options(self) -> Hashable:
        return self._keeps_all

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        if self._keeps_all:  # at once, so that samples stay in order
            self.similarity.append(_similarities(preds, target))
        else:
            super().update(preds, target)

    def _kept(self, preds: Tensor, target: Tensor) -> Tensor:
        return _vectors(preds, target)

    def _joined(self, batches: list[Tensor]) -> Tensor:
        return torch.cat(batches, 1)

    def _with_blocks(self, states: States, parts: Iterable[Tensor]) -> States:
        similarity = torch.cat([_similarity(pairs) for pairs in parts])
        total: Any = states["total"]
        counted: Any = states["count"]
        return {
            **states,
            "total": total + similarity.sum(dtype=total.dtype),
            "count": counted + len(similarity),
        }

    def compute(self) -> Tensor:
        """The similarity over all batches."""
        if self._keeps_all:
            none = torch.empty(0, dtype=self.dtype, device=self.device)
            return torch.cat([none, *self.similarity]).to(self.dtype)
        states: Any = self._settled(self.metric_state)
        return (states["total"] if self.reduction == "sum" else states["total"] / states["count"]).to(
            self.dtype
        )


def cosine_similarity(preds: Tensor, target: Tensor, reduction: Reduction | None = "sum") -> Tensor:
    """The cosine of the angle between each prediction and its target; see `CosineSimilarity`."""
    check_among("reduction", reduction, ("sum", "mean", "none", None))
    similarity = _similarities(preds, target)
    if reduction == "sum":
        similarity = similarity.sum(dtype=widest(preds))
    elif reduction == "mean":
        similarity = similarity.mean(dtype=widest(preds))
    return similarity.to(result_dtype(preds, target))


def _similarities(preds: Tensor, target: Tensor) -> Tensor:
    return torch.cat([_similarity(block) for block in blocks(_vectors, preds, target)])


def _vectors(preds: Tensor, target: Tensor) -> Tensor:
    """Predictions and targets in one tensor of shape `(2, N, dimensions)`."""
    pairs = paired(preds, target)
    if pairs.ndim != 3:
        raise UsageError(
            "Vectors are needed.", received=f"shape {tuple(preds.shape)}", expected="(N, dimensions)"
        )
    return pairs


def _similarity(pairs: Tensor) -> Tensor:
    """The cosine of each sample's angle."""
    lengths = torch.linalg.vector_norm(pairs, dim=-1, keepdim=True)
    preds, target = pairs / torch.where(lengths > 0, lengths, 1)
    return (preds * target).sum(-1)
