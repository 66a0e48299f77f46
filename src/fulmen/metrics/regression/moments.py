"""Means, variances and covariance of predictions and targets, which several metrics are computed from.

Blocks are joined by the formula of Chan, Golub and LeVeque (1983) for any number of parts, so that means far
larger than the deviations from them cost no precision.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fulmen.errors import UsageError
from fulmen.metrics.arguments import check_at_least
from fulmen.metrics.blocks import MOST_WAITING
from fulmen.metrics.dtypes import widest
from fulmen.metrics.folding import States
from fulmen.metrics.regression.blocks import ErrorMetric, blocks
from fulmen.metrics.regression.inputs import check_shapes, paired

_FAR = 1e4
"""A mean is far from zero whose square is so many times the variance: four of sixteen digits are at stake."""


class Moments(NamedTuple):
    """What is known of samples of (prediction, target), for each output."""

    count: Tensor
    mean: Tensor
    """Shape (outputs, 2)."""
    comoment: Tensor
    """Sums of products of the deviations from the means, shape (outputs, 2, 2)."""

    @property
    def is_constant(self) -> Tensor:
        """Whether all predictions, and all targets, are the same but for rounding; shape (outputs, 2)."""
        return self.comoment.diagonal(dim1=1, dim2=2) <= self.rounding.square() * self.count

    @property
    def rounding(self) -> Tensor:
        """How far a value may be off that should be the mean; shape (outputs, 2)."""
        return 8 * torch.finfo(self.mean.dtype).eps * self.mean.abs()

    @property
    def squared_residuals(self) -> Tensor:
        """The sum of squares of the differences of predictions and targets, for each output."""
        return self.residual_comoment + self.count * (self.mean[:, 0] - self.mean[:, 1]).square()

    @property
    def residual_comoment(self) -> Tensor:
        """The same about the mean of the differences."""
        (pp, pt), (_, tt) = self.comoment.permute(1, 2, 0)
        return (pp + tt - 2 * pt).clamp(min=0)


def moments_of(preds: Tensor, target: Tensor) -> Moments:
    """Moments of one batch."""
    check_shapes(preds, target)
    nothing = Moments(torch.tensor(0, device=preds.device), preds.new_zeros(0, 2), preds.new_zeros(0, 2, 2))
    return merged([nothing, *_moments_of(blocks(_pair, preds, target), widest(preds))])


def _pair(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return preds, target


def _moments_of(parts: Iterable[Iterable[Tensor]], dtype: torch.dtype) -> Iterable[Moments]:
    """The moments of parts, together or each: predictions and targets of shape `(N,)` or `(N, outputs)`."""
    parts = list(parts)
    may_look = not torch.is_grad_enabled() and all(p.is_cpu and type(p) is Tensor for p, _ in parts)
    if may_look and (moments := _about_zero(parts, dtype)):
        return [moments]
    return map(_about_mean, _in_rows(parts, dtype))


def _in_rows(parts: Iterable[Iterable[Tensor]], dtype: torch.dtype) -> Iterator[Tensor]:
    """The values of each part, shape (outputs, 2, N), which may be written over, as the next part does."""
    room = torch.empty(0)
    for preds, target in parts:
        if preds.ndim == 2:
            preds, target = preds.t(), target.t()
        shape = (len(preds) if preds.ndim == 2 else 1, 2, preds.shape[-1])
        if torch.is_grad_enabled():  # a graph has need of the values of every part
            yield torch.stack((preds, target), -2).to(dtype).view(shape)
            continue
        if room.shape != shape:  # as for the first part, and for the last
            room = torch.empty(shape, dtype=dtype, device=preds.device)
            rows = room[:, 0], room[:, 1]
        rows[0].copy_(preds)
        rows[1].copy_(target)
        yield room


def _about_zero(parts: Sequence[Iterable[Tensor]], dtype: torch.dtype) -> Moments | None:
    """The moments of all parts from plain sums of products: a third faster, if means are not far from zero.

    None if they are, as the difference of large sums would have lost digits.
    """
    samples, sums, products = 0, torch.zeros((), dtype=dtype), torch.zeros((), dtype=dtype)
    for number, values in enumerate(_in_rows(parts, dtype), start=1):
        samples += values.shape[-1]
        sums = sums + values.sum(-1)
        products = products + torch.bmm(values, values.mT)
        if number == 1 < len(parts) and not _of_sums(samples, sums, products):
            return None  # what is far is mostly so from the start
    return _of_sums(samples, sums, products)


def _of_sums(samples: int, sums: Tensor, products: Tensor) -> Moments | None:
    """The moments that sums come to; None if means are so far from zero that digits are lost."""
    mean = sums / samples
    of_means = samples * mean.unsqueeze(-1) * mean.unsqueeze(-2)
    comoment = products - of_means
    is_near = (of_means.diagonal(dim1=1, dim2=2) < _FAR * comoment.diagonal(dim1=1, dim2=2)).all()
    return Moments(torch.tensor(samples), mean, comoment) if is_near else None


def _about_mean(values: Tensor) -> Moments:
    """The moments of one part from deviations: whatever the mean is, and with no look at a value."""
    samples = values.shape[-1]
    mean = values.sum(-1, keepdim=True) / max(samples, 1)
    deviations = values.sub_(mean)
    count = torch.full((), samples, dtype=torch.int64, device=values.device)
    return Moments(count, mean.squeeze(-1), torch.bmm(deviations, deviations.mT))


def merged(moments: Sequence[Moments]) -> Moments:
    """The moments of several samples together; those of none have no outputs."""
    parts = [part for part in moments if len(part.mean)]
    if len({len(part.mean) for part in parts}) > 1:
        raise UsageError(
            "Batches have different numbers of outputs.",
            received=", ".join(str(len(part.mean)) for part in parts),
            expected="the same for all",
        )
    if len(parts) < 2:
        return parts[0] if parts else moments[0]
    counts, means, comoments = map(torch.stack, zip(*parts, strict=True))
    weights = counts.to(means.dtype).view(-1, 1, 1)
    origin = means[0]  # means are large, perhaps, and their differences are not
    mean = origin + (weights / weights.sum().clamp(min=1) * (means - origin)).sum(0)
    apart = (means - mean).unsqueeze(-1)
    between = weights.unsqueeze(-1) * apart * apart.mT
    return Moments(counts.sum(), mean, (comoments + between).sum(0))


class PairMetric(ErrorMetric):
    """A metric that is computed from the moments of predictions and targets."""

    is_differentiable = True
    higher_is_better = True

    count: Tensor
    mean: Tensor
    comoment: Tensor

    def __init__(self, num_outputs: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_outputs is not None:
            check_at_least("num_outputs", num_outputs, 1)
        self.num_outputs = num_outputs
        self.add_state("count", torch.tensor(0))
        self.add_state("mean", torch.zeros(num_outputs or 0, 2, dtype=torch.float64))
        self.add_state("comoment", torch.zeros(num_outputs or 0, 2, 2, dtype=torch.float64))

    @property
    def update_options(self) -> Hashable:
        return self.num_outputs or "any"

    def _kept(self, preds: Tensor, target: Tensor) -> Tensor:
        return paired(preds, target, self.num_outputs)

    def _part(self, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        check_shapes(preds, target, self.num_outputs)
        return preds, target

    def _joined(self, batches: list[Tensor]) -> Tensor:
        if any(batch.ndim == 3 for batch in batches):
            batches = [batch.unsqueeze(-1) if batch.ndim == 2 else batch for batch in batches]
        return torch.cat(batches, 1)

    def _with_blocks(self, states: States, parts: Iterable[Iterable[Tensor]]) -> States:
        before = _of_states(states)
        after = merged([before, *_moments_of(parts, before.mean.dtype)])
        return {**states, **after._asdict()}

    def combine_states(self, parts: list[States], counts: Sequence[int]) -> States:
        """The states of several batches or ranks as one."""
        moments = [Moments(*(tensor.detach() for tensor in _of_states(part))) for part in parts]
        recent: Any = parts[0]["recent"]
        for part in parts[1:]:
            recent.extend(batch.detach() for batch in part["recent"])
        combined: States = {"recent": recent, **merged(moments)._asdict()}
        return self._settled(combined) if len(recent) >= MOST_WAITING else combined

    def _moments(self) -> Moments:
        """The moments of all batches."""
        return _of_states(self._settled(self.metric_state))


def _of_states(states: Any) -> Moments:
    return Moments(states["count"], states["mean"], states["comoment"])


def value_of(outputs: Tensor, dtype: torch.dtype) -> Tensor:
    """Values of each output; a single one without a dimension. NaN where there was no batch."""
    if not len(outputs):
        return outputs.new_full((), float("nan"), dtype=dtype)
    return (outputs[0] if len(outputs) == 1 else outputs).to(dtype)
