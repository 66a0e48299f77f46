"""Perplexity: how many tokens a language model hesitates between."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fulmen.errors import UsageError
from fulmen.metrics.metric import Metric

_NO_INDEX = torch.iinfo(torch.int64).min  # cross_entropy leaves out -100 unless told otherwise


def perplexity(preds: Tensor, target: Tensor, ignore_index: int | None = None) -> Tensor:
    """The exponential of the mean negative log-likelihood of the tokens; see `Perplexity`."""
    losses, count = _losses(preds, target, ignore_index)
    return (losses.sum() / count).exp()


class Perplexity(Metric):
    """The exponential of the mean negative log-likelihood, in nats, that a model gives the tokens of texts.

    From 1, for a model that is sure and right; the size of the vocabulary for one that knows nothing; NaN
    where no token counts. Finite for tokens that are next to impossible, where torchmetrics gives infinity.

    Args:
        ignore_index: the value in `target` of places that do not count.
    """

    is_differentiable = True
    higher_is_better = False

    def __init__(self, ignore_index: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_index = ignore_index
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add logits, [batch, time, vocabulary], and the tokens that came, [batch, time]."""
        losses, count = _losses(preds, target, self.ignore_index)
        self.total = self.total + losses.sum(dtype=self.total.dtype)
        self.count = self.count + count

    def compute(self) -> Tensor:
        """The perplexity over all tokens."""
        return (self.total / self.count).exp().to(self.dtype)


def _losses(preds: Tensor, target: Tensor, ignore_index: int | None) -> tuple[Tensor, int | Tensor]:
    """The negative log-likelihood of each token, 0 where it does not count, and how many do."""
    shape = preds.shape
    if len(shape) != 3 or shape[:2] != target.shape:
        raise UsageError(
            "Perplexity needs the logits of each token.",
            received=f"preds {tuple(shape)}, target {tuple(target.shape)}",
            expected="preds [batch, time, vocabulary], target [batch, time]",
        )
    if not preds.is_floating_point() or target.dtype is not torch.int64:
        raise UsageError(
            "Perplexity needs logits and the numbers of tokens.",
            received=f"preds {preds.dtype}, target {target.dtype}",
            expected="preds of floating point, target torch.int64",
        )
    if target.device.type == "cpu" and target.numel():
        _check_tokens(target, shape[2], ignore_index)
    rows = max(1, (2**17 if preds.device.type == "cpu" else 2**26) // max(1, shape[2]))
    ignored = _NO_INDEX if ignore_index is None else ignore_index
    losses = [
        functional.cross_entropy(
            logits if logits.dtype is torch.float64 else logits.float(),
            tokens,
            ignore_index=ignored,
            reduction="none",
        )
        # A part at a time: what a cache holds, and never all logits a second time in single precision.
        for logits, tokens in zip(preds.flatten(0, 1).split(rows), target.flatten().split(rows), strict=True)
    ]
    count = target.numel() if ignore_index is None else (target != ignore_index).sum()
    return losses[0] if len(losses) == 1 else torch.cat(losses), count


def _check_tokens(target: Tensor, size: int, ignore_index: int | None) -> None:
    counted = target if ignore_index is None else torch.where(target == ignore_index, 0, target)
    low, high = (int(bound) for bound in counted.aminmax())
    if low < 0 or high >= size:
        raise UsageError(
            "A token is not part of the vocabulary.",
            received=f"target from {low} to {high}, preds {size} wide",
            expected=f"target from 0 to {size - 1}, or ignore_index ({ignore_index})",
        )
