"""Meeting and parting in one process: the group that results, and what stands in its way."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch.distributed

from fulmen.base import report
from fulmen.errors import ConfigError, DistributedError
from fulmen.runtime import ports, rendezvous
from fulmen.runtime.clusters import LightningEnvironment
from fulmen.runtime.world import World

distributed: Any = torch.distributed
ALONE = World()


@pytest.fixture(autouse=True)
def as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(rendezvous, "_stores", {})
    monkeypatch.setattr(rendezvous, "_times_met", Counter())
    monkeypatch.setattr(rendezvous, "_given_up", None)
    monkeypatch.setattr(ports, "_port", None)
    monkeypatch.setattr(ports, "_reserved", None)
    monkeypatch.setattr(report.rank_zero_only, "rank", 0)
    yield
    rendezvous.disconnect()


def connect(world: World = ALONE, **more: Any) -> None:
    settings: dict[str, Any] = {"backend": "gloo", "timeout": timedelta(seconds=20), "wait_s": 5.0}
    rendezvous.connect(LightningEnvironment(), world, **settings | more)


def test_group_comes_and_goes_and_comes(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        connect()
        assert (distributed.get_rank(), distributed.get_world_size()) == (0, 1)
        assert distributed.get_backend() == "gloo"
        rendezvous.disconnect()
        assert not distributed.is_initialized()
    rendezvous.disconnect()  # nothing is left to do
    said = f"1 process on 1 host: {socket.gethostname()} (rank 0); gloo"
    assert [record.message for record in caplog.records if record.name == "fulmen"] == [said, said]


def test_file_is_there_only_as_long_as_needed(tmp_path: Path) -> None:
    file = tmp_path / "meeting"
    for _ in range(2):
        connect(url=f"file://{file}")
        assert list(tmp_path.iterdir())
        rendezvous.disconnect()
        assert not list(tmp_path.iterdir())


LEAVES_A_FILE_BEHIND = """
import atexit, sys
from datetime import timedelta

atexit.register(lambda: open(sys.argv[1], "w").close())  # runs after all that fulmen does at exit
from fulmen.runtime import rendezvous
from fulmen.runtime.clusters import LightningEnvironment
from fulmen.runtime.world import World

rendezvous.connect(
    LightningEnvironment(), World(), backend="gloo", timeout=timedelta(seconds=20), url=f"file://{sys.argv[1]}"
)
"""


def test_nothing_is_written_to_the_file_after_parting(tmp_path: Path) -> None:
    file = tmp_path / "meeting"
    subprocess.run([sys.executable, "-c", LEAVES_A_FILE_BEHIND, file], check=True, timeout=100)
    assert file.read_bytes() == b""


def test_file_that_another_run_has_left_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "meeting"
    left = distributed.FileStore(str(file))
    left.set("meeting", "of before")
    left.set("of before/verdict", '{"present": [], "complaint": {"what": "nobody came"}}')
    connect(url=f"file://{file}")
    assert distributed.is_initialized()


@pytest.mark.parametrize("url", ["tcp://host:1", "file://relative", "/a/path"])
def test_urls_that_are_not_understood(url: str) -> None:
    with pytest.raises(ConfigError, match="cannot meet there"):
        connect(url=url)


def test_group_of_the_user_is_used_and_kept(tmp_path: Path) -> None:
    store = distributed.FileStore(str(tmp_path / "store"))
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    connect()
    rendezvous.disconnect()
    assert distributed.is_initialized()
    with pytest.raises(DistributedError, match=r"rank 0 of 1\n.*rank 1 of 2"):
        connect(World(rank=1, local_rank=1, size=2))
    distributed.destroy_process_group()


def test_port_that_somebody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    with ports.listen() as taken:
        monkeypatch.setenv("MASTER_PORT", str(taken.getsockname()[1]))
        with pytest.raises(DistributedError, match="cannot open port") as caught:
            connect(World(size=2))
    assert "MASTER_PORT" in str(caught.value)


def test_rank_zero_that_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with ports.listen() as closed:
        monkeypatch.setenv("MASTER_PORT", str(closed.getsockname()[1]))
    with pytest.raises(DistributedError, match=r"Rank 0 is not to be reached at 127\.0\.0\.1, port"):
        connect(World(rank=1, local_rank=1, size=2), wait_s=0.3)


def test_missing_ranks_are_named() -> None:
    with pytest.raises(DistributedError, match=r"ranks 1-2 of 3 did not, within 0\.2 s"):
        connect(World(size=3), wait_s=0.2)
    assert not distributed.is_initialized()


def test_waiting_ends_when_there_is_nobody_to_wait_for() -> None:
    rendezvous.give_up("Rank 1 ended with exit code 3.")
    with pytest.raises(DistributedError, match="exit code 3"):
        connect(World(size=2))


def test_reserved_port_is_nobody_elses() -> None:
    port = ports.reserve()
    assert ports.reserve() == port
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((ports.LOOPBACK, port))
    held = ports.take(port)
    assert held is not None
    held.close()


def test_guessed_ports_are_the_same_for_a_job_and_spread() -> None:
    guesses = {ports.guessed(f"{job}.0.0") for job in range(200)}
    assert ports.guessed("7.0.0") == ports.guessed("7.0.0")
    assert guesses <= set(ports.GUESSED)
    assert len(guesses) > 180
