"""This process's place among all processes of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """Ranks from 0: over all nodes (`rank`), on this node (`local_rank`), and of the node itself (`node`)."""

    rank: int = 0
    local_rank: int = 0
    size: int = 1
    node: int = 0
    nodes: int = 1

    @property
    def is_global_zero(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0
