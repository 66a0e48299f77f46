"""The cluster of the tests itself."""

from __future__ import annotations

import sys

import pytest

from .cluster import Cluster, running

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


class Trouble(Exception):
    """What a test might raise."""


def fail_beside(started: list[Cluster]) -> None:
    """Fail while a job of a further cluster is running that does not end when it is told to."""
    with running() as another:
        started.append(another)
        command = f"{sys.executable} -c '{DEAF}'"
        done = another.run("sbatch", "--parsable", "--output=/dev/null", "--wrap", command)
        another.wait_until(done.stdout.strip(), ["RUNNING"])
        assert len(another.leftovers()) > 4
        raise Trouble


def test_nothing_of_it_is_left(cluster: Cluster) -> None:
    started: list[Cluster] = []
    with pytest.raises(Trouble):
        fail_beside(started)
    assert started[0].leftovers() == []
    assert not started[0].folder.exists()
    assert cluster.run("srun", "-N2", "-n2", "true").returncode == 0  # the other one is there still
