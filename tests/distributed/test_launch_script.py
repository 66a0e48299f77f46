"""Scripts in two processes, whoever starts them: they find each other, and nothing of them is ever left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fulmen

SCENARIOS = Path(__file__).with_name("launch_scenarios.py")
PATIENCE_S = 100.0
ENDED_S = 25.0
"""In which processes are gone that were told to go, on a machine that is busy."""
OURS = ("MASTER_", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_")


def environment(**more: str) -> dict[str, str]:
    """Variables for a program that can import the package and the scenarios."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    path = os.pathsep.join([str(Path(fulmen.__file__).parents[1]), str(SCENARIOS.parent)])
    return clean | {"PYTHONPATH": path} | more


def scenario(folder: Path, name: str) -> tuple[str, str, str]:
    """The script and its arguments."""
    return str(SCENARIOS), str(folder), name


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Any:
    """Start a program in a group of processes of its own; whatever is left of it in the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start_in(
        *arguments: str,
        command: tuple[str, ...] = (sys.executable,),
        folder: Path = tmp_path,
        **variables: str,
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*command, *arguments], cwd=folder, env=environment(**variables),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start_in
    for process in started:
        try:
            process.communicate(timeout=0.5)
        except subprocess.TimeoutExpired:  # somebody of its group still holds the pipe
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, said


def noted(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def wait_for(folder: Path, *names: str) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not all((folder / name).exists() for name in names):
        assert time.monotonic() < give_up_s, f"{names} never came; there are {os.listdir(folder)}"
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def check_gone(folder: Path) -> None:
    """Within a limit, both ranks have ended."""
    give_up_s = time.monotonic() + ENDED_S
    pids = [noted(folder, f"pid {rank} 0") for rank in range(2)]
    while not all(map(is_gone, pids)):
        assert time.monotonic() < give_up_s, f"of {pids}, some are there still"
        time.sleep(0.05)


def test_two_jobs_at_once_meet_twice_each(start: Start, tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    jobs = [start(*scenario(folder, "meets twice"), folder=folder) for folder in folders]
    for folder, job in zip(folders, jobs, strict=True):
        code, said = finish(job)
        assert code == 0, said
        for rank in range(2):
            for time_ in range(2):
                result = noted(folder, f"result {rank} {time_}")
                assert result["argv"] == [str(SCENARIOS), str(folder), "meets twice"]
                expected = {"total": 3, "time": time_, "rank": rank, "local_rank": rank, "size": 2, "node": 0}
                assert expected.items() <= result.items()
                assert result["speaks"] == (rank == 0)
        assert said.count("2 processes on 1 host: ") == 2  # once for each meeting
        assert "(ranks 0-1); gloo" in said
        check_gone(folder)


def test_module_is_started_again_as_a_module_where_it_began(start: Start, tmp_path: Path) -> None:
    package = tmp_path / "pack" / "inner"
    package.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (package / "prog.py").write_text(SCENARIOS.read_text())
    module = ("-W", "ignore::ImportWarning", "-m", "pack.inner.prog", str(tmp_path), "moves", "--an option")
    code, said = finish(start(*module))  # found from the working folder, which the script then leaves
    assert code == 0, said
    for rank in range(2):
        result = noted(tmp_path, f"result {rank} 1")
        assert result["total"] == 3
        assert result["package"] == "pack.inner"
        assert result["argv"][1:] == [str(tmp_path), "moves", "--an option"]
        assert "ignore::ImportWarning" in result["flags"]


def test_error_of_a_peer_is_seen_and_ends_all(start: Start, tmp_path: Path) -> None:
    code, said = finish(start(*scenario(tmp_path, "raises")))
    assert code == 1
    assert "ValueError: of rank one" in said
    assert f"Rank 1 (pid {noted(tmp_path, 'pid 1 0')}) ended with exit code 1." in said
    check_gone(tmp_path)


def test_peer_that_dies_ends_what_does_not_find_out(start: Start, tmp_path: Path) -> None:
    code, said = finish(start(*scenario(tmp_path, "dies")))
    assert code == 1
    assert "ended with exit code 7." in said
    assert "This process has not found out" in said
    check_gone(tmp_path)


def test_peer_that_dies_before_they_meet_is_named(start: Start, tmp_path: Path) -> None:
    code, said = finish(start(*scenario(tmp_path, "dies before they meet")))
    assert code == 1
    assert "DistributedError: Rank 1 (pid " in said
    check_gone(tmp_path)


def test_peer_that_fails_after_the_work_shows_in_the_exit_code(start: Start, tmp_path: Path) -> None:
    code, said = finish(start(*scenario(tmp_path, "fails late")))
    assert noted(tmp_path, "result 0 0")["total"] == 3
    assert "ended with exit code 4." in said
    assert code == 1
    check_gone(tmp_path)


def test_what_comes_after_a_failure_that_was_caught_is_refused(start: Start, tmp_path: Path) -> None:
    code, said = finish(start(*scenario(tmp_path, "fails, and again")))
    assert "DistributedError: Rank 1" in noted(tmp_path, "second")
    assert "ended with exit code 3." in noted(tmp_path, "second")
    assert code == 1, said


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_peers_of_a_killed_process_end(start: Start, tmp_path: Path) -> None:
    job = start(*scenario(tmp_path, "hangs"))
    wait_for(tmp_path, "hangs 0", "hangs 1")
    os.kill(noted(tmp_path, "hangs 0"), signal.SIGKILL)
    check_gone(tmp_path)
    assert job.wait(ENDED_S) == -signal.SIGKILL


@pytest.mark.parametrize("to_all", [False, True], ids=["to_rank_zero", "to_all"])
def test_interrupted_processes_end(to_all: bool, start: Start, tmp_path: Path) -> None:
    job = start(*scenario(tmp_path, "hangs"))
    wait_for(tmp_path, "hangs 0", "hangs 1")
    if to_all:
        os.killpg(job.pid, signal.SIGINT)  # as a terminal does
    else:
        os.kill(job.pid, signal.SIGINT)
    code, said = finish(job)
    assert code != 0
    assert "KeyboardInterrupt" in said
    check_gone(tmp_path)


def test_code_without_a_file_is_refused(start: Start) -> None:
    code = "from launch_scenarios import Path, Program; Program(Path.cwd(), 'meets twice').run()"
    exit_code, said = finish(start("-c", code))
    assert exit_code == 1
    assert 'fix: strategy="ddp_notebook"' in said


HYDRA_SCRIPT = """
import sys
from pathlib import Path
import hydra
from omegaconf import OmegaConf
from launch_scenarios import Program

