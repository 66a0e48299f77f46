"""The group is ended at exit, unless that takes too long or the script has failed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fulmen.runtime import parting
from fulmen.runtime.parting import Parting


class Group:
    """Of `torch.distributed`; it ends when it may."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.may_end.set()
        self.has_ended = False
        self.fails = False

    def is_initialized(self) -> bool:
        return not self.has_ended

    def destroy_process_group(self) -> None:
        assert self.may_end.wait(20)
        if self.fails:
            raise RuntimeError("somebody is gone")
        self.has_ended = True


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    made = Group()
    monkeypatch.setattr(parting, "distributed", made)
    monkeypatch.setattr(parting, "PART_S", 0.3)
    monkeypatch.delattr(sys, "last_value", raising=False)
    yield made
    made.may_end.set()


def test_group_is_ended_at_exit(group: Group) -> None:
    end = Parting()
    end._at_exit()
    assert group.has_ended
    end.call_off()


def test_exit_does_not_wait_for_those_who_do_not_come(group: Group) -> None:
    group.may_end.clear()
    end = Parting()
    begun_s = time.monotonic()
    end._at_exit()
    assert time.monotonic() - begun_s >= 0.3
    assert not group.has_ended
    group.may_end.set()
    end.call_off()


def test_those_who_are_gone_are_no_error(group: Group) -> None:
    group.fails = True
    end = Parting()
    end._at_exit()
    assert not group.has_ended
    end.call_off()


@pytest.mark.parametrize("how", ["the script has failed", "something else has ended it", "it is called off"])
def test_nothing_is_ended(how: str, group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    destroyed: list[Any] = []
    monkeypatch.setattr(group, "destroy_process_group", lambda: destroyed.append(how))
    end = Parting()
    if how == "the script has failed":
        monkeypatch.setattr(sys, "last_value", ValueError("oops"), raising=False)
    elif how == "something else has ended it":
        group.has_ended = True
    else:
        end.call_off()
    end._at_exit()
    end.call_off()
    assert not destroyed
