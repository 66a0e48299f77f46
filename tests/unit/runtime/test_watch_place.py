"""Where a process is, seen from one of its other threads."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import distributed

from fulmen.runtime import collectives
from fulmen.runtime.collectives import ProcessGroup, last_call
from fulmen.runtime.watch import place
from fulmen.runtime.watch.place import Place, Stillness, of_error, of_main_thread


def seen_from_outside(outer: int = 0) -> Place:
    found: list[Place] = []
    thread = threading.Thread(target=lambda: found.append(of_main_thread(["training_step", "other"], outer)))
    thread.start()
    thread.join()
    return found[0]


def training_step() -> Place:
    return seen_from_outside()


def test_main_thread_is_found_in_its_hook() -> None:
    found = training_step()
    assert found.hook == "training_step"
    assert found.wait is None
    functions = [function for _, _, function in found.stack]
    assert functions[functions.index("training_step") + 1] == "seen_from_outside"
    assert f'File "{__file__}", line ' in found.describe()
    shorter = seen_from_outside(outer=5)
    assert "training_step" not in [function for _, _, function in shorter.stack]


def raised_by(function: Callable[..., Any], *arguments: Any) -> BaseException:
    try:
        function(*arguments)
    except (RuntimeError, TypeError, ValueError) as error:
        return error
    raise AssertionError("It raises nothing.")


def test_error_tells_its_hook_and_the_users_line() -> None:
    def other() -> None:
        torch.nn.functional.linear(torch.ones(1, 2), torch.ones(3, 3))

    found = of_error(raised_by(other), ["other"])
    assert found.hook == "other"
    assert found.wait is None
    line = found.users_line()
    assert line is not None
    assert line[2] == "other"


def test_operations_with_others_are_told_by_the_stack() -> None:
    found = of_error(raised_by(distributed.barrier), [])  # there is no group
    assert found.wait == "barrier of torch.distributed"


def test_own_operations_are_told_by_name_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "get_world_size", lambda group: 2)
    monkeypatch.setattr(distributed, "get_backend", lambda group: "gloo")
    group = ProcessGroup()
    before = last_call.number
    found = of_error(raised_by(group.barrier, "save"), [])
    assert last_call.number == before + 1
    assert found.wait == f"barrier 'save', operation {before + 1} of the run's own"


def test_backward_waits_for_the_gradients_of_others() -> None:
    found = of_error(raised_by(torch.ones(1).backward), [])
    assert found.wait == "the gradients of the others"


def test_numbers_of_an_operation_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    last_call.note("all_reduce")
    found = of_error(raised_by(collectives.read, torch.empty(2, device="meta")), [])
    assert found.wait == f"all_reduce, operation {last_call.number} of the run's own"
    assert found.may_spin


def test_packing_is_work_and_no_wait() -> None:
    send: Any = vars(distributed.distributed_c10d)["_object_to_tensor"]
    found = of_error(raised_by(send, threading.Lock(), torch.device("cpu"), None), [])
    assert found.stack[-1][2] == "_object_to_tensor"
    assert found.wait is None


def test_a_thread_may_spin_in_an_operation_but_computes_in_backward() -> None:
    assert of_error(raised_by(distributed.barrier), []).may_spin
    assert not of_error(raised_by(torch.ones(1).backward), []).may_spin


def test_still_is_who_waits_in_one_place_and_computes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 100.0, "main": 5.0, "others": 2.0}
    monkeypatch.setattr(time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(time, "process_time", lambda: clock["main"] + clock["others"] + 1.0)
    monkeypatch.setattr(time, "thread_time", lambda: 1.0)
    monkeypatch.setattr(place, "_main_thread_s", lambda: clock["main"])
    stillness = Stillness()

    def after(
        passed_s: float, wait: str | None, at: str = "step 1", *,
        main: float = 0.0, others: float = 0.0, may_spin: bool = False,
    ) -> float:  # fmt: skip
        clock["now"] += passed_s
        clock["main"] += main
        clock["others"] += others
        return stillness.last(Place([], wait=wait, may_spin=may_spin), at)

    little, much = place.IDLE_SHARE / 2, place.IDLE_SHARE * 2
    assert after(1, "save") == 0
    assert after(1, "save") == 1
    assert after(1, "save", main=little) == 2
    assert after(1, "save", main=much) == 0
    assert after(1, "save") == 1
    assert after(1, "save", others=much) == 0
    assert after(1, "save", may_spin=True, main=1.0) == 1
    assert after(1, "save", may_spin=True, main=1.0, others=little) == 2
    assert after(1, "save", may_spin=True, main=1.0, others=much) == 0
    assert after(1, "save", main=little) == 1
    assert after(1, "load") == 0
    assert after(1, "load", at="step 2") == 0
    assert after(1, None) == 0
    assert after(1, None) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, all threads are one")
def test_the_main_threads_own_time() -> None:
    def burn() -> float:
        begun_s = time.thread_time()
        while time.thread_time() < begun_s + 0.2:
            pass
        return place._main_thread_s()

    before_s = place._main_thread_s()
    thread = threading.Thread(target=burn)
    thread.start()
    thread.join()
    assert place._main_thread_s() < before_s + 0.15
    assert burn() >= before_s + 0.2
