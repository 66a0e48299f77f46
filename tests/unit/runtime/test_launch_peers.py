"""Processes beside this one, small ones: waited for, told apart, and ended."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fulmen.base import report
from fulmen.errors import ConfigError, DistributedError
from fulmen.runtime import rendezvous
from fulmen.runtime.clusters import LightningEnvironment
from fulmen.runtime.launch import Subprocesses, hydra, launcher, peers, subprocesses
from fulmen.runtime.launch.launcher import Way
from fulmen.runtime.launch.peers import Peers

FINE = "pass"
FAILS = "raise SystemExit(3)"
STAYS = "import time; print('up', flush=True); time.sleep(60)"
WORKS = "import time\nwhile time.process_time() < 2: pass"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + STAYS


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_given_up", None)
    monkeypatch.setattr(launcher, "_settled", {})
    for limit in ("GRACE_S", "END_OF_SCRIPT_S", "END_OF_FAILURE_S", "STOP_S"):
        monkeypatch.setattr(peers, limit, 0.5)


@pytest.fixture
def start() -> Iterator[Any]:
    """Start processes that run these programs, from rank 1 on."""
    children: list[subprocess.Popen] = []

    def start_these(*programs: str) -> Peers:
        for program in programs:
            child = subprocess.Popen([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE)
            children.append(child)
            if STAYS in program:
                assert child.stdout is not None
                child.stdout.readline()
        return Peers(dict(enumerate(children, start=1)))

    yield start_these
    for child in children:
        assert child.returncode is not None
        assert child.stdout is not None
        child.stdout.close()


def fail_inside(group: Peers) -> None:
    with pytest.raises(ZeroDivisionError), group.at_work():
        raise ZeroDivisionError


def await_failure(group: Peers) -> None:
    give_up_s = time.monotonic() + 20
    while rendezvous._given_up is None:
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


def test_peers_that_end_well(
    start: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "END_OF_SCRIPT_S", 20.0)
    assert start(FINE, FINE).end()
    assert not caplog.records


def test_failure_of_a_peer_is_told_at_once_and_later(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    group = start(STAYS, FAILS)
    await_failure(group)
    failure = caplog.records[0].message
    assert failure.startswith("Rank 2 (pid ")
    assert failure.endswith(") ended with exit code 3.")
    assert rendezvous._given_up == failure
    with pytest.raises(DistributedError, match=r"Rank 2 .* cannot do without it"), group.at_work():
        pytest.fail("was let in")
    assert not group.end()


def test_peers_that_are_late_are_ended_and_named(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert not start(STAYS, FINE, DEAF).end()
    assert [record.message for record in caplog.records] == [
        "Rank 1 and Rank 3 did not come to the script's end: stopped after 0.5 idle s."
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_peers_that_are_at_work_are_waited_for(
    start: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "END_OF_SCRIPT_S", 1.0)  # half of what the work takes; a busy machine is slow
    assert start(WORKS, FINE).end()
    assert not caplog.records


def test_after_an_error_here_nobody_else_is_to_blame(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    group = start(STAYS)
    fail_inside(group)
    assert group.end()
    assert not caplog.records


def test_one_way_to_start_processes_in_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report.rank_zero_only, "rank", 0)
    for _ in range(2):
        launcher.settle_on(Way.FUNCTION)
    with pytest.raises(ConfigError, match="different ways") as caught:
        launcher.settle_on(Way.SCRIPT)
    assert f"expected: {Way.FUNCTION.value}" in str(caught.value)
    monkeypatch.setattr(hydra, "output_folder", lambda: "of another job")
    launcher.settle_on(Way.SCRIPT)
    monkeypatch.setattr(hydra, "output_folder", lambda: "of a third job")
    monkeypatch.setenv(report.RANK_VARIABLE, "1")
    with pytest.raises(ConfigError, match="different ways"):
        launcher.settle_on(Way.FUNCTION)
    launcher.settle_on(Way.SCRIPT)


def test_one_group_of_processes_for_a_script(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    group = start(STAYS)
    monkeypatch.setattr(subprocesses, "_peers", group)
    monkeypatch.setattr(subprocesses, "_started_for", (2, None))
    assert Subprocesses(LightningEnvironment(), 2).launch(max, 1, 2) == 2
    with pytest.raises(ConfigError, match="devices=2, as in the first run"):
        Subprocesses(LightningEnvironment(), 3).launch(max, 1, 2)
    fail_inside(group)
    group.end()
