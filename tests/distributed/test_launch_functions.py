"""Functions in new processes: their results, their errors, and nothing left of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fulmen.errors import ConfigError, DistributedError
from fulmen.runtime import clusters
from fulmen.runtime.clusters import LightningEnvironment
from fulmen.runtime.launch import Spawned, launcher, spawned

from .launch_meeting import meet

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")


@pytest.fixture
def no_process_is_left() -> Iterator[None]:
    """Of this process's children; ranks that wait for other tests were there before."""
    before = set(multiprocessing.active_children())
    yield
    assert set(multiprocessing.active_children()) == before


@pytest.fixture(autouse=True)
def in_a_script_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_settled", {})


def launch(function: Callable[..., Any], *args: Any, method: Any = "fork") -> Any:
    environment = LightningEnvironment()
    clusters.world_of(environment, 2, 1)
    return Spawned(environment, 2, method).launch(function, *args)


class NotToBeSent(Exception):
    """Takes more than it keeps."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def rank() -> int:
    return int(os.environ["LOCAL_RANK"])


def test_new_processes_meet_and_hand_back_the_result_of_rank_zero() -> None:
    layer = nn.Linear(2, 2)
    tied = nn.ModuleList([layer, layer])
    flat = torch.arange(6.0)
    counter = multiprocessing.get_context("spawn").Value("i", 0)
    before = dict(os.environ)
    result = launch(meet, tied, (flat, flat[2:4]), counter, method="spawn")
    assert result["total"] == 3
    assert result["world"] == (0, 0, 2)
    assert result["tied"]
    assert result["views"]
    assert result["argument"].tolist() == [0, 1, 7, 3, 4, 5]
    assert flat.tolist() == [0, 1, 2, 3, 4, 5]  # theirs are copies,
    assert counter.value == 2  # but what is made to be shared is shared
    assert dict(os.environ) == before


@needs_fork
def test_forked_processes_take_anything_and_results_may_be_large() -> None:
    lock = threading.Lock()
    result = launch(lambda: (lock.locked(), rank(), torch.ones(3_000_000), os.getpid()))
    assert result[:2] == (False, 0)
    assert result[2].sum() == 3_000_000
    assert result[3] != os.getpid()


@needs_fork
def test_two_after_each_other_and_each_alone() -> None:
    assert [launch(lambda number: number + rank(), number) for number in (1, 2)] == [1, 2]


@needs_fork
def test_error_of_a_rank_is_raised_with_its_traceback() -> None:
    def fail() -> None:
        if rank() == 1:
            raise KeyError("a name of rank one")
        time.sleep(60)

    with pytest.raises(KeyError, match="a name of rank one") as caught:
        launch(fail)
    origin = str(caught.value.__cause__)
    assert "Rank 1 (pid " in origin
    assert "in fail" in origin


@needs_fork
def test_error_that_cannot_be_sent() -> None:
    def fail() -> None:
        raise NotToBeSent(1, 2)

    with pytest.raises(DistributedError, match="cannot be sent") as caught:
        launch(fail)
    assert "NotToBeSent: 1 and 2" in str(caught.value.__cause__)


@needs_fork
def test_result_that_cannot_be_sent() -> None:
    with pytest.raises(TypeError, match="cannot pickle"):
        launch(threading.Lock)


@needs_fork
@pytest.mark.parametrize(
    ("end", "how"),
    [
        (lambda: os._exit(7), "ended with exit code 7"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was ended by SIGKILL"),
    ],
    ids=["exits", "is_killed"],
)
def test_rank_that_dies(end: Callable[[], None], how: str) -> None:
    def work() -> None:
        if rank() == 1:
            end()
        time.sleep(60)

    with pytest.raises(DistributedError, match=f"Rank 1 {how}"):
        launch(work)


@needs_fork
def test_the_rank_that_died_is_named_and_not_the_one_that_complains() -> None:
    def work() -> None:
        if rank() == 0:
            raise ConnectionError("the other one is gone")
        time.sleep(0.2)
        os._exit(9)

    with pytest.raises(DistributedError, match="Rank 1 ended with exit code 9"):
        launch(work)


@needs_fork
@pytest.mark.usefixtures("no_process_is_left")
def test_processes_that_do_not_want_to_end_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(reader: Any, writer: Any) -> None:
        if rank() == 1:
            reader.recv()
            raise ValueError("enough")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        writer.send("deaf")
        time.sleep(60)

    monkeypatch.setattr(spawned, "END_S", 0.3)
    reader, writer = multiprocessing.Pipe(duplex=False)
    with reader, writer, pytest.raises(ValueError, match="enough"):
        launch(work, reader, writer)


@needs_fork
@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_processes_that_have_answered_may_finish_what_they_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def send_the_rest() -> None:
        end_s = time.process_time() + 1.5
        while time.process_time() < end_s:
            pass
        (tmp_path / f"rank {rank()}").touch()

    def work() -> str:
        threading.Thread(target=send_the_rest).start()
        return "an answer"

    monkeypatch.setattr(spawned, "END_OF_PROCESS_S", 0.5)
    monkeypatch.setattr(spawned, "END_S", 0.5)
    assert launch(work) == "an answer"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rank 0", "rank 1"]


@needs_fork
@pytest.mark.usefixtures("no_process_is_left")
def test_processes_that_have_answered_and_do_nothing_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> str:
        threading.Thread(target=time.sleep, args=(60,)).start()
        return "an answer"

    monkeypatch.setattr(spawned, "END_OF_PROCESS_S", 0.5)
    assert launch(work) == "an answer"


@needs_fork
@pytest.mark.usefixtures("no_process_is_left")
def test_interrupted_wait_ends_the_processes() -> None:
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        launch(time.sleep, 60)
    timer.join()


class Part:
    """Holds what cannot be pickled."""

    def __init__(self) -> None:
        self.layers = [1, {"hook": threading.Lock()}]

    def work(self) -> None:
        """Never called."""


@pytest.mark.parametrize(
    ("function", "args", "path"),
    [
        (meet, (Part(),), "Part.layers[1]['hook']"),
        (Part().work, (), "Part.layers[1]['hook']"),
        (meet, (1, lambda: 2), "<lambda>"),
    ],
    ids=["argument", "method", "lambda"],
)
def test_what_cannot_be_pickled_is_named(function: Any, args: tuple[Any, ...], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        launch(function, *args, method="spawn")
    assert f"received: {path}" in str(caught.value)
    assert '"ddp_fork"' in str(caught.value)


def test_fork_is_refused_where_cuda_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(ConfigError, match="CUDA is in use"):
        launch(rank)


def test_ways_to_start_that_are_not_known() -> None:
    with pytest.raises(ConfigError, match="cannot be started like this"):
        Spawned(LightningEnvironment(), 2, "clone")  # pyright: ignore[reportArgumentType]
