"""Before processes talk: each says who it is, and rank 0 says whether all are there."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import groupby, takewhile
from typing import Any

from fulmen.base.report import leave_to_others
from fulmen.errors import DistributedError

SHORTEST_NAP_S, LONGEST_NAP_S = 0.002, 0.2

LAST_CALL_S = 0.3
"""How long an error waits for those who are on their way, so that they hear of it too."""

SLACK_S = 5.0
"""How much longer the others wait, so that the word of rank 0, which names who is missing, reaches them."""


@dataclass(frozen=True)
class Presence:
    """What a process says of itself; `mark` is its own in this roll call."""

    rank: int
    local_rank: int
    node: int
    size: int
    host: str
    pid: int
    mark: str
    address: str | None = None
    """Its host's own, on the way to rank 0's."""


class RollCall:
    """One meeting of `size` processes at a store, of which it may not be the first.

    What an earlier one left there does no harm: rank 0 opens each with a name of its own, the others follow
    the newest, and believe only a verdict that counts them among those present.
    """

    def __init__(self, store: Any, own: Presence, *, wait_s: float, check: Callable[[], None]) -> None:
        self._store = store
        self._own = own
        self._wait_s = wait_s
        self._check = check
        self._meeting = ""

    def hold(self) -> tuple[str, list[Presence]]:
        """Wait for everybody: the meeting's name, and who is there, by rank.

        Raises `DistributedError` in all processes, with who is missing, counted twice or of another mind; if
        nobody catches it, it is printed once.
        """
        verdict = self._lead() if self._own.rank == 0 else self._follow()
        present = [Presence(**said) for said in verdict["present"]]
        present.sort(key=lambda presence: (presence.rank, presence.mark))
        if verdict["complaint"] is not None:
            error = DistributedError(**verdict["complaint"])
            if self._own != present[0]:
                leave_to_others(error, self._hint(present))
            raise error
        return self._meeting, present

    def _hint(self, present: list[Presence]) -> str | None:
        """What a host's first process says where the error is printed on another host."""
        of_host = [presence for presence in present if presence.host == self._own.host]
        if self._own != of_host[0] or of_host[0].host == present[0].host:
            return None
        return f"The processes of {self._own.host} end: {_place(present[0])} says why."

    def _lead(self) -> dict[str, Any]:
        self._meeting = uuid.uuid4().hex
        self._store.set("meeting", self._meeting)
        self._report()
        present: list[Presence] = []
        naps = _Naps(self._wait_s)
        while True:
            present += self._arrived(len(present))
            complaint = find_fault(present, self._own.size)
            if complaint is None and len(present) < self._own.size and naps.over:
                complaint = name_missing(present, self._own.size, self._wait_s)
            if complaint is not None or len(present) == self._own.size:
                return self._conclude(present, complaint)
            if self._read("meeting") not in (None, self._meeting):
                return self._follow()  # there is another rank 0, which now finds out that it is not alone
            try:
                self._check()
            except DistributedError as error:
                self._conclude(present, {"what": str(error)})
                raise
            naps.take()

    def _follow(self) -> dict[str, Any]:
        naps = _Naps(self._wait_s + SLACK_S)
        while not naps.over:
            newest = self._read("meeting")
            if newest is not None:
                if newest != self._meeting:
                    self._meeting = newest
                    self._report()
                verdict = json.loads(self._read(f"{newest}/verdict") or "null")
                if verdict is not None and self._own.mark in {said["mark"] for said in verdict["present"]}:
                    return verdict
            self._check()
            naps.take()
        raise DistributedError(
            f"Rank 0 was waited for in vain by rank {self._own.rank} on {self._own.host}.",
            received=f"no word of it within {naps.limit_s:g} s",
            expected=f"{self._own.size} processes",
        )

    def _report(self) -> None:
        number = self._store.add(f"{self._meeting}/arrivals", 1)
        self._store.set(f"{self._meeting}/arrival/{number}", json.dumps(asdict(self._own)))

    def _arrived(self, known: int) -> list[Presence]:
        count = self._store.add(f"{self._meeting}/arrivals", 0)
        keys = [f"{self._meeting}/arrival/{number + 1}" for number in range(known, count)]
        said = takewhile(lambda text: text is not None, map(self._read, keys))
        return [Presence(**json.loads(text)) for text in said if text is not None]

    def _read(self, key: str) -> str | None:
        """What is written there; to ask a store for what is not would be to wait, deaf to all else."""
        return self._store.get(key).decode() if self._store.check([key]) else None

    def _conclude(self, present: list[Presence], complaint: dict[str, Any] | None) -> dict[str, Any]:
        if complaint is not None:
            time.sleep(LAST_CALL_S)
            present = present + self._arrived(len(present))
            complaint = find_fault(present, self._own.size) or complaint
        verdict = {"present": [asdict(presence) for presence in present], "complaint": complaint}
        self._store.set(f"{self._meeting}/verdict", json.dumps(verdict))
        return verdict


