"""Metrics that are formulas of counts."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from fulmen.errors import ConfigError
from fulmen.metrics.arguments import check_among, check_unit
from fulmen.metrics.classification.inputs import Average
from fulmen.metrics.classification.options import Option
from fulmen.metrics.classification.tally import MOST_SAMPLES, Tally
from fulmen.metrics.classification.tasks import Multiclass, Outcomes, Task
from fulmen.metrics.metric import Metric
from fulmen.metrics.states import Added

Ratio = Callable[[Outcomes], tuple[Tensor, Tensor]]
"""Numerator and denominator of a score, elementwise."""


class CountingMetric(Metric):
    """Base of metrics that keep the counts of a task. Those of one task share them in a collection."""

    is_differentiable = False
    _keeps_no_graph = True
    num_classes = Option("_task")
    num_labels = Option("_task")
    threshold = Option("_task")
    top_k = Option("_task")
    multidim_average = Option("_task")
    ignore_index = Option("_task")
    validate_args = Option("_task")

    def __init__(self, task: Task, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._task = task
        if task.multidim_average == "samplewise":
            self.add_state("counts", [], "cat")
        else:
            self.add_state("counts", torch.zeros(task.cells, dtype=torch.int64), "sum")

    @property
    def update_options(self) -> Hashable:
        """How batches are counted."""
        return self._task

    @property
    def counts(self) -> Tensor | list[Tensor]:
        """The counts of all batches: [cells], or, samplewise, [N, cells] of each."""
        return self.metric_state["counts"]

    @counts.setter
    def counts(self, counts: Tensor | list[Tensor]) -> None:
        self._put_states({"counts": counts})

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count a batch of predictions and labels."""
        added = self._added
        tally: Tally | None = added.waiting
        if tally is not None and tally.add(preds, target):
            return
        own = vars(self)  # past `nn.Module.__setattr__`, which looks for parameters
        counts = own["counts"]
        if isinstance(counts, list):
            counts.append(self._task.count(preds, target))
            return
        own["counts"] = self._task.add(counts, preds, target)
        if tally is not None:
            if tally.is_full:
                self._settle()
        elif added.batches and target.numel() <= MOST_SAMPLES:
            # Not for the first: a call has states of its own for its batch, and asks for them at once.
            added.waiting = self._task.tally()

    def _settle(self) -> None:
        added = self._added
        counts = vars(self)["counts"] + added.waiting.matrix().to(self.device)
        vars(self).update(counts=counts, _added=Added(added.batches, added.shared_in))

    def _all_counts(self) -> Tensor:
        counts = self.counts
        if isinstance(counts, Tensor):
            return counts
        none = torch.zeros((0, self._task.cells), dtype=torch.int64, device=self.device)
        return torch.cat([none, *counts])

    @property
    def _precision(self) -> torch.dtype:
        """The type to compute in: a count in half precision would end at 65504."""
        return torch.promote_types(self.dtype, torch.float32)


def margins(task: Task, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the task's `margins` gives, to be multiplied: of 2**32 positions, products overflow int64."""
    dtype = torch.int64 if counts.device.type == "mps" else torch.float64
    hits, predicted, true = task.margins(counts)
    return hits.to(dtype), predicted.to(dtype), true.to(dtype)


# --------------------------------------------------------------------------------------------------- averages


def divide(numerator: Tensor, denominator: Tensor, otherwise: float = 0.0) -> Tensor:
    """The quotient; something else where it is undefined."""
    undefined = denominator == 0
    return torch.where(undefined, otherwise, numerator / denominator.masked_fill(undefined, 1))


def averaged(
    ratio: Ratio,
    task: Task,
    outcomes: Outcomes,
    dtype: torch.dtype,
    average: Average,
    zero_division: float,
    top_k_predicts: bool = True,
) -> Tensor:
    """A ratio of the outcomes of all classes together (micro), of each, or its mean (macro, weighted)."""
    if average == "micro":
        outcomes = Outcomes(*(outcome.sum(-1) for outcome in outcomes))
    parts = Outcomes(*(outcome.to(dtype) for outcome in outcomes))
    values = divide(*ratio(parts), zero_division)
    if average not in ("macro", "weighted"):
        return values
    weights = (
        parts.tp + parts.fn if average == "weighted" else task.present(outcomes, top_k_predicts).to(dtype)
    )
    return divide((values * weights).sum(-1), weights.sum(-1), zero_division)


def check_averaging(task: Task, average: Average, zero_division: float = 0.0) -> None:
    """Raise unless the values of classes can be averaged so."""
    check_among("average", average, ("micro", "macro", "weighted", "none", None))
    check_unit("zero_division", zero_division)
    if isinstance(task, Multiclass) and task.num_classes is None and average != "micro":
        raise ConfigError(
            "`num_classes` can be left out for the micro average only.",
            received=f"num_classes=None, average={average!r}",
            fix="give the number of classes",
        )


def complete_outcomes(task: Task, counts: Tensor) -> Outcomes:
    """The outcomes, where true negatives are needed: they are known only if the number of classes is."""
    if isinstance(task, Multiclass) and task.num_classes is None:
        raise ConfigError(
            "True negatives were asked for.", received="num_classes=None", fix="give `num_classes`"
        )
    return task.outcomes(counts)
