"""The two kinds of watcher: at the centre of the star, and at the end of each ray."""

from __future__ import annotations

import math
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from fulmen.runtime.lifeline import tie_to_parent
from fulmen.runtime.processes import exit_at_once
from fulmen.runtime.watch.verdicts import GATHER_S, Kind, Limits, Process, Seen, Verdict, describe, reach
from fulmen.runtime.watch.watcher import EXIT_CODE, Tell, Watcher
from fulmen.runtime.watch.wire import Wire

LAST_S = 1.5
"""How long rank 0 waits for the others to end before it ends."""

REAP_S = 0.1
"""In which a thread that waits for a child of this process hears that it has ended."""


class Centre(Watcher):
    """Rank 0's: hears all others, judges and speaks."""

    def __init__(
        self, everybody: list[Process], limits: Limits, listener: socket.socket, token: str, *,
        tell_parent: Tell | None = None,
    ) -> None:  # fmt: skip
        super().__init__(everybody, everybody[0], limits, tell_parent=tell_parent)
        # Of whom nothing was ever heard, silence says nothing.
        self._seen = {process.rank: Seen(process, heard_s=math.inf) for process in everybody}
        self._listener = listener
        self._token = token
        self._wires: dict[int, Wire] = {}
        self._untold: tuple[str, list[int]] | None = None
        """What is to be told if the error is caught by nobody."""
        self._is_uncaught = False
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def announce(self, message: dict[str, Any]) -> None:
        self._mail.append(message)
        if "left" in message:
            self._send(message)
        self._wake()
        if "left" in message and self._tell_parent is not None and self._error is not None:
            self._told.wait(2 * GATHER_S)  # what becomes of this process then is the parent's business

    def forget(self) -> None:
        super().forget()
        self._listener.close()
        for wire in list(self._wires.values()):
            wire.close()

    def _accept(self) -> None:
        with suppress(OSError):
            connection, _ = self._listener.accept()
            wire = Wire(connection)
            self._selector.register(connection, selectors.EVENT_READ, partial(self._greet, wire))

    def _greet(self, wire: Wire) -> None:
        """The first words of a connection say whose it is."""
        said = wire.receive()
        if said == []:
            return  # half a line
        self._selector.unregister(wire.connection)
        if said is None or said[0].get("token") != self._token:
            wire.close()
            return
        rank = said[0]["rank"]
        self._wires[rank] = wire
        self._said = None  # nothing was said to this one yet
        self._selector.register(wire.connection, selectors.EVENT_READ, partial(self._receive, rank))
        for message in said[1:]:
            self._take(rank, message)

    def _receive(self, rank: int) -> None:
        wire = self._wires[rank]
        said = wire.receive()
        for message in said or ():
            self._take(rank, message)
        if said is None:
            self._selector.unregister(wire.connection)
            wire.close()
            del self._wires[rank]
            self._lose(rank)

    def _take(self, rank: int, message: dict[str, Any]) -> None:
        super()._take(rank, message)
        if "uncaught" in message:
            self._is_uncaught = True
            self._tell()
        if "failed" in message:
            self._due_s = 0.0

    def _judge(self, now_s: float) -> None:
        verdict = reach(self._seen, now_s, self._limits, all_are_seen=True)
        if verdict is None or not self._may_conclude(verdict, now_s):
            return
        self._conclude(verdict, now_s)
        self._untold = describe(verdict, self._seen, now_s), verdict.ranks
        to_end = verdict.ranks if verdict.kind is Kind.SILENT else []
        self._send({"verdict": verdict.kind.value, "ranks": verdict.ranks, "kill": to_end})
        if verdict.kind is not Kind.FAILED or self._tell_parent is not None:
            self._is_uncaught = True
        self._tell()
        self._decided.set()

    def _beat(self, now_s: float) -> None:
        super()._beat(now_s)
        over = not any(each.sign.inside and not each.lost for each in self._seen.values())
        if over and self._verdict is not None and self._verdict.kind is Kind.FAILED:
            self._verdict, self._news_s = None, None  # all have come to an end by themselves
            for each in self._seen.values():
                each.failure = None

    def _tell(self) -> None:
        """Say it, once, where it is to be said."""
        if self._is_uncaught and self._untold is not None:
            untold, self._untold, self._is_uncaught = self._untold, None, False
            self._say(*untold)
            self._told.set()
            self._send({"told": True})

    def _end(self) -> None:
        self._is_uncaught = True
        self._tell()
        assert self._verdict is not None
        if self._verdict.kind is Kind.SILENT:
            self._kill_silent(self._verdict.ranks)
        end_s = time.monotonic() + LAST_S
        while self._wires and time.monotonic() < end_s:
            for key, _ in self._selector.select(REAP_S):
                key.data()
        time.sleep(REAP_S)
        exit_at_once(EXIT_CODE)

    def _send(self, message: dict[str, Any]) -> None:
        for wire in list(self._wires.values()):
            wire.send(message)


