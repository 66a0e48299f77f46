"""Jobs in a real SLURM: two nodes train together; what is ended too early is started again and goes on."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from .cluster import Cluster

TRAINING = str(Path(__file__).with_name("training.py"))
PROBE = str(Path(__file__).with_name("probe.py"))
PATIENCE_S = 100.0
ENDED = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED")

pytestmark = pytest.mark.usefixtures("cluster")


def noted(folder: Path, name: str, rank: int = 0) -> dict[str, Any]:
    return json.loads((folder / f"{name}.{rank}.json").read_text())


def rows(folder: Path, name: str) -> str:
    """What the first version of the logger holds; there is no second one."""
    assert [entry.name for entry in (folder / name).iterdir()] == ["version_0"]
    return (folder / name / "version_0" / "metrics.csv").read_text()


def submit(cluster: Cluster, folder: Path, command: str, *lines: str) -> str:
    """Hand in a batch script, and return the job's number."""
    script = folder / "job.sh"
    head = ["#!/bin/bash", "#SBATCH --open-mode=append", "#SBATCH --output=%x-%j.out"]
    script.write_text("\n".join([*head, *(f"#SBATCH {line}" for line in lines), command, ""]))
    done = cluster.run("sbatch", "--parsable", str(script), folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def said(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("*.out")))


def wait_for(path: Path) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < give_up_s, f"{path} never came.\n{said(path.parent)}"
        time.sleep(0.1)


def check_tidy(folder: Path) -> None:
    """Nothing is left of interruptions."""
    assert not list(folder.rglob("*slurm-*"))


