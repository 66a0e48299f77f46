"""Whatever happens to one process, all end in time, and the terminal says once what has happened."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fulmen.runtime import ports

from .warm import Nursery, clean_environment

SCENARIOS = Path(__file__).with_name("hang_scenarios.py")
LIMIT_S = 5.0
"""`hang_timeout_s`."""
START_S = 150.0
"""In which processes have begun and met, on a machine that is busy."""
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


class Job:
    """A script and its peers."""

    def __init__(self, folder: Path, processes: Sequence[Any]) -> None:
        self.folder = folder
        self.processes = processes
        """Those that the test has started."""

    def finish(self) -> tuple[int, str]:
        """The least exit code and what was said, once the last process that ran the script has ended."""
        give_up_s = time.monotonic() + START_S + LIMIT_S
        while any(process.poll() is None for process in self.processes) or not all(map(is_gone, self.pids())):
            assert time.monotonic() < give_up_s, self.said
            time.sleep(0.05)
        return min((process.poll() for process in self.processes), key=abs), self.said

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def pids(self) -> list[int]:
        """Of all that ran the script."""
        return [int(file.name.split()[1]) for file in self.folder.glob("pid *")]

    def kill(self) -> None:
        """Whatever is left of it."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                while process.poll() is None:
                    time.sleep(0.05)


def told(accident: str, **variables: str) -> dict[str, str]:
    return {"ACCIDENT": accident, "LIMIT_S": str(LIMIT_S), "OMP_NUM_THREADS": "1"} | variables


@pytest.fixture
def run_script(tmp_path: Path) -> Iterator[Any]:
    """Start the script as a user does, in a session of its own."""
    jobs: list[Job] = []

    def start(accident: str, *command: str, **variables: str) -> Job:
        with open(tmp_path / "said", "ab") as said:
            process = subprocess.Popen(
                [sys.executable, *command, str(SCENARIOS), str(tmp_path)], cwd=tmp_path,
                env=clean_environment(**told(accident, **variables)),
                stdout=said, stderr=said, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        jobs.append(Job(tmp_path, [process]))
        return jobs[-1]

    yield start
    for job in jobs:
        job.kill()


@pytest.fixture
def run(nursery: Nursery, tmp_path: Path) -> Iterator[Any]:
    """Start both processes as another program would, or the one that forks them; quickly."""
    jobs: list[Job] = []

    def start(accident: str, **variables: str) -> Job:
        places = [{}] if "START" in variables else [{"LOCAL_RANK": str(rank)} for rank in range(2)]
        with ports.listen() as listener:
            meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(listener.getsockname()[1])}
        more = told(accident, **variables) | ({} if "START" in variables else meeting)
        processes = [
            nursery.start(SCENARIOS, str(tmp_path), folder=tmp_path, output=tmp_path / "said", **more | place)
            for place in places
        ]
        jobs.append(Job(tmp_path, processes))
        return jobs[-1]

    yield start
    for job in jobs:
        job.kill()


def is_gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def check_ended(job: Job) -> str:
    """All have ended, and not well; what they said."""
    code, said = job.finish()
    assert code != 0, said
    assert "the script goes on" not in said
    assert len(job.pids()) >= 2
    return said


def check_once(said: str, *patterns: str) -> None:
    for pattern in patterns:
        assert len(re.findall(pattern, said)) == 1, f"{pattern!r} in\n{said}"


IN_BACKWARD = r"at epoch 0, step 3, in `backward`: the gradients of the others"


@pytest.mark.parametrize(("guilty", "start"), [(0, "run"), (1, "run_script")])
def test_exception_in_a_hook(guilty: int, start: str, request: pytest.FixtureRequest) -> None:
    said = check_ended(request.getfixturevalue(start)("step raises", GUILTY=str(guilty)))
    check_once(
        said,
        rf"Rank {guilty} \(pid \d+ on .*\) failed at epoch 0, step 3, in `training_step`:\n\nTraceback",
        r"Accident: in the step",
        rf"rank {1 - guilty}: wait(s|ed) {IN_BACKWARD}",
    )


@pytest.mark.parametrize(
    ("accident", "who", "error"),
    [
        ("callback", "Rank 1 .* failed at epoch 0, step 4, in `on_train_batch_end`", "in a callback"),
        ("save", "Rank 0 .* failed at epoch 0, step 8, in `on_save_checkpoint`", "in a save"),
    ],
)
def test_exception_elsewhere(run: Any, accident: str, who: str, error: str) -> None:
    said = check_ended(run(accident))
    check_once(said, who, f"Accident: {error}", r"rank \d: (wait|goes on)")


def test_exception_in_a_worker_of_the_loader(run: Any) -> None:
    said = check_ended(run("worker"))
    check_once(
        said, r"Rank [01] .* failed at epoch 0, step \d", r"Accident: Caught Accident in DataLoader worker"
    )


@pytest.mark.parametrize(
    ("accident", "guilty", "start"), [("step exits", 1, "run"), ("step killed", 0, "run_script")]
)
def test_process_that_dies(accident: str, guilty: int, start: str, request: pytest.FixtureRequest) -> None:
    said = check_ended(request.getfixturevalue(start)(accident, GUILTY=str(guilty)))
    check_once(
        said,
        rf"Rank {guilty} \(pid \d+ on .*\) died .* last seen at epoch 0, step 3, in `training_step`:",
        r"time\.sleep\(SEEN_S\)",
        rf"rank {1 - guilty}: waited {IN_BACKWARD}",
    )
    assert "Connection closed by peer" not in said


