"""Training batches of several processes, none of which may go on alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import torch

from fulmen.engine.data import END, BatchStream
from fulmen.engine.replay import Start
from fulmen.engine.sharding import Counts
from fulmen.strategies.strategy import Strategy


class SharedStream(BatchStream):
    """The batches of one rank, as long as all have one; where the ranks join, as long as any has.

    Where nobody can count them, the ranks ask each other: about the next batch but one while a batch
    computes, from host to host, so that as a rule the answer is there when it is wanted.
    """

    def __init__(
        self,
        loader: Any,
        length: float,
        start: Start,
        *,
        strategy: Strategy,
        counts: Counts | None,
        done: int = 0,
        has_ended: bool = False,
        is_last: bool = False,
        send_to: torch.device | None = None,
    ) -> None:
        """`done` counts the batches of the epoch that all ranks together have done.

        `has_ended` says that this rank had its last one among them, `is_last` that all had.
        """
        self._ended = has_ended
        super().__init__(loader, length, start, send_to=send_to)
        self.taken, self.is_last = done, is_last
        self._had = start.skip
        self._strategy = strategy
        self._counts = counts
        self._answers: deque[Callable[[], list[int]]] = deque()
        """To those questions about batches ahead that nobody has heard the answer of."""
        self._asked = 0
        """About how many of the batches ahead the ranks were asked."""
        self._next: list[int] | None = None
        """How much each rank has of the next batch, once that is known."""

    def take(self) -> Any:
        if self.is_last:
            return END
        shares = self._find_out() if self._next is None else self._next
        if not self._goes_on(shares):  # before the first batch
            return END
        batch = self._give()
        self.taken += 1
        self._next = self._find_out()
        self.is_last = not self._goes_on(self._next)
        if self._counts is None and not self.is_last:
            self._ask(2)
        if self._strategy.joins:
            self._strategy.weigh(len(shares) * shares[self._strategy.world.rank] / sum(shares))
        self.is_absent = batch is END
        if self.is_absent:
            return None
        self._had += 1
        return batch

    def _goes_on(self, shares: list[int]) -> bool:
        """Whether there is a step of which the ranks have so much."""
        return any(shares) if self._strategy.joins else all(shares)

    def _find_out(self) -> list[int]:
        """How much each rank has of the next batch."""
        if self._counts is not None:
            return self._counts.at(self.taken) if self.taken < self._length else []
        self._ask(1)
        return self._answers.popleft()()

    def _ask(self, count: int) -> None:
        """Have the ranks asked about so many of the batches ahead."""
        self.fetch_ahead(count)
        while self._asked < count:
            has_one = self._ahead[self._asked].batch is not END
            self._answers.append(self._strategy.collectives.begin_gather(int(has_one)))
            self._asked += 1

    def _give(self) -> Any:
        self._asked -= 1
        return super()._give()

    def _fetch(self) -> Any:
        batch = END if self._ended else super()._fetch()
        self._ended = self._ended or batch is END
        return batch

    @property
    def own_length(self) -> int | None:
        """How many batches this rank has, once it is known to have no more."""
        return self._had + sum(each.batch is not END for each in self._ahead) if self._ended else None

    @property
    def is_exhausted(self) -> bool:
        return super().is_exhausted and self._ended