class Member(Watcher):
    """Any other rank's: reports to rank 0, and judges it."""

    def __init__(
        self, everybody: list[Process], own: Process, limits: Limits, wire: Wire, *,
        tell_parent: Tell | None = None,
    ) -> None:  # fmt: skip
        super().__init__(everybody, own, limits, tell_parent=tell_parent)
        self._seen = {0: Seen(everybody[0]), own.rank: Seen(own)}
        self._wire = wire
        neighbours = [process.rank for process in everybody[1:] if process.realm == own.realm]
        self._speaks = own.rank == min(neighbours)
        """Whether it speaks for its host where rank 0 cannot."""
        self._kills: list[int] = []
        self._is_tied = own.realm == everybody[0].realm and os.getppid() == everybody[0].pid
        self._selector.register(wire.connection, selectors.EVENT_READ, self._receive)

    def enter(self, at: Callable[[], str], hooks: Iterable[str], outer: int) -> None:
        if self._is_tied and self._depth == 0 and self._thread.is_alive():
            tie_to_parent(tied=False)  # else nobody would be left to tell what became of rank 0
        super().enter(at, hooks, outer)

    def leave(self) -> None:
        super().leave()
        if self._is_tied and self._depth == 0:
            tie_to_parent()
            if os.getppid() != self._everybody[0].pid:
                exit_at_once(EXIT_CODE)

    def announce(self, message: dict[str, Any]) -> None:
        self._send(message)
        self._mail.append(message)
        self._wake()

    def forget(self) -> None:
        super().forget()
        self._wire.close()

    def _receive(self) -> None:
        said = self._wire.receive()
        for message in said or ():
            if "told" in message:
                self._told.set()
            elif "verdict" in message:
                self._kills = message["kill"]
                self._conclude(Verdict(Kind(message["verdict"]), message["ranks"]), time.monotonic())
                self._decided.set()
                self._due_s = 0.0
            elif "blind" in message:
                self._stopping = True  # nobody is left to report to
            else:
                self._take(0, message)
        if said is None:
            self._selector.unregister(self._wire.connection)
            self._lose(0)

    def _judge(self, now_s: float) -> None:
        hub = self._seen[0]
        if not hub.lost and now_s - hub.heard_s <= self._limits.patience_s:
            return
        verdict = reach(self._seen, now_s, self._limits, all_are_seen=False)
        if verdict is None or verdict.kind is Kind.FAILED or not self._may_conclude(verdict, now_s):
            return
        self._conclude(verdict, now_s)
        if self._speaks:
            self._say(describe(verdict, self._seen, now_s), verdict.ranks)
            self._kills = verdict.ranks if verdict.kind is Kind.SILENT else []
        self._told.set()
        self._decided.set()

    def _beat(self, now_s: float) -> None:
        super()._beat(now_s)
        if self._depth and self._verdict is not None and self._run != self._verdict_run:
            self._verdict = self._news_s = None
            self._seen[self._own.rank].failure = None

    def _end(self) -> None:
        self._send({"uncaught": True})
        self._kill_silent(self._kills)
        exit_at_once(EXIT_CODE)

    def _send(self, message: dict[str, Any]) -> None:
        self._wire.send(message)
