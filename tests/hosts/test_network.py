"""The hosts of the tests themselves."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .network import Host, Network, running

PATIENCE_S = 60.0
LISTEN = (
    "import socket; s = socket.create_server(('', 5000)); print('open', flush=True); s.accept()[0].recv(1)"
)
CALL = "import socket; socket.create_connection(('beta', 5000), timeout=1).send(b'!')"


def wait_until(is_so: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)


def start(host: Host, folder: Path, program: str) -> Callable[[], int]:
    job = host.start(sys.executable, "-IS", "-c", program, folder=folder, variables={})
    return lambda: job.finish(PATIENCE_S)


def test_hosts_reach_each_other_by_name_as_long_as_they_are_joined(network: Network, tmp_path: Path) -> None:
    alpha, beta = network.switch_on("alpha"), network.switch_on("beta")
    assert alpha.run("cat", "/proc/sys/kernel/hostname") == "alpha\n"
    server = beta.start(sys.executable, "-IS", "-c", LISTEN, folder=tmp_path, variables={})
    wait_until(lambda: "open" in server.said)
    assert len(beta.processes()) == 1
    assert alpha.processes() == []
    network.cut_off("beta")
    assert start(alpha, tmp_path, CALL)() != 0
    assert server.process.poll() is None
    network.join("beta")
    wait_until(lambda: start(alpha, tmp_path, CALL)() == 0)
    assert server.finish(PATIENCE_S) == 0


def test_with_a_host_all_its_processes_end(network: Network, tmp_path: Path) -> None:
    host = network.switch_on("alpha")
    wait = start(
        host, tmp_path, "import os, time; os.fork(); os.setsid() if os.getppid() else 0; time.sleep(600)"
    )
    wait_until(lambda: len(host.processes()) == 2)
    host.kill()
    assert wait() == -9
    wait_until(lambda: host.processes() == [])
    again = network.switch_on("alpha")
    assert start(again, tmp_path, "import socket; socket.create_server(('alpha', 5000))")() == 0


class Trouble(Exception):
    """What a test might raise."""


def test_nothing_of_it_is_left(network: Network, tmp_path: Path) -> None:
    before = os.listdir("/sys/class/net")
    hosts: list[Host] = []

    def fail() -> None:
        with running(tmp_path, ("delta", "epsilon")) as another:
            hosts.extend(map(another.switch_on, ("delta", "epsilon")))
            start(hosts[0], tmp_path, "import time; time.sleep(600)")
            wait_until(lambda: len(hosts[0].processes()) == 1)
            assert os.listdir("/sys/class/net") == before
            raise Trouble

    with pytest.raises(Trouble):
        fail()
    assert [host.first.poll() for host in hosts] == [-9, -9]
    wait_until(lambda: [host.processes() for host in hosts] == [[], []])