class _Naps:
    """Short sleeps up to a limit: Ctrl-C and what is looked after get their turn."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._end_s = time.monotonic() + limit_s
        self._next_s = SHORTEST_NAP_S

    @property
    def over(self) -> bool:
        return time.monotonic() > self._end_s

    def take(self) -> None:
        time.sleep(self._next_s)
        self._next_s = min(self._next_s * 1.3, LONGEST_NAP_S)


def find_fault(present: Iterable[Presence], size: int) -> dict[str, Any] | None:
    """What is wrong with those who are there, as the arguments of an error; None where nothing is."""
    present = list(present)
    others = [presence for presence in present if presence.size != size]
    if others:
        return {
            "what": "The processes do not agree on how many they are.",
            "received": "; ".join(f"{_place(other)} says {other.size}" for other in others),
            "expected": f"{size}, as rank 0 says",
            "fix": "start all with the same number of devices and nodes",
        }
    counts = Counter(presence.rank for presence in present)
    twice = [presence for presence in present if counts[presence.rank] > 1]
    if twice:
        twice.sort(key=lambda presence: (presence.rank, presence.host))
        return {
            "what": "Several processes have the same rank.",
            "received": "; ".join(map(_place, twice)),
            "expected": "each of the ranks once",
            "fix": "give each node its own number, and each job its own port",
        }
    return None


def name_missing(present: Iterable[Presence], size: int, waited_s: float) -> dict[str, Any]:
    """The arguments of the error that says who did not come."""
    present = list(present)
    missing = sorted(set(range(size)) - {presence.rank for presence in present})
    return {
        "what": f"Not all processes of the run have come: {ranks_text(missing)} of {size} did not, "
        f"within {waited_s:g} s.",
        "received": describe(present),
        "expected": f"ranks 0-{size - 1}",
        "fix": "look at what the missing ones have printed, and whether their hosts reach this one",
    }


def describe(present: Iterable[Presence]) -> str:
    """Who is where: `4 processes on 2 hosts: a (ranks 0-1), b (ranks 2-3)`."""
    hosts: dict[str, list[int]] = {}
    for presence in sorted(present, key=lambda presence: presence.rank):
        hosts.setdefault(presence.host, []).append(presence.rank)
    count = sum(map(len, hosts.values()))
    places = ", ".join(f"{host} ({ranks_text(ranks)})" for host, ranks in hosts.items())
    return f"{_counted(count, 'process', 'processes')} on {_counted(len(hosts), 'host', 'hosts')}: {places}"


def ranks_text(ranks: list[int]) -> str:
    """`ranks 0-2, 5` of 0, 1, 2, 5."""
    runs = [[rank for _, rank in run] for _, run in groupby(enumerate(ranks), lambda pair: pair[1] - pair[0])]
    spans = ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"{'rank' if len(ranks) == 1 else 'ranks'} {spans}"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _place(presence: Presence) -> str:
    return f"rank {presence.rank} on {presence.host} (pid {presence.pid})"