@hydra.main(version_base=None, config_path="conf", config_name="main")
def main(config):
    program = Program(Path(config.folder), "meets twice")
    program.note(f"config {config.number} {program.world.rank}", OmegaConf.to_container(config, resolve=True))
    program.note(f"cwd {config.number} {program.world.rank}", str(Path.cwd()))
    program.run()

main()
"""
HYDRA_CONFIG = """
defaults:
  - model: small
  - _self_
folder: ${hydra:runtime.cwd}
number: 0
out: ${hydra:runtime.output_dir}
untold: ???
hydra:
  sweep:
    dir: sweep, one
  job:
    chdir: true
"""


def test_jobs_of_hydra_have_one_configuration_and_one_folder(start: Start, tmp_path: Path) -> None:
    pytest.importorskip("hydra")
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "main.yaml").write_text(HYDRA_CONFIG)
    for name, width in (("small", 1), ("large", 8)):
        (tmp_path / "conf" / "model" / f"{name}.yaml").write_text(f"width: {width}\n")
    (tmp_path / "script.py").write_text(HYDRA_SCRIPT)
    sweep = ("script.py", "--multirun", "number=1,2", "model=large", "+text='a, b=${number}'")
    code, said = finish(start(*sweep))
    assert code == 0, said
    for number in (1, 2):
        configs = [noted(tmp_path, f"config {number} {rank}") for rank in range(2)]
        assert configs[0] == configs[1]
        assert configs[0]["model"] == {"width": 8}
        assert configs[0]["text"] == f"a, b={number}"
        assert configs[0]["untold"] == "???"
        folders = {noted(tmp_path, f"cwd {number} {rank}") for rank in range(2)}
        assert folders == {configs[0]["out"]} == {str(tmp_path / "sweep, one" / str(number - 1))}
    assert noted(tmp_path, "result 1 1")["total"] == 3
    made = {entry.name for entry in (tmp_path / "sweep, one").iterdir()}
    assert made == {"0", "1", "multirun.yaml"}
    assert not (tmp_path / "outputs").exists()


def check_world(folder: Path, environment: str) -> None:
    for rank in range(2):
        result = noted(folder, f"result {rank} 0")
        expected = {
            "environment": environment,
            "rank": rank,
            "local_rank": rank,
            "size": 2,
            "node": 0,
            "total": 3,
        }
        assert expected.items() <= result.items()


def test_torchrun_starts_them_anew(start: Start, tmp_path: Path) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1")
    code, said = finish(start(*torchrun, *scenario(tmp_path, "fails once")))
    assert code == 0, said
    check_world(tmp_path, "TorchElasticEnvironment")
    pids = {noted(tmp_path, f"pid {rank} {attempt}") for rank in range(2) for attempt in range(2)}
    assert len(pids) == 4


MPIRUN = {
    "Open MPI": ("mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "-np", "2", sys.executable),
    "MPICH": ("mpirun.mpich", "-np", "2", sys.executable),
}


@pytest.mark.parametrize("kind", MPIRUN)
def test_mpirun(kind: str, start: Start, tmp_path: Path) -> None:
    command = MPIRUN[kind]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    temporary = tempfile.mkdtemp()  # a short path: Open MPI makes sockets in it
    try:
        code, said = finish(start(*scenario(tmp_path, "meets twice"), command=command, TMPDIR=temporary))
        assert code == 0, said
        check_world(tmp_path, "MPIEnvironment")
        assert not any(
            (Path(temporary) / f"fulmen-{os.getuid()}").iterdir()
        )  # they met there, and left nothing
    finally:
        shutil.rmtree(temporary)
