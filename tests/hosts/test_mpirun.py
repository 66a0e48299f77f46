"""mpirun over several hosts, which it reaches by a remote shell."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from .network import Host, Job, Network
from .test_training import (
    PATIENCE_S,
    TRAINING,
    VARIABLES,
    check_ended_well,
    check_is_as,
    results,
    wait_for,
)

SHELL = str(Path(__file__).with_name("remote_shell.py"))
PLACE = {"MASTER_ADDR": "alpha", "MASTER_PORT": "29500"}


def open_mpi(agent: str, variables: dict[str, str]) -> list[str]:
    passed_on = [part for name in variables for part in ("-x", name)]
    return [
        "mpirun.openmpi", "--allow-run-as-root", "--mca", "plm_rsh_agent", agent,
        "--mca", "btl_tcp_if_include", "eth0", "--mca", "oob_tcp_if_include", "eth0",
        "-host", "alpha:2,beta:2", "-np", "4", *passed_on,
    ]  # fmt: skip


def mpich(agent: str, variables: dict[str, str]) -> list[str]:
    passed_on = [part for name, value in variables.items() for part in ("-genv", name, value)]
    return [
        "mpirun.mpich", "-launcher", "rsh", "-launcher-exec", agent, "-iface", "eth0",
        "-hosts", "alpha:2,beta:2", "-np", "4", *passed_on,
    ]  # fmt: skip


KINDS = {"Open MPI": open_mpi, "MPICH": mpich}


def mpirun(kind: str, first: Host, folder: Path, *options: str, place: dict[str, str] = PLACE) -> Job:
    """Start mpirun on the first host."""
    agent = folder / "rsh"
    agent.write_text(f'#!/bin/sh\nexec {sys.executable} {SHELL} "$@"\n')
    agent.chmod(0o755)
    command = KINDS[kind](str(agent), VARIABLES | place)
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return first.start(
        *command, sys.executable, TRAINING, str(folder), "--nodes=2", "--devices=2", *options,
        folder=folder, variables=VARIABLES | place,
    )  # fmt: skip


def switch_on(network: Network, folder: Path) -> list[Host]:
    hosts = [network.switch_on(name) for name in ("alpha", "beta")]
    for host in hosts:
        shell = host.start(sys.executable, SHELL, "serve", folder=folder, variables={})
        wait_for(lambda shell=shell: "ready" in shell.said, shell)
    return hosts


@pytest.mark.parametrize("kind", KINDS)
def test_as_one_process(kind: str, network: Network, alone: dict[str, Any], tmp_path: Path) -> None:
    first, _ = switch_on(network, tmp_path)
    job = mpirun(kind, first, tmp_path)
    check_ended_well(job)
    found = results(tmp_path, 4)
    check_is_as(found, alone)
    assert [(each["host"], each["node"]) for each in found] == 2 * [("alpha", 0)] + 2 * [("beta", 1)]
    assert job.said.count("4 processes on 2 hosts: alpha (ranks 0-1), beta (ranks 2-3); gloo") == 1, job.said


def test_meeting_place_that_nobody_has_named(network: Network, tmp_path: Path) -> None:
    first, _ = switch_on(network, tmp_path)
    job = mpirun("Open MPI", first, tmp_path, place={})
    assert job.finish(PATIENCE_S) != 0
    assert job.said.count("mpirun does not say how processes on several hosts find each other") == 1, job.said
    assert "MASTER_ADDR" in job.said
