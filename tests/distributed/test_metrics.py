"""Metrics in two processes: exact, whatever share of the batches each one has."""

from __future__ import annotations

from typing import Any

import pytest
import torch

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
