"""Whether the processes of a run can still go on together, judged by what is heard of each; and why not.

A process that is slow is left alone, however long it takes. What ends a run is certain:

- One has died: its connection was closed inside a run.
- One has failed: it says so, with its traceback.
- One is silent: its interpreter has run nothing at all for so long, not even the thread that reports for it.
  It was stopped, or its host is gone, or a function in C keeps the interpreter to itself; the last is told
  apart where the process can be looked at, for then it uses its processor, or waits for one, or for a disk.
- All are stuck: each of them waits inside an operation with others (its stack tells), has got no further and
  has computed nothing all that time, or else has left the run or died, so that it will not come; and they do
  not all wait in the same operation, which a slow network may merely delay. Nobody is left who could free
  another one. (Who waits for a GPU spins: what the main thread uses in an operation does not count.)

A process whose watch has failed is left out: of what nothing is known, nothing can be concluded.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from textwrap import indent

from fulmen.runtime.rollcall import ranks_text
from fulmen.runtime.watch.place import Place

GATHER_S = 0.5
"""How long the first news of a failure waits for more: what is heard of first need not be the cause."""


@dataclass(frozen=True)
class Limits:
    """How long what may last; together less than `hang_timeout_s`, within which all processes have ended."""

    hang_timeout_s: float

    @property
    def patience_s(self) -> float:
        """How long silence or waiting in vain lasts; and what is left to those who hear of a failure."""
        return self.hang_timeout_s * 2 / 3

    @property
    def settle_s(self) -> float:
        """How long a process may wait in an operation with one that has failed before it is ended."""
        return min(3.0, self.hang_timeout_s / 10)

    @property
    def after_death_s(self) -> float:
        """How long a process that has not noticed yet goes on when another one has died."""
        return min(8.0, self.patience_s)


@dataclass(frozen=True)
class Process:
    """One process of the job."""

    rank: int
    pid: int
    host: str
    realm: str
    """Processes of one realm see each other under their pids and reach each other by loopback."""

    def __str__(self) -> str:
        return f"Rank {self.rank} (pid {self.pid} on {self.host})"


@dataclass(frozen=True)
class Sign:
    """What a process says of itself while it lives."""

    run: int = 0
    """How many runs it has begun."""
    inside: bool = False
    """Whether the last of them is under way."""
    at: str = ""
    """How far the run has come."""
    still_s: float = 0.0
    """For how long it has done nothing but wait for others in one operation."""
    place: Place = field(default_factory=lambda: Place([]))


@dataclass(frozen=True)
class Failure:
    """The error that a process failed with."""

    run: int
    at: str
    error: str
    traceback: str
    place: Place


@dataclass
class Seen:
    """What is known of a process."""

    process: Process
    sign: Sign = field(default_factory=Sign)
    heard_s: float = field(default_factory=time.monotonic)
    """When it was heard of last, by the clock of who has heard it."""
    lost: bool = False
    """Whether its connection was closed."""
    blind: bool = False
    """Whether its watch has failed, and nothing is known of it any more."""
    failure: Failure | None = None
    failed_s: float = 0.0

    @property
    def died(self) -> bool:
        """Whether it has ended in the middle of a run, and has not said why."""
        return self.lost and self.sign.inside and self.failure is None and not self.blind


class Kind(Enum):
    """Why a run ends."""

    DIED = "died"
    FAILED = "failed"
    SILENT = "silent"
    STUCK = "stuck"


@dataclass(frozen=True)
class Verdict:
    """Why the run ends, and which ranks are to blame; where all are stuck, none."""

    kind: Kind
    ranks: list[int]


def reach(seen: Mapping[int, Seen], now_s: float, limits: Limits, *, all_are_seen: bool) -> Verdict | None:
    """The verdict on the processes that are known; None as long as they may go on."""
    known = {rank: each for rank, each in seen.items() if not each.blind}
    silent = [
        rank for rank, each in known.items() if not each.lost and now_s - each.heard_s > limits.patience_s
    ]
    dead = [rank for rank, each in known.items() if each.died]
    failed = {rank: each.failure for rank, each in known.items() if each.failure is not None}
    if dead:
        return Verdict(Kind.DIED, dead)
    if failed:
        return Verdict(Kind.FAILED, _first_causes(known, failed))
    if silent and any(each.sign.inside and not each.lost for each in known.values()):
        return Verdict(Kind.SILENT, silent)
    if len(known) == len(seen) and _are_stuck(seen, limits, all_are_seen=all_are_seen):
        return Verdict(Kind.STUCK, [])
    return None


def _first_causes(seen: Mapping[int, Seen], failed: Mapping[int, Failure]) -> list[int]:
    """Who failed first, and all who did so of their own accord in the same way.

    Whoever failed while it waited for others has most likely failed because of them.
    """
    first = min(failed, key=lambda rank: (failed[rank].place.wait is not None, seen[rank].failed_s))
    of_itself = failed[first].place.wait is None
    return [
        rank
        for rank, failure in failed.items()
        if rank == first
        or (of_itself and failure.place.wait is None and failure.error == failed[first].error)
    ]


def _are_stuck(seen: Mapping[int, Seen], limits: Limits, *, all_are_seen: bool) -> bool:
    somebody_is_gone = any(each.lost for each in seen.values())
    if not (all_are_seen or somebody_is_gone):
        return False
    limit_s = limits.settle_s if somebody_is_gone else limits.patience_s
    waiting = [
        each.sign
        for each in seen.values()
        if each.sign.inside and not each.lost and each.sign.still_s >= limit_s
    ]
    if not waiting:
        return False
    newest_run = max(sign.run for sign in waiting)
    others = [each for each in seen.values() if each.sign not in waiting]
    if any(not each.lost and (each.sign.inside or each.sign.run < newest_run) for each in others):
        return False  # it may still come
    return bool(others) or len({(sign.run, sign.place.wait) for sign in waiting}) > 1


# ------------------------------------------------------------------------------------------------- in words


def describe(verdict: Verdict, seen: Mapping[int, Seen], now_s: float) -> str:
    """What the user is told: who, at which step, in which hook, and where the others are."""
    blamed = [seen[rank] for rank in verdict.ranks]
    others = [each for rank, each in sorted(seen.items()) if rank not in verdict.ranks]
    if verdict.kind is Kind.STUCK:
        waited_s = max(each.sign.still_s for each in others)
        what = f"The processes wait for others that do not come, for {waited_s:.0f} s now; none can go on:"
        return "\n".join([what, *_where(others, with_stacks=True)])
    if verdict.kind is Kind.FAILED:
        parts = [_of_failure([each.process for each in blamed], blamed[0].failure)]
    else:
        near = {each.process.realm for each in others}
        parts = [_of_loss(verdict.kind, each, now_s, is_near=each.process.realm in near) for each in blamed]
    if others:
        parts += ["The others:", *_where(others)]
    return "\n".join(parts)


def _of_failure(who: list[Process], failure: Failure | None) -> str:
    assert failure is not None
    names = str(who[0]) if len(who) == 1 else ranks_text([process.rank for process in who]).capitalize()
    return f"{names} failed{situation(failure.at, failure.place)}:\n\n{failure.traceback}"


def _of_loss(kind: Kind, lost: Seen, now_s: float, *, is_near: bool) -> str:
    silence = f"nothing was heard of it for {now_s - lost.heard_s:.0f} s"
    if kind is Kind.DIED:
        what = "died without an error: it was killed (out of memory?), has crashed or was left by os._exit"
    elif is_near:
        what = f"is stuck: {silence}, as if it had been stopped"
    else:
        what = f"is not to be reached: {silence}. Its host or the network is gone, or it was stopped"
    sign = lost.sign
    stack = sign.place.describe()
    return f"{lost.process} {what}. It was last seen{situation(sign.at, sign.place)}:\n{stack}".rstrip()


def _where(others: Iterable[Seen], *, with_stacks: bool = False) -> list[str]:
    """One line for all who are in the same situation."""
    groups: dict[tuple[str, str], list[int]] = {}
    for each in others:
        stack = ""
        if with_stacks and each.sign.inside and not each.lost:
            stack = "\n" + indent(each.sign.place.describe().rstrip(), "  ")
        groups.setdefault((_doing(each), stack), []).append(each.process.rank)
    return [f"  {ranks_text(ranks)}: {doing}{stack}" for (doing, stack), ranks in groups.items()]


def _doing(each: Seen) -> str:
    failure, sign = each.failure, each.sign
    if each.blind:
        return "is watched no more"
    if failure is not None and failure.place.wait is None:
        return f"failed{situation(failure.at, failure.place)}: {failure.error}"
    if failure is not None:
        return (
            f"waited{situation(failure.at, failure.place)}: {failure.place.wait}{_called_from(failure.place)}"
        )
    if each.lost:
        return "died" if each.died else "has ended"
    if not sign.inside:
        return "not in a run" if sign.run == 0 else "has left the run"
    doing = (
        f"waits{situation(sign.at, sign.place)}: {sign.place.wait}"
        if sign.place.wait
        else f"goes on{situation(sign.at, sign.place)}"
    )
    return doing + _called_from(sign.place)


def situation(at: str, place: Place) -> str:
    """At which step, and in which hook."""
    hook = f", in `{place.hook}`" if place.hook else ""
    return f" at {at}{hook}" if at else f" in `{place.hook}`" if place.hook else ""


def _called_from(place: Place) -> str:
    line = place.users_line()
    return "" if line is None else f" ({line[0]}:{line[1]}, {line[2]})"
