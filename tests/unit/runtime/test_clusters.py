"""What variables say of the world, for each way to start processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from fulmen.base import report
from fulmen.errors import ConfigError, DistributedError
from fulmen.runtime import clusters, ports
from fulmen.runtime.clusters import (
    ClusterEnvironment,
    KubeflowEnvironment,
    LightningEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from fulmen.runtime.clusters.slurm import expand_counts, first_host
from fulmen.runtime.world import World

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "2",
    "TORCHELASTIC_MAX_RESTARTS": "0", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "RANK": "3",
    "LOCAL_RANK": "1", "GROUP_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "2",
}  # fmt: skip
SLURM = {
    "SLURM_JOB_ID": "123", "SLURM_JOB_NAME": "train", "SLURM_STEP_ID": "0", "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_STEP_NODELIST": "gpu[07-08]",
}  # fmt: skip
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "OMPI_COMM_WORLD_NODE_RANK": "1",
}  # fmt: skip
MPICH = {"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2", "PMI_FD": "6"}
MVAPICH = {name.replace("OMPI_", "MV2_"): value for name, value in OPEN_MPI.items()}
MEETING = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
KUBEFLOW = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "WORLD_SIZE": "4", "RANK": "3", **MEETING}
BY_HAND = {"LOCAL_RANK": "1", "NODE_RANK": "1", **MEETING}
LSF = {
    "LSB_JOBID": "77", "JSM_NAMESPACE_SIZE": "4", "JSM_NAMESPACE_RANK": "3", "JSM_NAMESPACE_LOCAL_RANK": "1",
}  # fmt: skip

IN_FULL = World(rank=3, local_rank=1, size=4, node=1, nodes=2)
CASES = {
    "torchrun": (TORCHRUN, TorchElasticEnvironment, IN_FULL),
    "torchrun in SLURM": (TORCHRUN | SLURM, TorchElasticEnvironment, IN_FULL),
    "torchrun in Kubernetes": (KUBEFLOW | TORCHRUN, TorchElasticEnvironment, IN_FULL),
    "srun": (SLURM, SLURMEnvironment, IN_FULL),
    "srun with PMI": (SLURM | {"PMI_RANK": "3", "PMI_SIZE": "4"}, SLURMEnvironment, IN_FULL),
    "Open MPI": (OPEN_MPI | MEETING, MPIEnvironment, IN_FULL),
    "Open MPI in SLURM": (SLURM | {"SLURM_PROCID": "1"} | OPEN_MPI | MEETING, MPIEnvironment, IN_FULL),
    "MPICH": (MPICH | MEETING, MPIEnvironment, IN_FULL),
    "MVAPICH": (MVAPICH | MEETING, MPIEnvironment, IN_FULL),
    "by hand": (BY_HAND, LightningEnvironment, IN_FULL),
}  # fmt: skip


@pytest.fixture(autouse=True)
def nobody_has_started_this(monkeypatch: pytest.MonkeyPatch) -> None:
    starters = (
        "TORCHELASTIC", "SLURM", "OMPI_", "PMI", "MPI_", "MV2_", "LSB_", "JSM_", "KUBERNETES", "MASTER_",
        "RANK", "WORLD_SIZE", "LOCAL_", "NODE_RANK", "GROUP_",
    )  # fmt: skip
    for name in list(os.environ):
        if name.startswith(starters):
            monkeypatch.delenv(name)
    monkeypatch.setattr(report.rank_zero_only, "rank", 0)


def put(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", CASES)
def test_world(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, kind, world = CASES[name]
    put(monkeypatch, variables)
    environment = clusters.detect()
    assert type(environment) is kind
    assert environment.creates_processes_externally
    assert clusters.world_of(environment, 2, 2) == world
    assert report.rank_zero_only.rank == 3  # pyright: ignore[reportFunctionMemberAccess]
    environment.teardown()


def test_alone() -> None:
    environment = clusters.detect()
    assert type(environment) is LightningEnvironment
    assert not environment.creates_processes_externally
    assert clusters.world_of(environment, 1, 1) == World()


def test_first_of_processes_that_are_to_be_started() -> None:
    environment = LightningEnvironment()
    assert clusters.world_of(environment, 4, 1) == World(rank=0, size=4)
    assert environment.main_address == "127.0.0.1"
    assert environment.main_port == LightningEnvironment().main_port  # one port for the process
    held = ports.take(environment.main_port)
    assert held is not None  # so that nobody else can take it
    held.close()
    assert ports.take(environment.main_port) is None


def test_first_process_of_a_node_that_a_user_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, {"NODE_RANK": "1", **MEETING})
    environment = clusters.detect()
    assert not environment.creates_processes_externally
    assert clusters.world_of(environment, 2, 2) == World(rank=2, local_rank=0, size=4, node=1, nodes=2)
    assert (environment.main_address, environment.main_port) == ("10.0.0.1", 29500)


@pytest.mark.parametrize(
    ("variables", "devices", "nodes", "said"),
    [
        (TORCHRUN, 4, 1, "torchrun --nnodes=1 --nproc-per-node=4"),
        (TORCHRUN, 2, 3, "Trainer(devices=2, num_nodes=2)"),
        (SLURM, 4, 2, "#SBATCH --ntasks-per-node=4, or Trainer(devices=2)"),
        (SLURM, 2, 1, "#SBATCH --nodes=1, or Trainer(num_nodes=2)"),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "3,1"}, 2, 2, "#SBATCH --ntasks-per-node=2"),
        (OPEN_MPI | MEETING, 1, 4, "mpirun -np 4, 1 on each of 4 hosts"),
        (MPICH | MEETING, 4, 2, "Trainer(devices=2, num_nodes=2)"),
        (OPEN_MPI, 2, 2, "-x MASTER_ADDR="),
        (MPICH, 2, 2, "-genv MASTER_ADDR"),
        (KUBEFLOW, 2, 1, "devices=2, num_nodes=1, and 4 processes"),
        (BY_HAND, 1, 2, "LOCAL_RANK=1 in the environment, devices=1"),
        (BY_HAND, 2, 1, "NODE_RANK=1 in the environment, num_nodes=1"),
        ({}, 1, 2, "MASTER_ADDR=<host of node 0>"),
        ({"MASTER_ADDR": "a", "MASTER_PORT": "1"}, 1, 2, "NODE_RANK=<0, 1, ...>"),
        ({"LOCAL_RANK": "1"}, 2, 1, "no MASTER_PORT"),
    ],
)
def test_arguments_that_do_not_fit(
    variables: dict[str, str], devices: int, nodes: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, variables)
    with pytest.raises(ConfigError) as caught:
        clusters.world_of(clusters.detect(), devices, nodes)
    assert said in str(caught.value)


def test_torchrun_may_go_on_with_fewer_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, TORCHRUN | {"TORCHELASTIC_MAX_RESTARTS": "3"})
    environment = TorchElasticEnvironment()
    assert clusters.world_of(environment, 2, 3) == IN_FULL
    assert environment.restart_count() == 2
    assert not environment.hosts_store  # torchrun's own agent does
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "False")
    assert environment.hosts_store
    with pytest.raises(ConfigError, match="another number of processes"):
        clusters.world_of(environment, 2, 1)  # more than were asked for is still an error


def test_pods_of_kubeflow(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, KUBEFLOW)
    environment = clusters.detect()
    assert type(environment) is KubeflowEnvironment
    assert clusters.world_of(environment, 1, 4) == World(rank=3, local_rank=0, size=4, node=3, nodes=4)
    assert environment.main_port == 29500


def test_lsf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("batch1\n" + "node07\n" * 2 + "node08\n" * 2)
    put(monkeypatch, LSF | {"LSB_DJOB_RANKFILE": str(hosts)})
    monkeypatch.setattr("socket.gethostname", lambda: "node08.cluster.org")
    environment = clusters.detect()
    assert type(environment) is LSFEnvironment
    assert clusters.world_of(environment, 2, 2) == IN_FULL
    assert environment.main_address == "node07"  # the first one only launches
    assert environment.main_port == LSFEnvironment().main_port
    monkeypatch.setattr("socket.gethostname", lambda: "laptop")
    with pytest.raises(ConfigError, match="not one of the job's"):
        environment.node_rank()
    hosts.write_text("batch1\n")
    with pytest.raises(ConfigError, match="no host that computes"):
        _ = environment.main_address


@pytest.mark.parametrize(
    "change",
    [
        {"SLURM_STEP_ID": ""},  # python alone in an sbatch script
        {"SLURM_STEP_ID": "4294967290"},  # the shell of salloc
        {"SLURM_JOB_NAME": "bash", "SLURM_STEP_NUM_TASKS": "1"},
        {"SLURM_JOB_NAME": "interactive", "SLURM_STEP_NUM_TASKS": "1"},
        {"SLURM_PTY_PORT": "41000", "SLURM_STEP_NUM_TASKS": "1"},  # srun --pty
        {"SLURM_PTY_PORT": "41000"},  # srun --pty with several tasks, of which one has the terminal
    ],
)
def test_process_in_a_job_of_slurm_that_srun_has_not_started(
    change: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, SLURM | change)
    monkeypatch.setattr("os.isatty", lambda descriptor: descriptor == 0)
    with pytest.warns(report.FulmenWarning, match="4 tasks.*Put `srun` in front"):
        environment = clusters.detect()
    assert type(environment) is LightningEnvironment
    assert SLURMEnvironment.job_id() is None
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert type(clusters.detect()) is LightningEnvironment  # and nothing to warn of


def test_srun_in_a_shell_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, SLURM | {"SLURM_JOB_NAME": "interactive", "SLURM_PTY_PORT": "41000"})
    monkeypatch.setattr("os.isatty", lambda descriptor: False)
    assert type(clusters.detect()) is SLURMEnvironment  # what the shell was told is passed on


def test_slurm_knows_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, SLURM)
    environment = SLURMEnvironment()
    assert environment.auto_requeue
    assert environment.requeue_signal == signal.SIGUSR1
    assert environment.job() == "slurm-123.0"
    assert SLURMEnvironment(auto_requeue=False).job() is None
    assert SLURMEnvironment(requeue_signal=signal.SIGTERM).requeue_signal == signal.SIGTERM
    assert environment.job_id() == 123
    assert environment.job_name() == "train"
    assert environment.requeue_id() == "123"
    assert environment.restart_count() == 0
    port = environment.main_port
    assert port in ports.GUESSED
    assert environment.main_address == "gpu07"

    put(monkeypatch, {"SLURM_ARRAY_JOB_ID": "120", "SLURM_ARRAY_TASK_ID": "3", "SLURM_RESTART_COUNT": "2"})
    assert environment.requeue_id() == "120_3"
    assert environment.job() == "slurm-120_3.0"
    assert environment.restart_count() == 2
    assert environment.main_port != port  # what is left of the first start is not met again

    put(monkeypatch, {"SLURM_STEP_RESV_PORTS": "12001-12004"})
    assert environment.main_port == 12001
    put(monkeypatch, MEETING)
    assert (environment.main_address, environment.main_port) == ("10.0.0.1", 29500)


def test_without_slurm_there_is_no_job() -> None:
    assert SLURMEnvironment().job() is None
    assert LightningEnvironment().job() is None


@pytest.mark.parametrize(
    ("scontrol", "said"),
    [
        ("echo asked $1 $2 > {folder}/asked", None),
        ("echo Only batch jobs are accepted >&2; exit 1", "requeue 120_3: Only batch jobs are accepted"),
        (None, "No such file or directory: 'scontrol'"),
    ],
)
def test_slurm_is_asked_to_start_the_job_again(
    scontrol: str | None, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, SLURM | {"SLURM_ARRAY_JOB_ID": "120", "SLURM_ARRAY_TASK_ID": "3", "PATH": str(tmp_path)})
    if scontrol is not None:
        (tmp_path / "scontrol").write_text("#!/bin/sh\n" + scontrol.format(folder=tmp_path))
        (tmp_path / "scontrol").chmod(0o700)
    if said is None:
        SLURMEnvironment().requeue()
        assert (tmp_path / "asked").read_text() == "asked requeue 120_3\n"
    else:
        with pytest.raises(DistributedError, match=said):
            SLURMEnvironment().requeue()


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("alpha", "alpha"),
        ("alpha,beta,gamma", "alpha"),
        ("host[22-25]", "host22"),
        ("host[001-003,9],other", "host001"),
        ("host[7,9-10]-ib", "host7-ib"),
        ("rack[2-3]n[10,20],x", "rack2n10"),
    ],
)
def test_first_host(nodes: str, host: str) -> None:
    assert first_host(nodes) == host


def test_counts_in_the_notation_of_slurm() -> None:
    assert expand_counts("2(x3),1") == [2, 2, 2, 1]
    assert expand_counts("4") == [4]


@pytest.mark.parametrize(("rank", "local_rank", "node"), [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1)])
def test_mpi_that_deals_out_ranks(
    rank: int, local_rank: int, node: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dealt = {"OMPI_COMM_WORLD_RANK": str(rank), "OMPI_COMM_WORLD_LOCAL_RANK": str(local_rank)}
    put(monkeypatch, OPEN_MPI | MEETING | dealt)
    assert clusters.world_of(MPIEnvironment(), 2, 2) == World(rank, local_rank, 4, node, 2)


@pytest.mark.parametrize("names", [OPEN_MPI, MPICH], ids=["Open MPI", "MPICH"])
def test_mpirun_has_one_terminal(names: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def speaking(num_devices: int, num_nodes: int, local_sizes: list[int]) -> list[int]:
        places = [(local_rank, size) for size in local_sizes for local_rank in range(size)]
        found = []
        for rank, (local_rank, local_size) in enumerate(places):
            numbers = map(str, (rank, len(places), local_rank, local_size))
            put(monkeypatch, dict(zip(list(names)[:4], numbers, strict=True)))
            environment = MPIEnvironment()
            try:
                environment.validate_settings(num_devices, num_nodes)
            except ConfigError:
                found += [rank] if environment.speaks_of(num_devices, num_nodes) else []
        return found

    assert speaking(3, 2, [2, 2]) == [0]
    assert speaking(1, 2, [2, 2, 2]) == [0]
    assert speaking(2, 2, [2, 2]) == [0]  # no MASTER_ADDR
    monkeypatch.setenv("MASTER_ADDR", "alpha")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert speaking(2, 3, [2, 1, 3]) == [2, 3]
    assert speaking(2, 2, [2, 2]) == []


def test_processes_of_mpi_on_one_host_meet_at_a_file_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    one_host = OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "3"}
    put(monkeypatch, one_host | {"PMIX_NAMESPACE": "11", "PMIX_SERVER_TMPDIR": "/tmp/ompi/pid.7"})
    file = MPIEnvironment().meeting_file()
    assert file is not None
    assert file == MPIEnvironment().meeting_file()
    assert Path(file).parent.stat().st_mode & 0o777 == 0o700
    assert not Path(file).exists()
    monkeypatch.setenv("PMIX_SERVER_TMPDIR", "/tmp/ompi/pid.8")
    assert MPIEnvironment().meeting_file() != file
    put(monkeypatch, MEETING)
    assert MPIEnvironment().meeting_file() is None


def test_mpirun_with_one_process_is_no_world(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "1"})
    assert type(clusters.detect()) is LightningEnvironment


def test_variables_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, TORCHRUN | {"RANK": "three"})
    with pytest.raises(ConfigError, match=r"RANK is not a whole number"):
        clusters.world_of(clusters.detect(), 2, 2)
    monkeypatch.delenv("RANK")
    with pytest.raises(ConfigError, match=r"RANK is not set"):
        clusters.world_of(clusters.detect(), 2, 2)


class Own(ClusterEnvironment):
    """As users write it: the members that have to be there, and no others."""

    def __init__(self, size: int = 4, rank: int = 3) -> None:
        self.size, self.rank = size, rank

    creates_processes_externally = True  # pyright: ignore[reportAssignmentType]
    main_address = "head"  # pyright: ignore[reportAssignmentType]
    main_port = 1  # pyright: ignore[reportAssignmentType]

    @staticmethod
    def detect() -> bool:
        return True

    def world_size(self) -> int:
        return self.size

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self.rank % 2

    def node_rank(self) -> int:
        return self.rank // 2


def test_environment_of_a_user() -> None:
    assert clusters.world_of(Own(), 2, 2) == IN_FULL
    with pytest.raises(ConfigError, match="devices=4, num_nodes=2, and 4 processes"):
        clusters.world_of(Own(), 4, 2)
    with pytest.raises(ConfigError, match="rank 4 of 4"):
        clusters.world_of(Own(rank=4), 2, 2)