@pytest.fixture(scope="session")
def uninterrupted(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What trainings come to that nothing interrupts, without SLURM; by seed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    for seed in ("1", "2"):
        done = cluster.run(sys.executable, TRAINING, str(folder), seed, "--seed", seed, folder=folder)
        assert done.returncode == 0, done.stderr
    return folder


# ---------------------------------------------------------------------------------------- who started what


def check_two_nodes(folder: Path, name: str) -> None:
    results = [noted(folder, name, rank) for rank in range(2)]
    for rank, result in enumerate(results):
        expected = {"rank": rank, "size": 2, "node": rank, "environment": "SLURMEnvironment", "steps": 16}
        assert expected.items() <= result.items()
    assert results[0]["weights"] == results[1]["weights"]


def test_two_nodes_train_together(cluster: Cluster, tmp_path: Path) -> None:
    options = ("--strategy", "ddp", "--nodes", "2")
    by_srun = (sys.executable, TRAINING, str(tmp_path), "srun", *options)
    done = cluster.run("srun", "-N2", "-n2", *by_srun, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 processes on 1 host: " in done.stderr  # which both nodes are on
    check_two_nodes(tmp_path, "srun")

    in_salloc = (sys.executable, TRAINING, str(tmp_path), "salloc", *options)
    done = cluster.run("salloc", "-N2", "-n2", "srun", *in_salloc, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    check_two_nodes(tmp_path, "salloc")

    alone = (sys.executable, TRAINING, str(tmp_path), "alone", "--strategy", "ddp", "--devices", "2")
    done = cluster.run(*alone, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    weights = {noted(tmp_path, name)["weights"] for name in ("srun", "salloc", "alone")}
    assert len(weights) == 1


@pytest.mark.parametrize(
    ("srun", "options", "fix"),
    [
        ("-N2 -n2", "--nodes 2 --devices 2", "#SBATCH --ntasks-per-node=2, or Trainer(devices=1)"),
        ("-N1 -n2", "", "#SBATCH --ntasks-per-node=1, or Trainer(devices=2)"),
        ("-N2 -n2", "--strategy ddp", "#SBATCH --nodes=1, or Trainer(num_nodes=2)"),
    ],
)  # fmt: skip
def test_other_tasks_than_the_trainer_is_told_of(
    srun: str, options: str, fix: str, cluster: Cluster, tmp_path: Path
) -> None:
    command = (sys.executable, TRAINING, str(tmp_path), "mismatch", *options.split())
    done = cluster.run("srun", *srun.split(), *command, folder=tmp_path)
    assert done.returncode != 0
    assert done.stderr.count(f"fix: {fix}") == 1


def test_shells_are_no_tasks(cluster: Cluster, tmp_path: Path) -> None:
    probe = f"{sys.executable} {PROBE}"
    in_shell = f"{probe} shell; srun --overlap -N2 -n2 {probe} step"
    srun = f"['srun', '--pty', '-N2', '-n2', 'bash', '-c', '{in_shell}']"
    in_terminal = f"import pty, sys; sys.exit(pty.spawn({srun}) >> 8)"
    for command in (
        ("salloc", "-N2", "-n2", "bash", "-c", in_shell),
        (sys.executable, "-c", in_terminal),
    ):
        done = cluster.run(*command, folder=tmp_path)
        lines = done.stdout.splitlines()
        assert done.returncode == 0, done.stderr
        assert any("shell LightningEnvironment" in line and "Put `srun` in front" in line for line in lines)
        assert sum("step SLURMEnvironment" in line for line in lines) == 2


# ------------------------------------------------------------------------------------------- started again


def test_job_that_reaches_its_time_limit_goes_on(
    cluster: Cluster, tmp_path: Path, uninterrupted: Path
) -> None:
    command = f"srun {sys.executable} {TRAINING} {tmp_path} 1 --slow"
    # With a limit of a minute, SLURM sends it 10 to 40 s after the start: it looks every half minute.
    job = submit(cluster, tmp_path, command, "--requeue", "--time=1", "--signal=USR1@20")
    wait_for(tmp_path / "1.started")
    assert cluster.wait_until(job, ENDED) == "COMPLETED", said(tmp_path)
    assert "The job is put back into the queue." in said(tmp_path)
    assert f"This job was started again: training goes on from {tmp_path}" in said(tmp_path)
    assert noted(tmp_path, "1") == noted(uninterrupted, "1") | {"environment": "SLURMEnvironment"}
    assert rows(tmp_path, "1") == rows(uninterrupted, "1")


def test_elements_of_an_array_go_on_with_their_own(
    cluster: Cluster, tmp_path: Path, uninterrupted: Path
) -> None:
    number = "$SLURM_ARRAY_TASK_ID"  # all in one folder, with the signal of their own choice
    options = f"{number} --seed {number} --slow $([ {number} = 2 ] && echo --requeue-signal SIGHUP)"
    command = f"srun {sys.executable} {TRAINING} {tmp_path} {options}"
    job = submit(cluster, tmp_path, command, "--requeue", "--array=1-2")
    for element, name in (("1", "USR1"), ("2", "HUP")):
        wait_for(tmp_path / f"{element}.started")
        assert cluster.run("scancel", f"--signal={name}", f"{job}_{element}").returncode == 0
    for element in ("1", "2"):
        assert cluster.wait_until(f"{job}_{element}", ENDED) == "COMPLETED", said(tmp_path)
        assert noted(tmp_path, element) == noted(uninterrupted, element) | {"environment": "SLURMEnvironment"}
        assert rows(tmp_path, element) == rows(uninterrupted, element)
    assert said(tmp_path).count("This job was started again: training goes on from") == 2


def test_job_that_the_cluster_puts_back_goes_on(
    cluster: Cluster, tmp_path: Path, uninterrupted: Path
) -> None:
    command = f"srun {sys.executable} {TRAINING} {tmp_path} 1 --slow"
    job = submit(cluster, tmp_path, command, "--requeue")
    wait_for(tmp_path / "1.started")
    assert cluster.run("scontrol", "requeue", job).returncode == 0  # it sends SIGTERM, and kills 5 s later
    assert cluster.wait_until(job, ENDED) == "COMPLETED", said(tmp_path)
    assert "SIGTERM: saved epoch 0" in said(tmp_path)
    check_tidy(tmp_path)
    assert noted(tmp_path, "1") == noted(uninterrupted, "1") | {"environment": "SLURMEnvironment"}
    assert rows(tmp_path, "1") == rows(uninterrupted, "1")


@pytest.mark.parametrize(
    ("options", "line", "expected", "unexpected"),
    [
        ("--bare", "--no-requeue", "fix: #SBATCH --requeue", "The job is put back"),
        ("--no-requeue", "--requeue", "USR1: saved epoch 0", "The job is put back"),
    ],
)
def test_job_that_does_not_come_back_is_saved(
    options: str, line: str, expected: str, unexpected: str, cluster: Cluster, tmp_path: Path
) -> None:
    job = submit(cluster, tmp_path, f"srun {sys.executable} {TRAINING} {tmp_path} 1 --slow {options}", line)
    wait_for(tmp_path / "1.started")
    cluster.run("scancel", "--signal=USR1", job)
    assert cluster.wait_until(job, ENDED) == "FAILED"
    assert expected in said(tmp_path)
    assert unexpected not in said(tmp_path)
    assert "ExitCode=138:0" in cluster.run("scontrol", "show", "job", job).stdout


def test_job_that_is_written_for_the_user(cluster: Cluster, tmp_path: Path) -> None:
    launch = (sys.executable, "-m", "fulmen", "launch", TRAINING, "--on", "slurm", "--nodes", "2")
    options = ("--accelerator", "cpu", "--time", "5", "--", str(tmp_path), "launched")
    done = cluster.run(*launch, *options, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "training.sbatch").read_text() in done.stdout
    job = done.stdout.split()[-1]  # Submitted batch job 7
    assert cluster.wait_until(job, ENDED) == "COMPLETED", said(tmp_path)
    check_two_nodes(tmp_path, "launched")


def test_two_nodes_go_on_together(cluster: Cluster, tmp_path: Path) -> None:
    options = "--strategy ddp --nodes 2"
    command = f"srun {sys.executable} {TRAINING} {tmp_path} 1 --slow {options}"
    job = submit(cluster, tmp_path, command, "--requeue", "-N2", "-n2")
    wait_for(tmp_path / "1.started")
    cluster.run("scancel", "--signal=USR1", job)
    whole = (sys.executable, TRAINING, str(tmp_path), "whole", *options.split())
    assert cluster.run("srun", "-N2", "-n2", *whole, folder=tmp_path).returncode == 0
    assert cluster.wait_until(job, ENDED) == "COMPLETED", said(tmp_path)
    assert said(tmp_path).count("This job was started again: training goes on from") == 1
    check_tidy(tmp_path)
    for rank in range(2):
        assert noted(tmp_path, "1", rank) == noted(tmp_path, "whole", rank)
    assert rows(tmp_path, "1") == rows(tmp_path, "whole")
