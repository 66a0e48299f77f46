"""Training on several hosts: as on one, also after a host was lost; and never a hang."""

from __future__ import annotations

import json
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

import fulmen
from fulmen.runtime.launch import launcher

from .network import Host, Job, Network
from .training import EPOCHS, SAMPLES, parse, train

TRAINING = str(Path(__file__).with_name("training.py"))
MEETING = str(Path(__file__).with_name("meeting.py"))
VARIABLES = {"PYTHONPATH": str(Path(fulmen.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=1")
RENDEZVOUS = ("--rdzv-backend=c10d", "--rdzv-endpoint=alpha:29500")
QUICKLY = "--rdzv-conf=keep_alive_interval=1,keep_alive_max_attempt=5,last_call_timeout=3"
"""The lost are given up after 5 s, and others waited for 3 s where the number of hosts is open."""
NEW_HOSTS = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Else torchrun takes nobody in after it has begun."""
PATIENCE_S = 120.0


def by_torchrun(host: Host, folder: Path, *options: str, nodes: str = "2", more: Sequence[str] = ()) -> Job:
    command = (*TORCHRUN, f"--nnodes={nodes}", *RENDEZVOUS, *more, TRAINING, str(folder), *options)
    return host.start(*command, folder=folder, variables=VARIABLES | NEW_HOSTS)


def by_hand(node: int, host: Host, folder: Path, *options: str) -> Job:
    place = {"MASTER_ADDR": "alpha", "MASTER_PORT": "29500", "NODE_RANK": str(node)}
    command = (sys.executable, TRAINING, str(folder), *options)
    return host.start(*command, folder=folder, variables=VARIABLES | place)


def check_ended_well(*jobs: Job) -> None:
    for job in jobs:
        assert job.finish(PATIENCE_S) == 0, job.said


def results(folder: Path, size: int) -> list[dict[str, Any]]:
    """What all ranks came to, which is the same but for where they were."""
    found = [json.loads((folder / f"result {rank}.json").read_text()) for rank in range(size)]
    assert [(each["rank"], each["size"]) for each in found] == [(rank, size) for rank in range(size)]
    for each in found:
        assert (each["weights"], each["val_loss"]) == (found[0]["weights"], found[0]["val_loss"])
    return found


def wait_for(is_so: Callable[[], bool], *jobs: Job) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not is_so():
        said = "\n".join(job.said for job in jobs)
        assert time.monotonic() < give_up_s, said
        assert all(job.process.poll() is None for job in jobs), said
        time.sleep(0.05)


def let_go_on(folder: Path, after: int) -> None:
    """Rank 0 has waited after this step, and the others in the next one."""
    (folder / f"goes on after {after}").touch()


def size_at(folder: Path, step: int, rank: int = 0) -> int:
    """How many processes there were when this one did a step; 0 as long as it has not done it."""
    path = folder / f"rank {rank} did step {step}"
    text = path.read_text() if path.exists() else ""
    return json.loads(text)["size"] if text else 0


@pytest.fixture(scope="module")
def uninterrupted(hosts_are_possible: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes of one host come to, with dropout, and nothing happens to them."""
    folder = str(tmp_path_factory.mktemp("uninterrupted"))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*use of fork", DeprecationWarning)
        patch.setattr(launcher, "_settled", {})
        return train(parse(folder, "--devices=2", "--dropout=0.3", "--start=fork"))


def check_is_as(found: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    assert found[0]["weights"] == pytest.approx(alone["weights"], rel=1e-6, abs=1e-6)
    assert found[0]["val_loss"] == pytest.approx(alone["val_loss"], rel=1e-6)
    assert found[0]["steps"] == alone["steps"]


# ------------------------------------------------------------------------------------------ as one process


def test_torchrun(network: Network, alone: dict[str, Any], tmp_path: Path) -> None:
    names = ("alpha", "beta", "gamma")
    jobs = [by_torchrun(network.switch_on(name), tmp_path, "--nodes=3", nodes="3") for name in names]
    check_ended_well(*jobs)
    found = results(tmp_path, 3)
    check_is_as(found, alone)
    places = ", ".join(f"{each['host']} (rank {each['rank']})" for each in found)
    said = "".join(job.said for job in jobs)
    assert said.count(f"3 processes on 3 hosts: {places}; gloo") == 1, said
    assert sorted(each["host"] for each in found) == sorted(names)


def test_by_hand_on_hosts_that_do_not_know_their_own_address(
    network: Network, alone: dict[str, Any], tmp_path: Path
) -> None:
    """As Debian sets them up: to itself, a host's name means 127.0.1.1."""
    hosts = [network.switch_on(name, own_address="127.0.1.1") for name in ("alpha", "beta")]
    jobs = [by_hand(node, host, tmp_path, "--nodes=2", "--devices=2") for node, host in enumerate(hosts)]
    check_ended_well(*jobs)
    found = results(tmp_path, 4)
    check_is_as(found, alone)
    assert [(each["host"], each["node"]) for each in found] == 2 * [("alpha", 0)] + 2 * [("beta", 1)]
    assert "4 processes on 2 hosts: alpha (ranks 0-1), beta (ranks 2-3); gloo" in jobs[0].said
    assert jobs[1].said == ""


def test_environment_of_the_users_own(network: Network, alone: dict[str, Any], tmp_path: Path) -> None:
    command = (sys.executable, TRAINING, str(tmp_path), "--nodes=2")
    variables = VARIABLES | {"CLUSTER_HOSTS": "beta alpha"}
    jobs = [
        network.switch_on(name).start(*command, folder=tmp_path, variables=variables)
        for name in ("alpha", "beta")
    ]
    check_ended_well(*jobs)
    check_is_as(results(tmp_path, 2), alone)
    assert "2 processes on 2 hosts: beta (rank 0), alpha (rank 1); gloo" in jobs[1].said


def test_interfaces_that_lead_nowhere_are_an_error_everywhere(network: Network, tmp_path: Path) -> None:
    place = {"MASTER_ADDR": "alpha", "MASTER_PORT": "29500", "GLOO_SOCKET_IFNAME": "lo"}
    jobs = [
        network.switch_on(name).start(
            sys.executable, MEETING, "4", folder=tmp_path, variables=VARIABLES | place | {"NODE_RANK": node}
        )
        for node, name in (("0", "alpha"), ("1", "beta"))
    ]
    for job in jobs:
        assert job.finish(PATIENCE_S) == 1
        assert "The processes have met, but cannot connect with each other" in job.said
        assert "GLOO_SOCKET_IFNAME" in job.said


# ------------------------------------------------------------------------------------------ a cable, a host


def test_host_that_is_cut_off(network: Network, tmp_path: Path) -> None:
    hosts = [network.switch_on(name) for name in ("alpha", "beta", "gamma")]
    options = ("--nodes=3", "--hang-timeout=9", "--hold=3")
    jobs = [by_hand(node, host, tmp_path, *options) for node, host in enumerate(hosts)]
    wait_for(lambda: all(size_at(tmp_path, 3, rank) for rank in range(3)), *jobs)
    network.cut_off("gamma")
    let_go_on(tmp_path, 3)
    assert [job.finish(PATIENCE_S) for job in jobs] == [70, 70, 70], [job.said for job in jobs]
    assert [host.processes() for host in hosts] == [[], [], []]
    lost = r"^Rank {} \(pid \d+ on {}\) is not to be reached: nothing was heard of it for \d+ s"
    for job, rank, host in ((jobs[0], 2, "gamma"), (jobs[2], 0, "alpha")):
        found = re.findall(lost.format(rank, host), job.said, flags=re.MULTILINE)
        assert len(found) == 1, job.said
    assert jobs[1].said == ""  # rank 0 has told of it


def test_short_outage_does_no_harm(network: Network, alone: dict[str, Any], tmp_path: Path) -> None:
    hosts = [network.switch_on(name) for name in ("alpha", "beta")]
    jobs = [by_hand(node, host, tmp_path, "--nodes=2", "--hold=3") for node, host in enumerate(hosts)]
    wait_for(lambda: all(size_at(tmp_path, 3, rank) for rank in range(2)), *jobs)
    network.cut_off("beta")
    let_go_on(tmp_path, 3)
    time.sleep(2)
    assert not size_at(tmp_path, 4)
    network.join("beta")
    check_ended_well(*jobs)
    check_is_as(results(tmp_path, 2), alone)


# ------------------------------------------------------------------------------- torchrun starts them again


def test_process_that_dies(network: Network, uninterrupted: dict[str, Any], tmp_path: Path) -> None:
    options = ("--nodes=2", "--dropout=0.3", "--crash", "5", "1")
    jobs = [
        by_torchrun(network.switch_on(name), tmp_path, *options, more=("--max-restarts=1", QUICKLY))
        for name in ("alpha", "beta")
    ]
    check_ended_well(*jobs)
    found = results(tmp_path, 2)
    assert found[0]["weights"] == uninterrupted["weights"]
    assert found[0]["val_loss"] == uninterrupted["val_loss"]
    assert re.search(r"Rank 1 \(pid \d+ on \w+\) died without an error", "".join(job.said for job in jobs))


def test_host_that_is_lost_and_replaced(
    network: Network, uninterrupted: dict[str, Any], tmp_path: Path
) -> None:
    def start(name: str) -> Job:
        options = ("--nodes=2", "--dropout=0.3", "--hold=5")
        return by_torchrun(network.switch_on(name), tmp_path, *options, more=("--max-restarts=3", QUICKLY))

    alpha, beta = start("alpha"), start("beta")
    wait_for(lambda: all(size_at(tmp_path, 5, rank) for rank in range(2)), alpha, beta)
    network.hosts["beta"].kill()
    let_go_on(tmp_path, 5)
    check_ended_well(alpha, start("beta"))
    found = results(tmp_path, 2)
    assert found[0]["weights"] == uninterrupted["weights"]
    assert found[0]["val_loss"] == uninterrupted["val_loss"]


def test_host_that_joins_later_and_is_lost(network: Network, tmp_path: Path) -> None:
    def start(name: str) -> Job:
        more = ("--max-restarts=3", QUICKLY)
        options = ("--nodes=2", "--hold=3", "--hold=6")
        return by_torchrun(network.switch_on(name), tmp_path, *options, nodes="1:2", more=more)

    alpha = start("alpha")
    wait_for(lambda: size_at(tmp_path, 3) == 1, alpha)
    beta = start("beta")
    wait_for(lambda: "SIGTERM: ending after the current step" in alpha.said, alpha, beta)
    let_go_on(tmp_path, 3)
    wait_for(lambda: size_at(tmp_path, 6) == 2, alpha, beta)
    network.hosts["beta"].kill()
    let_go_on(tmp_path, 6)
    check_ended_well(alpha)
    steps = range(1, 1 + results(tmp_path, 1)[0]["steps"])
    sizes = [size_at(tmp_path, step) for step in steps]
    assert [size for size, _ in groupby(sizes)] == [1, 2, 1]
    taken: Counter[int] = Counter()
    for step, size in zip(steps, sizes, strict=True):
        for rank in range(size):
            taken.update(json.loads((tmp_path / f"rank {rank} did step {step}").read_text())["samples"])
    assert taken == dict.fromkeys(range(SAMPLES), EPOCHS)
