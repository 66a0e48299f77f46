"""Whatever happens to one process, all end in time, and the terminal says once what has happened."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fulmen

SCENARIOS = Path(__file__).with_name("hang_scenarios.py")
LIMIT_S = 5.0
"""`hang_timeout_s`."""
START_S = 150.0
"""In which processes have begun and met, on a machine that is busy."""
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
OURS = ("MASTER_", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


class Job:
    """A script and its peers."""

    def __init__(self, folder: Path, accident: str, *command: str, **variables: str) -> None:
        self.folder = folder
        clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        more = {"PYTHONPATH": str(Path(fulmen.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        more |= {"ACCIDENT": accident, "LIMIT_S": str(LIMIT_S)} | variables
        self.process = subprocess.Popen(
            [sys.executable, *command, str(SCENARIOS), str(folder)], cwd=folder, env=clean | more,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            start_new_session=True, text=True,
        )  # fmt: skip

    def finish(self) -> tuple[int, str]:
        """Its exit code and what it said, once the last process has let go of the terminal."""
        said, _ = self.process.communicate(timeout=START_S + LIMIT_S)
        return self.process.returncode, said

    def pids(self) -> list[int]:
        """Of all that ran the script."""
        return [int(file.name.split()[1]) for file in self.folder.glob("pid *")]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Any]:
    """Start a job in a group of processes of its own; whatever is left of it in the end is killed."""
    jobs: list[Job] = []

    def start(accident: str, *command: str, **variables: str) -> Job:
        jobs.append(Job(tmp_path, accident, *command, **variables))
        return jobs[-1]

    yield start
    for job in jobs:
        if job.process.poll() is None:
            os.killpg(job.process.pid, signal.SIGKILL)
            job.process.communicate()


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
    give_up_s = time.monotonic() + LIMIT_S  # who has let go of the terminal may not be gone yet
    while not all(map(is_gone, job.pids())):
        assert time.monotonic() < give_up_s, said
        time.sleep(0.05)
    return said


def check_once(said: str, *patterns: str) -> None:
    for pattern in patterns:
        assert len(re.findall(pattern, said)) == 1, f"{pattern!r} in\n{said}"


IN_BACKWARD = r"at epoch 0, step 3, in `backward`: the gradients of the others"


@pytest.mark.parametrize("guilty", [0, 1])
def test_exception_in_a_hook(run: Any, guilty: int) -> None:
    said = check_ended(run("step raises", GUILTY=str(guilty)))
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


@pytest.mark.parametrize(("accident", "guilty"), [("step exits", 1), ("step killed", 0)])
def test_process_that_dies(run: Any, accident: str, guilty: int) -> None:
    said = check_ended(run(accident, GUILTY=str(guilty)))
    check_once(
        said,
        rf"Rank {guilty} \(pid \d+ on .*\) died .* last seen at epoch 0, step 3, in `training_step`:",
        r"time\.sleep\(SEEN_S\)",
        rf"rank {1 - guilty}: waited {IN_BACKWARD}",
    )
    assert "Connection closed by peer" not in said


@pytest.mark.parametrize("guilty", [0, 1])
def test_process_that_is_stopped(run: Any, guilty: int) -> None:
    said = check_ended(run("step stopped", GUILTY=str(guilty)))
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
    code, said = run("slow", LIMIT_S="3").finish()  # in a step, and in a save that the others wait for
    assert code == 0, said
    assert said.count("the script goes on") == 2


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
def test_torchrun(run: Any, accident: str, what: str) -> None:
    said = check_ended(run(accident, *TORCHRUN, GUILTY="0"))
    check_once(said, what, r"rank 1: wait(s|ed) at epoch 0, step 3, in `backward`")


def test_nothing_is_left_after_an_interruption(run: Any, tmp_path: Path) -> None:
    job = run("interrupt")
    give_up_s = time.monotonic() + START_S
    while not all((tmp_path / f"trains {rank}").exists() for rank in range(2)):
        assert time.monotonic() < give_up_s
        time.sleep(0.05)
    os.killpg(job.process.pid, signal.SIGINT)
    _, said = job.finish()
    assert all(map(is_gone, job.pids())), said
    assert said.count("Traceback") <= 1, said
