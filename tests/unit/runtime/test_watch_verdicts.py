"""What ends a run is certain, and who is slow is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fulmen.runtime.watch.place import Place
from fulmen.runtime.watch.verdicts import (
    Failure,
    Kind,
    Limits,
    Process,
    Seen,
    Sign,
    Verdict,
    describe,
    reach,
)

LIMITS = Limits(30.0)
NOW_S = 1000.0
LONG_S = LIMITS.patience_s + 1
TORCHS = (torch.nn.__file__, 3, "wait")
USERS = ("/home/me/train.py", 12, "training_step")


def waiting(operation: str, still_s: float = LONG_S, run: int = 1) -> Sign:
    place = Place([USERS, TORCHS], "training_step", operation)
    return Sign(run, inside=True, at="epoch 0, step 3", still_s=still_s, place=place)


BUSY = replace(waiting("nothing"), still_s=0.0, place=Place([USERS], "training_step"))
BETWEEN_RUNS = Sign(run=1)


def seen(*signs: Sign, silent_s: float = 0.0) -> dict[int, Seen]:
    return {
        rank: Seen(Process(rank, 100 + rank, "host", "realm"), sign, NOW_S - silent_s)
        for rank, sign in enumerate(signs)
    }


def failure(error: str, wait: str | None = None) -> Failure:
    return Failure(
        1, "epoch 0, step 3", error, f"Traceback of {error}", Place([USERS], "training_step", wait)
    )


def verdict(known: dict[int, Seen], *, all_are_seen: bool = True) -> Verdict | None:
    return reach(known, NOW_S, LIMITS, all_are_seen=all_are_seen)


def test_limits_leave_time_to_end_in() -> None:
    assert LIMITS.patience_s < 30 - 5
    assert LIMITS.after_death_s + LIMITS.settle_s < 30
    assert LIMITS.after_death_s < 10


@pytest.mark.parametrize(
    "signs",
    [
        pytest.param([BUSY, BUSY], id="all work"),
        pytest.param([waiting("save"), BUSY], id="a rank takes long and another waits for it"),
        pytest.param([waiting("save"), BETWEEN_RUNS, BUSY], id="a rank has left, but one still works"),
        pytest.param([waiting("save"), waiting("save")], id="a slow network delays an operation"),
        pytest.param([waiting("save"), waiting("load", still_s=1.0)], id="different waits of a moment"),
        pytest.param([waiting("save", run=2), BETWEEN_RUNS], id="a rank has not come to this run yet"),
        pytest.param([waiting("save"), Sign()], id="a rank has not come to its first run yet"),
        pytest.param([BETWEEN_RUNS, BETWEEN_RUNS], id="between runs"),
    ],
)
def test_these_may_go_on(signs: list[Sign]) -> None:
    assert verdict(seen(*signs)) is None


def test_nothing_is_concluded_from_a_process_whose_watch_has_failed() -> None:
    known = seen(waiting("save"), waiting("load"), BETWEEN_RUNS)
    assert verdict(known) is not None
    known[1].blind = known[1].lost = True
    assert verdict(known) is None
    known[1].heard_s = 0.0
    assert verdict(known) is None
    known[2].sign, known[2].lost = BUSY, True
    died = Verdict(Kind.DIED, [2])
    assert verdict(known) == died
    assert "rank 1: is watched no more" in describe(died, known, NOW_S)


@pytest.mark.parametrize(
    "signs",
    [
        pytest.param([waiting("save"), waiting("load")], id="different operations"),
        pytest.param([waiting("save"), waiting("save"), waiting("load")], id="one of three"),
        pytest.param([waiting("save", run=2), waiting("save")], id="different runs"),
        pytest.param([waiting("save"), BETWEEN_RUNS], id="the other has left this run"),
    ],
)
def test_these_are_stuck(signs: list[Sign]) -> None:
    assert verdict(seen(*signs)) == Verdict(Kind.STUCK, [])


def test_who_does_not_see_all_calls_nobody_stuck() -> None:
    assert verdict(seen(waiting("save"), waiting("load")), all_are_seen=False) is None


def test_who_waits_for_a_process_that_has_ended_does_not_wait_for_long() -> None:
    known = seen(waiting("save", still_s=LIMITS.settle_s), BETWEEN_RUNS)
    assert verdict(known) is None
    known[1].lost = True
    assert verdict(known) == Verdict(Kind.STUCK, [])


def test_process_that_ends_inside_a_run_has_died() -> None:
    known = seen(BUSY, BUSY, BETWEEN_RUNS)
    known[1].lost = known[2].lost = True
    assert verdict(known) == Verdict(Kind.DIED, [1])


def test_process_that_has_failed_and_ended_has_failed() -> None:
    known = seen(BUSY, BUSY)
    known[1].failure, known[1].lost = failure("oops"), True
    assert verdict(known) == Verdict(Kind.FAILED, [1])


def test_first_to_fail_is_to_blame_unless_it_waited_for_others() -> None:
    known = seen(BUSY, BUSY, BUSY)
    known[0].failure, known[0].failed_s = failure("closed by peer", "the gradients"), 1.0
    known[1].failure, known[1].failed_s = failure("oops"), 3.0
    known[2].failure, known[2].failed_s = failure("later"), 4.0
    assert verdict(known) == Verdict(Kind.FAILED, [1])


def test_death_explains_a_failure() -> None:
    known = seen(BUSY, BUSY)
    known[0].failure = failure("closed by peer", "the gradients")
    known[1].lost = True
    assert verdict(known) == Verdict(Kind.DIED, [1])


def test_same_error_is_that_of_all() -> None:
    known = seen(BUSY, BUSY)
    known[0].failure = known[1].failure = failure("oops")
    assert verdict(known) == Verdict(Kind.FAILED, [0, 1])
    told = describe(Verdict(Kind.FAILED, [0, 1]), known, NOW_S)
    assert told.startswith("Ranks 0-1 failed at epoch 0, step 3, in `training_step`:")
    assert told.count("Traceback of oops") == 1


def test_silence_ends_a_run_and_nothing_else() -> None:
    known = seen(BUSY, BUSY)
    known[1].heard_s = NOW_S - LIMITS.patience_s + 0.1
    assert verdict(known) is None
    known[1].heard_s = NOW_S - LONG_S
    assert verdict(known) == Verdict(Kind.SILENT, [1])
    assert verdict(seen(BETWEEN_RUNS, BETWEEN_RUNS, silent_s=LONG_S)) is None


def test_words_on_a_failure() -> None:
    known = seen(waiting("the gradients"), BUSY, waiting("the gradients"), BUSY)
    known[1].failure = failure("oops")
    told = describe(Verdict(Kind.FAILED, [1]), known, NOW_S).splitlines()
    assert told[0] == "Rank 1 (pid 101 on host) failed at epoch 0, step 3, in `training_step`:"
    assert told[2:4] == ["Traceback of oops", "The others:"]
    user = "(/home/me/train.py:12, training_step)"
    assert told[4:] == [
        f"  ranks 0, 2: waits at epoch 0, step 3, in `training_step`: the gradients {user}",
        f"  rank 3: goes on at epoch 0, step 3, in `training_step` {user}",
    ]


def test_words_on_a_loss() -> None:
    known = seen(BETWEEN_RUNS, BUSY)
    known[1].heard_s = NOW_S - 20
    told = describe(Verdict(Kind.SILENT, [1]), known, NOW_S)
    assert told.startswith("Rank 1 (pid 101 on host) is stuck: nothing was heard of it for 20 s")
    assert 'File "/home/me/train.py", line 12, in training_step' in told
    assert "rank 0: has left the run" in told


def test_words_on_a_loss_on_another_host() -> None:
    known = seen(BETWEEN_RUNS, BUSY, BUSY)
    for rank in (1, 2):
        known[rank] = replace(known[rank], process=Process(rank, 100, "b", "realm of b"), heard_s=NOW_S - 20)
    told = describe(Verdict(Kind.SILENT, [1, 2]), known, NOW_S)
    assert told.count("is not to be reached: nothing was heard of it for 20 s. Its host or the network") == 2
    known[2].heard_s = NOW_S  # so that the host is there
    told = describe(Verdict(Kind.SILENT, [1]), known, NOW_S)
    assert "Rank 1 (pid 100 on b) is stuck: nothing was heard of it for 20 s" in told


def test_words_on_all_that_are_stuck() -> None:
    told = describe(Verdict(Kind.STUCK, []), seen(waiting("save"), waiting("load")), NOW_S)
    assert "rank 0: waits at epoch 0, step 3, in `training_step`: save" in told
    assert "rank 1: waits at epoch 0, step 3, in `training_step`: load" in told
    assert told.count('    File "/home/me/train.py", line 12, in training_step') == 2
