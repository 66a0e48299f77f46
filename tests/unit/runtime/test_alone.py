"""A world of one process."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fulmen.runtime import clusters
from fulmen.runtime.collectives import Alone
from fulmen.runtime.launch import InPlace
from fulmen.runtime.world import World


def test_the_world_of_this_process() -> None:
    world = clusters.world_of(clusters.detect(), 1, 1)
    assert world == World(rank=0, local_rank=0, size=1, node=0, nodes=1)
    assert world.is_global_zero


def test_only_rank_zero_speaks_for_all() -> None:
    assert not World(rank=1, size=2).is_global_zero
    assert World(rank=0, local_rank=0, size=2).is_global_zero
    with pytest.raises(dataclasses.FrozenInstanceError):
        World().rank = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_alone_every_operation_is_the_identity() -> None:
    alone, tensor, value = Alone(), torch.ones(2, 3), {"a": 1}
    assert all(alone.all_reduce(tensor, op) is tensor for op in ("sum", "mean", "min", "max"))
    assert alone.all_gather(tensor).shape == (1, 2, 3)
    assert alone.broadcast(value) is value
    alone.barrier()


def test_in_place_calls_the_function_here() -> None:
    seen = []
    assert InPlace().launch(lambda *args: seen.append(args) or "returned", 1, 2) == "returned"
    assert seen == [(1, 2)]


def test_in_place_lets_errors_through() -> None:
    with pytest.raises(ZeroDivisionError):
        InPlace().launch(lambda: 1 / 0)
