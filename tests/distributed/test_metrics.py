"""Metrics in two processes: exact, whatever share of the batches each one has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from fulmen.metrics import Metric

from ..plugins.metric_cases import CASES
from ..plugins.metric_cases.case import Case, joined
from ..plugins.metric_cases.compare import check_close, check_same
from .ranks import Ranks


def computed(rank: int, name: str, first: int | None) -> tuple[Any, Any]:
    """The value over all ranks, and then over the batches of this one alone."""
    case = next(case for case in CASES if case.name == name)
    batches = case.batches(torch.Generator().manual_seed(7))
    own = (batches[:first] if first is not None else batches) if rank == 0 else []
    if rank == 1 and first is not None:
        own = batches[first:]
    metric = case.metric()
    for batch in own:
        metric.update(*batch)
    together = metric.compute()
    metric.sync_on_compute = False
    return together, [metric.update_count, len(own)]


@pytest.mark.filterwarnings("ignore:.*before `update`")
@pytest.mark.parametrize("first", [1, None, 0], ids=["unequal", "all_in_the_first", "all_in_the_second"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_two_processes_come_to_the_reference(case: Case, first: int | None, two_ranks: Ranks) -> None:
    expected = case.reference(*joined(case.batches(torch.Generator().manual_seed(7))))
    results = two_ranks(computed, case.name, first)
    for value, (count, added) in results:
        check_close(value, expected, case.tolerance)
        assert count == added  # and afterwards it is its own again
    check_same(results[0][0], results[1][0])


class Lists(Metric):
    """States that grow, of two types and three shapes."""

    rows: list[Tensor]
    labels: list[Tensor]
    numbers: list[Tensor]
    longest: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("rows", [], "cat")
        self.add_state("labels", [], "cat")
        self.add_state("numbers", [], None)
        self.add_state("longest", [], lambda tensors: [max(tensors, key=len)])

    def update(self, rows: Tensor, labels: Tensor) -> None:
        self.rows.append(rows)
        self.labels.append(labels)
        self.numbers.append(rows.sum())
        self.longest.append(labels)

    def compute(self) -> list[Any]:
        joined = [torch.cat(tensors).tolist() if tensors else [] for tensors in (self.rows, self.labels)]
        return [*joined, [tensor.tolist() for tensor in self.numbers + self.longest]]


def gathered_by_the_users(rank: int, numbers: tuple[int, int], gather: Any) -> list[Any]:
    metric = Lists(dist_sync_fn=gather)
    for number in range(numbers[rank]):
        size = rank + number + 1
        metric.update(torch.full((size, 2), rank + number / 8), torch.arange(size) + 10 * rank)
    values = metric.compute()
    assert len(metric.rows) == numbers[rank]
    return values


@pytest.mark.filterwarnings("ignore:.*before `update`")
@pytest.mark.parametrize("numbers", [(1, 1), (3, 1), (2, 0), (0, 1), (0, 0)])
def test_lists_of_unequal_lengths_are_gathered_by_a_function_of_the_users(
    numbers: tuple[int, int], two_ranks: Ranks
) -> None:
    expected = two_ranks(gathered_by_the_users, numbers, None)
    assert two_ranks(gathered_by_the_users, numbers, gather_all_tensors) == expected
