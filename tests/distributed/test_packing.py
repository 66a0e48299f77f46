"""What travels between processes together, between real ones."""

from __future__ import annotations

from typing import Any

import torch

from fulmen.runtime.collectives import ProcessGroup
from fulmen.runtime.packing import GATHER, Part, combine

from .ranks import Ranks


def parts_of(rank: int) -> list[Part]:
    lists = [torch.full((n, 2), rank + n, dtype=torch.float16) for n in range(rank * 2)]
    return [
        Part([torch.tensor(rank + 1)], "sum"),
        Part([torch.tensor([rank, -rank], dtype=torch.float32)], "max"),
        Part([torch.tensor(2**62 + rank)], "min"),
        Part(lists, GATHER),
        Part([torch.tensor([], dtype=torch.int64)] if rank else [], GATHER),
        Part([torch.tensor(rank * 10)], "sum"),
        Part([torch.tensor([torch.nan, 1.0] if rank else [5.0, torch.nan])], "min"),
        Part([torch.tensor([torch.nan, rank, -torch.inf])], "max"),
        Part([torch.tensor(1 + 2j) * rank], "sum"),
    ]


def combined(rank: int) -> Any:
    return combine(parts_of(rank), ProcessGroup())


def collectives(rank: int) -> Any:
    group = ProcessGroup()
    group.barrier()
    own = torch.tensor([rank, rank * 2])
    return {
        "size": group.size,
        "sum": group.all_reduce(own, "sum").tolist(),
        "mean": group.all_reduce(own, "mean").tolist(),
        "min": group.all_reduce(own, "min").tolist(),
        "max": group.all_reduce(own, "max").tolist(),
        "gathered": group.all_gather(own).tolist(),
        "broadcast": group.broadcast({"rank": rank}, source=1),
        "own": own.tolist(),
    }


def test_every_rank_has_what_all_have(two_ranks: Ranks) -> None:
    for result in two_ranks(combined):
        total, most, least, lists, nothing, tens, *with_nan, of_complex = result
        assert total == [[torch.tensor(3)]]
        assert most[0][0].tolist() == [1, 0]
        assert least == [[torch.tensor(2**62)]]
        assert lists[0] == []
        assert [tuple(tensor.shape) for tensor in lists[1]] == [(0, 2), (1, 2)]
        assert lists[1][1].tolist() == [[2, 2]]
        assert nothing[0] == []
        assert nothing[1][0].dtype is torch.int64
        assert tens == [[torch.tensor(10)]]
        assert of_complex == [[torch.tensor(1 + 2j)]]
        assert [str(part[0][0].tolist()) for part in with_nan] == ["[nan, nan]", "[nan, 1.0, -inf]"]


def test_collectives_of_a_group(two_ranks: Ranks) -> None:
    for rank, result in enumerate(two_ranks(collectives)):
        assert result == {
            "size": 2, "sum": [1, 2], "mean": [0.5, 1.0], "min": [0, 0], "max": [1, 2],
            "gathered": [[0, 0], [1, 2]], "broadcast": {"rank": 1}, "own": [rank, rank * 2],
        }  # fmt: skip