@pytest.mark.parametrize(("guilty", "start"), [(0, "run_script"), (1, "run")])
def test_process_that_is_stopped(guilty: int, start: str, request: pytest.FixtureRequest) -> None:
    said = check_ended(request.getfixturevalue(start)("step stopped", GUILTY=str(guilty)))
    check_once(
        said,
        rf"Rank {guilty} \(pid \d+ on .*\) is stuck: .* last seen at epoch 0, step 3, in `training_step`:",
        r"time\.sleep\(SEEN_S\)",
        rf"rank {1 - guilty}: waits {IN_BACKWARD}",
    )


@pytest.mark.parametrize(
    ("accident", "wait"),
    [
        ("step barrier", "barrier 'of one rank', operation"),
        ("step torch barrier", "barrier of torch.distributed"),
        ("step spins", "all_reduce of torch.distributed"),
    ],
)
def test_operation_that_one_rank_leaves_out(run: Any, accident: str, wait: str) -> None:
    said = check_ended(run(accident))
    check_once(
        said,
        r"The processes wait for others that do not come",
        rf"rank 0: waits {IN_BACKWARD}",
        rf"rank 1: waits at epoch 0, step 3, in `training_step`: {wait}",
        r"in meet\n",
        r"loss\.backward\(\)",
    )


def test_log_on_one_rank(run: Any) -> None:
    said = check_ended(run("log"))
    check_once(
        said,
        r"Ranks 0-1 failed at epoch 0, step 4",
        r"DistributedError: Some ranks logged what others did not",
    )


def test_monitor_on_one_rank(run: Any) -> None:
    said = check_ended(run("monitor", LIMIT_S="4"))
    check_once(
        said, r"The processes wait for others", r"rank 1: waits .* in `on_train_batch_end`", r"rank 0: waits"
    )


def test_nobody_is_ended_for_being_slow(run: Any) -> None:
    """In a step, backward, validation, loader or save that the other one waits for; idle or not."""
    code, said = run("slow", LIMIT_S="3").finish()
    assert code == 0, said
    assert said.count("the script goes on") == 2


@pytest.mark.parametrize("guilty", [0, 1])
def test_process_whose_watch_fails_goes_on(run: Any, guilty: int) -> None:
    code, said = run("step blinds", GUILTY=str(guilty), LIMIT_S="3").finish()
    assert code == 0, said
    assert said.count("the script goes on") == 2
    who = rf"Rank {guilty} \(pid \d+ on .*\)" if guilty else "The run"
    check_once(said, f"{who} is watched no more", "ZeroDivisionError")


def test_error_of_a_rank_is_raised_by_the_parent(run: Any) -> None:
    said = check_ended(run("step raises", START="fork"))
    check_once(
        said,
        r"RankTraceback: \n\nRank 1 \(pid \d+ on .*\) failed at epoch 0, step 3, in `training_step`:\n\n",
        r"rank 0: wait(s|ed) at epoch 0, step 3",
        r"File .*, in training_step\n",
    )


@pytest.mark.parametrize(
    ("accident", "guilty", "start", "end", "what"),
    [
        ("step exits", 1, "spawn", "ended with exit code 3", "died without an error"),
        ("step killed", 0, "fork", "was ended by SIGKILL", "died without an error"),
        ("step stopped", 1, "fork", "was ended by SIGKILL", "is stuck"),
    ],
)
def test_end_of_a_rank_is_raised_by_the_parent(
    run: Any, accident: str, guilty: int, start: str, end: str, what: str
) -> None:
    said = check_ended(run(accident, START=start, GUILTY=str(guilty)))
    begun, _, raised = said.partition("Traceback")
    assert len(begun.splitlines()) == 1, said  # who has met
    check_once(
        raised,
        rf"DistributedError: Rank {guilty} {end}\.\nRank {guilty} \(pid \d+ on .*\) {what}",
        r"last seen at epoch 0, step 3, in `training_step`:",
        rf"rank {1 - guilty}: wait(s|ed) at epoch 0, step 3",
    )


def test_ranks_that_wait_in_vain_are_raised_by_the_parent(run: Any) -> None:
    said = check_ended(run("step barrier", START="fork"))
    check_once(said, r"DistributedError: The processes wait for others that do not come", r"rank 1: waits")


@pytest.mark.parametrize(
    ("accident", "what"),
    [
        ("step raises", r"Rank 0 .* failed at epoch 0, step 3, in `training_step`:\n\nTraceback"),
        ("step killed", r"Rank 0 .* died .* last seen at epoch 0, step 3, in `training_step`"),
    ],
)
def test_torchrun(run_script: Any, accident: str, what: str) -> None:
    said = check_ended(run_script(accident, *TORCHRUN, GUILTY="0"))
    check_once(said, what, r"rank 1: wait(s|ed) at epoch 0, step 3, in `backward`")


def test_nothing_is_left_after_an_interruption(run_script: Any, tmp_path: Path) -> None:
    job = run_script("interrupt")
    give_up_s = time.monotonic() + START_S
    while not all((tmp_path / f"trains {rank}").exists() for rank in range(2)):
        assert time.monotonic() < give_up_s
        time.sleep(0.05)
    os.killpg(job.processes[0].pid, signal.SIGINT)
    _, said = job.finish()
    assert said.count("Traceback") <= 1, said
