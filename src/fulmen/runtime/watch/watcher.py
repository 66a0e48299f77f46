"""Never hang: each process of a job sees to it that the others live, and all end when one cannot go on.

In each process a thread says, about twice a second, where the main thread is: how far the run has come, in
which hook, its stack. It reads all that from outside, so that a step costs nothing. The threads talk over
connections of their own, in a star around rank 0, whose thread judges (`verdicts` says by what) and prints,
once for all, who failed, where, and where the others are. Where rank 0 is lost, the others do that.

After a verdict, those that can come to an end by themselves do: as a rule an operation with a process that is
no more raises an error, and callbacks and loggers hear of it. Those that wait in vain, and all if nobody can
come to an end, are ended from here: no error can be raised in a thread that waits in torch.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from types import TracebackType
from typing import Any

from fulmen.base import report
from fulmen.runtime.processes import IDLE_SHARE, Glance
from fulmen.runtime.watch.place import Place, Stillness, of_error, of_main_thread
from fulmen.runtime.watch.verdicts import (
    GATHER_S,
    Failure,
    Kind,
    Limits,
    Process,
    Seen,
    Sign,
    Verdict,
)

BEAT_S = 0.5
PROCESSES_PER_BEAT = 256
"""With more, each reports less often, so that rank 0 has no more to read."""

AWAY_S = 3.0
"""A thread that was not called for longer was itself stopped, and knows nothing of the others' silence."""

ANSWER_S = 2.0
"""How long an error that nobody has caught waits for rank 0 to say that it tells of it."""

EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h: told apart from an error of the script."""


Tell = Callable[[str, list[int]], None]
"""Takes what has happened, in words, and the ranks that are to blame; without words, that it will be told."""


class Watcher(ABC):
    """What one process knows of the others; its thread does all the work.

    What happens is told to the process that has started this one, if it listens, else to the terminal.
    """

    def __init__(
        self, everybody: list[Process], own: Process, limits: Limits, *, tell_parent: Tell | None = None
    ) -> None:
        self._everybody = everybody
        self._own = own
        self._limits = limits
        self._tell_parent = tell_parent
        self._seen: dict[int, Seen] = {}
        self._depth = self._run = 0
        self._at: Callable[[], str] = str
        self._hooks: frozenset[str] = frozenset()
        self._outer = 0
        self.failure: Failure | None = None
        """The last one of this process."""
        self._error: BaseException | None = None
        """What the run under way, or the last one, has failed with here."""
        self._told = threading.Event()
        """Whether the failure is, or will be, on the screen."""
        self._decided = threading.Event()
        """Whether it is known what the run has failed of."""
        self._verdict: Verdict | None = None
        self._verdict_s = 0.0
        self._verdict_run = 0
        self._news_s: float | None = None
        """When a failure or a loss was first heard of."""
        self._stillness = Stillness()
        self._said: Sign | None = None
        self._used_s: dict[int, float] = {}
        self._due_s = 0.0
        self._stopping = False
        self._mail: deque[dict[str, Any]] = deque()
        self._selector = selectors.DefaultSelector()
        self._bell, ring = socket.socketpair()
        self._ring = ring
        self._selector.register(self._bell, selectors.EVENT_READ, self._answer_bell)
        self._hook_before = sys.excepthook
        self._thread = threading.Thread(target=self._work, daemon=True, name="fulmen-watch")

    # ------------------------------------------------------------------------------ called by the main thread

    def start(self) -> None:
        """Begin."""
        self._hook_before, sys.excepthook = sys.excepthook, self._on_uncaught
        self._thread.start()
        if self._tell_parent is not None:
            self._tell_parent("", [])

    def enter(self, at: Callable[[], str], hooks: Iterable[str], outer: int) -> None:
        """A run begins, inside so many calls; `at` says in few words how far it has come, whenever asked."""
        if self._depth == 0:
            self._at, self._hooks, self._outer, self._error = at, frozenset(hooks), outer, None
            self._told.clear()
            self._decided.clear()
            self._run += 1
        self._depth += 1
        self._wake()

    def leave(self) -> None:
        """A run ends, in whatever way."""
        self._depth -= 1
        if self._depth == 0:
            self.announce({"left": self._run})

    def fail(self, error: BaseException) -> None:
        """The run has failed, and may still have something to do before it ends."""
        if self._depth != 1 or self._error is not None:
            return  # a run within a run is the business of the outer one
        self._error = error
        said = "".join(traceback.format_exception_only(type(error), error)).strip()
        whole = "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
        place = of_error(error, self._hooks)
        self.failure = Failure(self._run, self._at(), said, whole, place)
        self.announce({"failed": asdict(self.failure)})
        if place.wait is not None:  # others have failed before, and may have nobody but this process to tell
            self._decided.wait(3 * GATHER_S)

    def stop(self) -> None:
        """End, with a word to the others."""
        self._stopping = True
        self._wake()
        self._thread.join(ANSWER_S)
        if sys.excepthook == self._on_uncaught:
            sys.excepthook = self._hook_before

    def forget(self) -> None:
        """In a fork of the process: nothing of this is its own."""
        for end in (self._bell, self._ring, self._selector):
            end.close()

    def _on_uncaught(
        self, kind: type[BaseException], error: BaseException, where: TracebackType | None
    ) -> None:
        if error is self._error:
            self.announce({"uncaught": True})
            if self._told.wait(ANSWER_S):
                return
        self._hook_before(kind, error, where)

    def _wake(self) -> None:
        with suppress(OSError):
            self._ring.send(b"!")

    @abstractmethod
    def announce(self, message: dict[str, Any]) -> None:
        """Let it be known at once: this process may end the next moment."""

    # -------------------------------------------------------------------------------------------- the thread

    def _work(self) -> None:
        interval_s = BEAT_S * max(1.0, len(self._everybody) / PROCESSES_PER_BEAT)
        last_s = time.monotonic()
        last_word = "blind"
        try:
            while not self._stopping:
                for key, _ in self._selector.select(max(0.0, self._due_s - time.monotonic())):
                    key.data()
                now_s = time.monotonic()
                if now_s < self._due_s:
                    continue
                if now_s - last_s > interval_s + AWAY_S:
                    for each in self._seen.values():
                        each.heard_s = max(each.heard_s, now_s)
                last_s, self._due_s = now_s, now_s + interval_s
                self._beat(now_s)
            last_word = "over"
        except Exception:
            left = str(self._own) if self._own.rank else "The run"
            speak(f"{left} is watched no more. If it hangs, nobody will know:\n{traceback.format_exc()}")
        finally:
            self._send({last_word: True})
            self.forget()

    def _answer_bell(self) -> None:
        self._bell.recv(64)
        while self._mail:
            self._take(self._own.rank, self._mail.popleft())
        self._due_s = 0.0

    def _beat(self, now_s: float) -> None:
        sign = self._look()
        plain = replace(sign, still_s=0.0)
        self._send({"still_s": sign.still_s} if plain == self._said else {"sign": asdict(sign)})
        self._said = plain
        own = self._seen[self._own.rank]
        own.heard_s = now_s
        if sign.inside or not own.sign.inside:
            own.sign = sign
        self._hear_those_at_work(now_s)
        if self._verdict is None:
            self._judge(now_s)
        if self._waits_in_vain(sign, now_s):
            self._end()

    def _look(self) -> Sign:
        run, inside = self._run, self._depth > 0
        place = of_main_thread(self._hooks, self._outer) if inside else Place([])
        at = self._at() if inside else ""
        return Sign(run, inside, at, self._stillness.last(place, f"{run} {at}"), place)

    def _hear_those_at_work(self, now_s: float) -> None:
        """Whoever is silent and at work is in a function that keeps the interpreter to itself, or starved."""
        for rank, each in self._seen.items():
            silent_s = now_s - each.heard_s
            if each.lost or silent_s < self._limits.patience_s / 2 or each.process.realm != self._own.realm:
                self._used_s.pop(rank, None)
                continue
            glance = Glance.at(each.process.pid)
            used_s = glance.processor_s - self._used_s.setdefault(rank, glance.processor_s)
            if glance.would_go_on or used_s > IDLE_SHARE * silent_s:
                each.heard_s = now_s

    def _waits_in_vain(self, sign: Sign, now_s: float) -> bool:
        verdict, limits = self._verdict, self._limits
        if verdict is None or not sign.inside or sign.run != self._verdict_run:
            return False
        if verdict.kind in (Kind.SILENT, Kind.STUCK):
            return True
        since_s = now_s - self._verdict_s
        knows = self._error is not None or verdict.kind is Kind.FAILED
        limit_s = limits.patience_s if knows else limits.after_death_s
        return since_s >= limit_s or min(since_s, sign.still_s) >= limits.settle_s

    def _take(self, rank: int, message: dict[str, Any]) -> None:
        """Hear what a process says of itself."""
        each = self._seen[rank]
        each.heard_s = now_s = time.monotonic()
        if "sign" in message:
            sign = sign_of(message["sign"])
            if sign.run > each.sign.run or each.sign.inside:  # else it was on its way when the run was left
                each.sign = sign
        elif "still_s" in message:
            each.sign = replace(each.sign, still_s=message["still_s"])
        elif "left" in message:
            each.sign = replace(each.sign, run=message["left"], inside=False, still_s=0.0)
        elif "over" in message:
            each.lost, each.sign = True, replace(each.sign, inside=False)
        elif "blind" in message:
            each.blind = True
        elif "failed" in message:
            each.failure = failure_of(message["failed"])
            each.failed_s = now_s
            self._news_s = self._news_s or now_s

    def _lose(self, rank: int) -> None:
        """The connection to a process was closed."""
        each = self._seen[rank]
        each.lost = True
        if each.died:
            self._news_s = self._news_s or time.monotonic()
        self._due_s = 0.0

    def _conclude(self, verdict: Verdict, now_s: float) -> None:
        self._verdict, self._verdict_s, self._verdict_run = verdict, now_s, self._run

    def _may_conclude(self, verdict: Verdict | None, now_s: float) -> bool:
        if verdict is None:
            return False
        if verdict.kind in (Kind.DIED, Kind.FAILED) and self._news_s is not None:
            left_s = self._news_s + GATHER_S - now_s
            if left_s > 0:
                self._due_s = min(self._due_s, now_s + left_s)
                return False
        return True

    def _say(self, text: str, ranks: list[int]) -> None:
        if self._tell_parent is None:
            speak(text)
        else:
            self._tell_parent(text, ranks)

    def _kill_silent(self, ranks: Iterable[int]) -> None:
        """End those of this host that cannot end by themselves."""
        for rank in ranks:
            if self._everybody[rank].realm == self._own.realm:
                with suppress(OSError):
                    os.kill(self._everybody[rank].pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    @abstractmethod
    def _judge(self, now_s: float) -> None:
        """Reach a verdict, if there is one."""

    @abstractmethod
    def _send(self, message: dict[str, Any]) -> None:
        """Tell the others."""

    @abstractmethod
    def _end(self) -> None:
        """End this process."""


def sign_of(said: dict[str, Any]) -> Sign:
    """What was sent as a dict."""
    return Sign(**{**said, "place": Place(**said["place"])})


def failure_of(said: dict[str, Any]) -> Failure:
    """What was sent as a dict."""
    return Failure(**{**said, "place": Place(**said["place"])})


def speak(text: str) -> None:
    """Print, unless what would print is stuck as well."""
    speaker = threading.Thread(target=report.log.error, args=("%s", text), daemon=True)
    speaker.start()
    speaker.join(ANSWER_S)
