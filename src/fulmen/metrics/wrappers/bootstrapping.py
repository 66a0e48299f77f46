"""How certain a value is: by that of samples drawn from the samples."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, distributed, nn

from fulmen.base.random import derive_seed, seed_of_this_moment
from fulmen.base.tree import leaves
from fulmen.errors import UsageError
from fulmen.metrics.arguments import check_among, check_at_least
from fulmen.metrics.together import several_processes
from fulmen.metrics.wrappers.base import Wrapper, checked_metric


class BootStrapper(Wrapper):
    """Gives mean, standard deviation and quantiles of a metric over bootstrap samples (Efron, 1979).

    Each of `num_bootstraps` copies of the metric gets its own sample of each batch, drawn with replacement.
    Draws follow from `seed`, the rank and the number of the batch, and leave torch's generators alone;
    without a seed they follow from the state of torch's generator when the metric is made.

    Args:
        base_metric: any whose batches are tensors and lists of samples.
        num_bootstraps: how many samples.
        mean: whether to give "mean".
        std: whether to give "std".
        quantile: one or several, given as "quantile".
        raw: whether to give all values, as "raw".
        sampling_strategy: "poisson" takes each sample so many times as a Poisson number of mean 1 says,
            which for large data is drawing with replacement from all batches together; "multinomial" draws
            from each batch.
        seed: what the draws follow from.
    """

    def __init__(
        self,
        base_metric: Any,
        num_bootstraps: int = 10,
        mean: bool = True,
        std: bool = True,
        quantile: float | Tensor | None = None,
        raw: bool = False,
        sampling_strategy: Literal["poisson", "multinomial"] = "poisson",
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_among("sampling_strategy", sampling_strategy, ("poisson", "multinomial"))
        check_at_least("num_bootstraps", num_bootstraps, 1)
        checked_metric(base_metric)
        self.metrics = nn.ModuleList(base_metric.clone() for _ in range(num_bootstraps))
        self.num_bootstraps = num_bootstraps
        self.mean = mean
        self.std = std
        self.quantile = quantile
        self.raw = raw
        self.sampling_strategy = sampling_strategy
        self.seed = seed_of_this_moment() if seed is None else seed

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a sample of the batch to each copy."""
        for metric, (sample, named) in self._samples(args, kwargs):
            metric.update(*sample, **named)

    def compute(self) -> dict[str, Tensor]:
        """What was asked for, of the values over all batches."""
        return self._summary([metric.compute() for metric in self._metrics()])

    def _step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Tensor]:
        values = [metric(*sample, **named) for metric, (sample, named) in self._samples(args, kwargs)]
        self._count_batch()
        return self._summary(values)

    def _samples(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[Any, Any]]:
        """Each copy with its sample of a batch."""
        size = _size_of((args, kwargs))
        rank = distributed.get_rank() if several_processes() else 0
        generator = torch.Generator().manual_seed(derive_seed(self.seed, rank, self._update_count))
        samples: list[tuple[Any, Any]] = []
        for metric in self.metrics:
            if self.sampling_strategy == "poisson":
                times = torch.poisson(torch.ones(size, device="cpu"), generator=generator).long()
                chosen = torch.arange(size, device="cpu").repeat_interleave(times)
            else:
                chosen = torch.randint(max(size, 1), (size,), generator=generator, device="cpu")
            sample = tuple(_picked(value, chosen, size) for value in args)
            samples.append((metric, (sample, {k: _picked(v, chosen, size) for k, v in kwargs.items()})))
        return samples

    def _summary(self, values: list[Tensor]) -> dict[str, Tensor]:
        stacked = torch.stack(values)
        summary: dict[str, Tensor] = {}
        if self.mean:
            summary["mean"] = stacked.mean(0)
        if self.std:
            summary["std"] = stacked.std(0)
        if self.quantile is not None:
            quantiles = torch.as_tensor(self.quantile, dtype=stacked.dtype, device=stacked.device)
            summary["quantile"] = torch.quantile(stacked, quantiles, dim=0)
        if self.raw:
            summary["raw"] = stacked
        return summary


def _size_of(batch: Any) -> int:
    """The number of samples: the length of the first tensor, or else of the first list."""
    args, kwargs = batch
    for value in leaves(batch):
        if isinstance(value, Tensor) and value.ndim:
            return len(value)
    for value in (*args, *kwargs.values()):
        if isinstance(value, (list, tuple)):
            return len(value)
    raise UsageError("There is nothing to draw samples from.", expected="tensors or lists of samples")


def _picked(value: Any, chosen: Tensor, size: int) -> Any:
    """The chosen samples of an argument; what is not one per sample stays as it is."""
    if isinstance(value, Tensor) and value.ndim and len(value) == size:
        return value.index_select(0, chosen.to(value.device))
    if isinstance(value, (list, tuple)) and len(value) == size:
        return type(value)(value[i] for i in chosen.tolist())
    return value
