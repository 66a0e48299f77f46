"""Where a process is, seen from one of its other threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import distributed

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
    except (RuntimeError, ValueError) as error:
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


def test_still_is_who_waits_in_one_place_and_computes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 100.0, "used": 5.0}
    monkeypatch.setattr(time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(time, "process_time", lambda: clock["used"])
    monkeypatch.setattr(time, "thread_time", lambda: 0.0)
    stillness = Stillness()

    def after(passed_s: float, wait: str | None, at: str = "step 1", used_s: float = 0.0) -> float:
        clock["now"] += passed_s
        clock["used"] += used_s
        return stillness.last((wait, at))

    assert after(1, "save") == 0
    assert after(1, "save") == 1
    assert after(1, "save", used_s=place.IDLE_SHARE / 2) == 2
    assert after(1, "save", used_s=place.IDLE_SHARE * 2) == 0
    assert after(1, "save") == 1
    assert after(1, "load") == 0
    assert after(1, "load", at="step 2") == 0
    assert after(1, None) == 0
    assert after(1, None) == 0
