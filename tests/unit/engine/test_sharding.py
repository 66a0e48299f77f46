"""How far processes are, together, in an order that they share."""

from __future__ import annotations

import pytest
from torch.utils.data import DataLoader

from fulmen.engine.sharding import shard, taken_together
from fulmen.runtime.world import World


@pytest.mark.parametrize(
    ("batch_size", "batches", "done", "expected"),
    [(4, 1, 0, 12), (4, 2, 0, 23), (4, 1, 12, 23), (None, 1, 0, 3), (None, 8, 0, 23)],
)
def test_padded_batches_take_no_more_than_there_is(
    batch_size: int | None, batches: int, done: int, expected: int
) -> None:
    world = World(rank=2, local_rank=2, size=3)
    loader = shard(DataLoader(range(23), batch_size), world, training=True)  # pyright: ignore[reportArgumentType]
    assert taken_together(loader, world, batches, done=done) == expected
