"""The roll call, with threads for processes and a store in memory: everybody hears the same, and why."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch.distributed

from fulmen.errors import DistributedError
from fulmen.runtime import rollcall
from fulmen.runtime.rollcall import Presence, RollCall, describe, find_fault, name_missing, ranks_text

distributed: Any = torch.distributed
PATIENCE_S = 20.0


def presence(rank: int, *, size: int = 2, host: str = "a", pid: int = 1, mark: str = "") -> Presence:
    return Presence(
        rank=rank, local_rank=rank, node=0, size=size, host=host, pid=pid, mark=mark or f"{host}.{rank}.{pid}"
    )


def nothing_to_look_after() -> None:
    pass


def held(
    store: Any, *present: Presence, wait_s: float = 10.0, check: Callable[[], None] = nothing_to_look_after
) -> list[Any]:
    """What each of these hears when they all come to the store."""
    heard: list[Any] = [None] * len(present)

    def attend(index: int) -> None:
        try:
            heard[index] = RollCall(store, present[index], wait_s=wait_s, check=check).hold()
        except DistributedError as error:
            heard[index] = str(error)

    threads = [threading.Thread(target=attend, args=(index,)) for index in range(len(present))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)
    return heard


def test_all_hear_who_is_there() -> None:
    ranks = [presence(rank, size=3) for rank in (2, 0, 1)]
    heard = held(distributed.HashStore(), *ranks)
    assert len({name for name, _ in heard}) == 1
    assert all(present == [ranks[1], ranks[2], ranks[0]] for _, present in heard)


def test_one_process_waits_for_nobody() -> None:
    assert held(distributed.HashStore(), presence(0, size=1))[0][1] == [presence(0, size=1)]


def test_the_same_store_again_is_another_meeting() -> None:
    store = distributed.HashStore()
    names = set()
    for pid in range(3):
        heard = held(store, *(presence(rank, pid=pid) for rank in range(2)))
        assert [member.pid for member in heard[1][1]] == [pid, pid]
        names.add(heard[0][0])
    assert len(names) == 3


def test_what_others_have_left_is_not_believed() -> None:
    store = distributed.HashStore()
    held(store, presence(0), presence(1))
    [alone] = held(store, presence(1, pid=2), wait_s=-4.5)  # the meeting of before has a verdict
    assert "Rank 0 was waited for in vain by rank 1 on a." in alone


def test_missing_ranks_are_named_to_all() -> None:
    heard = held(
        distributed.HashStore(),
        presence(0, size=5),
        presence(1, size=5),
        presence(3, size=5, host="b"),
        wait_s=0.5,
    )
    assert len(set(heard)) == 1
    assert "ranks 2, 4 of 5 did not" in heard[0]
    assert "3 processes on 2 hosts: a (ranks 0-1), b (rank 3)" in heard[0]


def test_rank_that_is_there_twice_is_named_to_all() -> None:
    heard = held(
        distributed.HashStore(),
        presence(0, size=3),
        presence(1, size=3),
        presence(1, size=3, host="b", pid=7),
    )
    assert len(set(heard)) == 1
    assert "Several processes have the same rank." in heard[0]
    assert "rank 1 on a (pid 1); rank 1 on b (pid 7)" in heard[0]


def test_two_that_say_they_are_rank_zero() -> None:
    first, second = held(distributed.HashStore(), presence(0, size=3), presence(0, size=3, host="b", pid=7))
    assert first == second
    assert "rank 0 on a (pid 1)" in first
    assert "rank 0 on b (pid 7)" in first


def test_other_sizes_are_named_to_all() -> None:
    heard = held(
        distributed.HashStore(), presence(0, size=3), presence(1, size=3), presence(2, size=4, host="b")
    )
    assert len(set(heard)) == 1
    assert "rank 2 on b (pid 1) says 4" in heard[0]
    assert "expected: 3, as rank 0 says" in heard[0]


def test_one_prints_the_error_and_one_of_each_other_host_a_hint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hints: list[Any] = []
    monkeypatch.setattr(rollcall, "leave_to_others", lambda error, hint: hints.append(hint))
    on_b = [presence(rank, size=4, host="b") for rank in (2, 3)]
    held(distributed.HashStore(), presence(0, size=3), presence(1, size=3), *on_b)
    assert sorted(hints, key=str) == [None, None, "The processes of b end: rank 0 on a (pid 1) says why."]


def test_what_rank_zero_finds_out_meanwhile_is_told_to_all() -> None:
    def check() -> None:
        raise DistributedError("Rank 2 has died.")

    heard = held(distributed.HashStore(), presence(0, size=3), presence(1, size=3), check=check)
    assert heard == ["Rank 2 has died.", "Rank 2 has died."]


def test_faults_and_who_is_missing() -> None:
    assert find_fault([presence(0), presence(1)], 2) is None
    assert find_fault([presence(0)], 2) is None
    assert "rank 1 of 2 did not, within 3 s" in name_missing([presence(0)], 2, 3.0)["what"]


@pytest.mark.parametrize(
    ("ranks", "text"),
    [
        ([0], "rank 0"),
        ([0, 1], "ranks 0-1"),
        ([0, 1, 2, 5, 7, 8], "ranks 0-2, 5, 7-8"),
        ([3, 5], "ranks 3, 5"),
    ],
)
def test_ranks_in_words(ranks: list[int], text: str) -> None:
    assert ranks_text(ranks) == text


def test_hosts_in_words() -> None:
    assert describe([presence(0)]) == "1 process on 1 host: a (rank 0)"
    both = [presence(rank, size=4, host="ab"[rank // 2]) for rank in range(4)]
    assert describe(both) == "4 processes on 2 hosts: a (ranks 0-1), b (ranks 2-3)"
