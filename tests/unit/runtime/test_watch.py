"""Two watchers in one process: what one says, the other hears, and one of them speaks."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fulmen.runtime import watch
from fulmen.runtime.collectives import Alone
from fulmen.runtime.watch import ends, watcher
from fulmen.runtime.watch.ends import Centre, Member
from fulmen.runtime.watch.verdicts import Limits, Process
from fulmen.runtime.watch.wire import LONGEST_MESSAGE_BYTES, Wire
from fulmen.runtime.world import World

WAIT_S = 10.0
TOKEN = "a token"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is printed; the hook for errors that nobody catches is put back."""
    said: list[str] = []
    monkeypatch.setattr(watcher, "speak", said.append)
    monkeypatch.setattr(sys, "excepthook", lambda *error: said.append(f"uncaught {error[1]}"))
    return said


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """That a process would have been ended."""
    said: list[str] = []
    monkeypatch.setattr(ends, "exit_at_once", lambda code: said.append("ended"))
    return said


@pytest.fixture
def pair(told: list[str], ended: list[str]) -> Iterator[tuple[Centre, Member]]:
    """Ranks 0 and 1."""
    everybody = [Process(rank, os.getpid(), "host", f"realm {rank}") for rank in range(2)]
    listener = socket.create_server(("127.0.0.1", 0))
    centre = Centre(everybody, Limits(30.0), listener, TOKEN)
    wire = Wire(socket.create_connection(listener.getsockname()))
    wire.send({"token": TOKEN, "rank": 1})
    member = Member(everybody, everybody[1], Limits(30.0), wire)
    both = (centre, member)
    for each in both:
        each.start()
        each.enter(lambda: "step 3", ["training_step"], 0)
    wait_until(lambda: all(seen.sign.inside for each in both for seen in each._seen.values()))
    yield both
    for each in both:
        each.stop()


def wait_until(is_so: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


def training_step() -> None:
    raise ValueError("oops")


def fail(watcher: Any) -> ValueError:
    with pytest.raises(ValueError, match="oops") as caught:
        training_step()
    watcher.fail(caught.value)
    return caught.value


@pytest.mark.parametrize("rank", [0, 1])
def test_error_that_nobody_catches_is_told_once(
    pair: tuple[Centre, Member], rank: int, told: list[str]
) -> None:
    error = fail(pair[rank])
    pair[rank].fail(RuntimeError("in consequence"))
    pair[rank].leave()
    sys.excepthook(type(error), error, error.__traceback__)
    assert len(told) == 1
    assert f"Rank {rank} (pid {os.getpid()} on host) failed at step 3, in `training_step`" in told[0]
    assert told[0].count("ValueError: oops") == 1
    assert f"rank {1 - rank}: " in told[0]


def test_error_that_is_caught_is_not_told(
    pair: tuple[Centre, Member], told: list[str], ended: list[str]
) -> None:
    for each in pair:
        fail(each)
        each.leave()
    wait_until(pair[0]._decided.is_set)
    for each in pair:
        each.enter(lambda: "step 4", [], 0)
    wait_until(lambda: pair[0]._verdict is None)
    assert not told
    assert not ended


def test_other_errors_are_told_as_ever(pair: tuple[Centre, Member], told: list[str]) -> None:
    fail(pair[1])
    sys.excepthook(KeyError, KeyError("another"), None)
    assert told == ["uncaught 'another'"]


def test_process_whose_connection_is_cut_has_died(
    pair: tuple[Centre, Member], told: list[str], ended: list[str]
) -> None:
    pair[1]._wire.connection.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: len(told) == 2)  # each believes that it is the other
    assert {text.partition(" died")[0] for text in told} == {
        f"Rank {r} (pid {os.getpid()} on host)" for r in (0, 1)
    }


def test_who_has_left_its_run_may_end(pair: tuple[Centre, Member], told: list[str]) -> None:
    pair[1].leave()
    pair[1].stop()
    wait_until(lambda: pair[0]._seen[1].lost)
    assert not pair[0]._seen[1].died
    time.sleep(watcher.BEAT_S)
    assert not told


def test_process_that_was_never_heard_of_is_not_silent(told: list[str], ended: list[str]) -> None:
    everybody = [Process(rank, os.getpid(), "host", f"realm {rank}") for rank in range(2)]
    centre = Centre(everybody, Limits(0.5), socket.create_server(("127.0.0.1", 0)), TOKEN)
    centre.start()
    centre.enter(lambda: "step 3", [], 0)
    time.sleep(3 * watcher.BEAT_S)
    centre.stop()
    assert not told
    assert not ended


def test_strangers_are_not_heard(pair: tuple[Centre, Member]) -> None:
    stranger = Wire(socket.create_connection(pair[0]._listener.getsockname()))
    stranger.send({"token": "a guess", "rank": 1})
    assert stranger.receive() is None
    stranger.close()
    assert list(pair[0]._wires) == [1]


def test_messages_come_whole() -> None:
    ours, theirs = socket.socketpair()
    wire = Wire(theirs)
    ours.sendall(b'{"a": 1}\n{"b"')
    assert wire.receive() == [{"a": 1}]
    ours.sendall(b": 2}\n")
    assert wire.receive() == [{"b": 2}]
    ours.sendall(b"no message\n")
    assert wire.receive() is None
    ours.close()
    assert wire.receive() is None
    wire.send({"to": "nobody"})
    wire.close()
    assert LONGEST_MESSAGE_BYTES > 1 << 20


@pytest.mark.parametrize("said", [b"7\n", b"[1]\n", b"[" * 100_000 + b"\n", b"\xff\n", b"GET / HTTP/1.1\r\n"])
def test_what_strangers_say_is_no_message(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = Wire(theirs)
        ours.sendall(said)
        while (heard := wire.receive()) == []:
            pass
        assert heard is None


def make_blind(member: Any) -> None:
    member._at = lambda: 1 // 0
    member._thread.join(WAIT_S)
    assert not member._thread.is_alive()


@pytest.mark.parametrize("rank", [0, 1])
def test_process_whose_watch_fails_says_so_and_is_left_alone(
    pair: tuple[Centre, Member], rank: int, told: list[str], ended: list[str]
) -> None:
    make_blind(pair[rank])
    (said,) = told
    who = f"Rank 1 (pid {os.getpid()} on host)" if rank else "The run"
    assert said.startswith(f"{who} is watched no more.")
    assert "ZeroDivisionError" in said
    other = pair[1 - rank]
    if rank == 0:
        other._thread.join(WAIT_S)  # it has nobody left to report to
        assert not other._thread.is_alive()
    else:
        wait_until(lambda: other._seen[1].lost)
    time.sleep(2 * watcher.BEAT_S)
    error = fail(other)
    for each in pair:
        each.leave()
    sys.excepthook(type(error), error, error.__traceback__)
    assert len(told) == 2
    assert "oops" in told[1]
    assert not ended


def test_nobody_watches_a_process_alone() -> None:
    watch.begin(World(), Alone(), address="nowhere", hang_timeout_s=30.0)
    with watch.watched(str, []):
        pass
    watch.note(ValueError("oops"))
    watch.stop()
