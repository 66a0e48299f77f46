"""A cluster of two nodes on this machine, of the real SLURM: Debian's packages slurm-wlm and munge, as root.

All its files are in one temporary folder, and nothing of it is left when it has stopped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fulmen.runtime import lifeline

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "salloc", "scontrol", "squeue", "scancel")
TIED = (sys.executable, "-I", "-S", lifeline.__file__)
"""What ends a program when the one that has started it ends, in whatever way."""
NODES = ("127.0.0.1", "127.0.0.2")  # names that lead somewhere, as those of real nodes do
START_S = 30.0
STOP_S = 5.0

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# The time after which a job that was put back may start again is that of its credential.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
ReturnToService=2
KillWait=5
InactiveLimit=0
MinJobAge=300
{nodes}
PartitionName=all Nodes={names} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why there can be no cluster here; None where there can."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    absent = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if absent:
        return f"{', '.join(absent)} not found: apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "SLURM's daemons are started as root"


class Cluster:
    """A running cluster; programs find it by `variables`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))},
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]),
        }
        self._daemons: list[subprocess.Popen[bytes]] = []

    def run(
        self, *command: str, folder: Path | None = None, limit_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the cluster's to its end."""
        return subprocess.run(
            command, cwd=folder, env=self.variables, timeout=limit_s, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    def state(self, job: str) -> str:
        """Of a job, or of one element of an array: PENDING, RUNNING, COMPLETED, ..."""
        said = self.run("scontrol", "show", "job", job, "--oneliner").stdout
        return said.partition("JobState=")[2].partition(" ")[0]

    def wait_until(self, job: str, states: Sequence[str], limit_s: float = 120.0) -> str:
        """Wait until a job is in one of these states, and return it."""
        give_up_s = time.monotonic() + limit_s
        while (state := self.state(job)) not in states:
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"Job {job} is {state or 'unknown'}.\n{self.logs()}")
            time.sleep(0.2)
        return state

    def logs(self) -> str:
        """The last words of the daemons."""
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-30:])
            for path in sorted(self.folder.glob("*.log"))
        )

    # ------------------------------------------------------------------------------------ start and stop

    def start(self) -> None:
        """Start the daemons, and wait until jobs can run."""
        self._write_key()
        place = {"key-file": "munge.key", "pid-file": "munged.pid", "seed-file": "munge.seed"}
        place |= {"log-file": "munged.log", "socket": "munge.socket"}
        options = [f"--{name}={self.folder / file}" for name, file in place.items()]
        # --force: the folder is its owner's alone, and munged would have everybody see its socket.
        self._daemon("munged", "--foreground", "--force", "--num-threads=2", *options)
        self._wait((self.folder / "munge.socket").exists)
        self._configure()
        self._daemon("slurmctld", "-D", "-c")
        for node in NODES:
            self._daemon("slurmd", "-D", "-c", "-N", node)
        self._wait(lambda: self.run("sinfo", "-h", "-o", "%D %t").stdout.split() == [str(len(NODES)), "idle"])

    def stop(self) -> None:
        """End all jobs and daemons, by force where they do not listen."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.run("scancel", "--signal=KILL", "--full", "--state=RUNNING", "--me", limit_s=STOP_S)
            self.run("scancel", "--me", limit_s=STOP_S)
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in reversed(self._daemons):
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(STOP_S)
            daemon.kill()
            daemon.wait()
        for pid in self.leftovers():  # steps have left the daemons' session, and may outlive them
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        give_up_s = time.monotonic() + STOP_S
        while self.leftovers() and time.monotonic() < give_up_s:
            time.sleep(0.05)

    def leftovers(self) -> list[int]:
        """Processes that know of this cluster, and of no other one."""
        mark = f"SLURM_CONF={self.folder / 'slurm.conf'}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

    def _write_key(self) -> None:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))

    def _configure(self) -> None:
        host = socket.gethostname().partition(".")[0]
        controller, *node_ports = free_ports(1 + len(NODES))
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr={node} Port={port} CPUs=4 State=UNKNOWN"
            for node, port in zip(NODES, node_ports, strict=True)
        )
        (self.folder / "state").mkdir()
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=host, controller=controller, folder=self.folder, nodes=nodes, names=",".join(NODES)
            )
        )

    def _daemon(self, name: str, *arguments: str) -> None:
        program = shutil.which(name, path=self.variables["PATH"]) or name
        with open(self.folder / f"{name}.out", "ab") as out:
            daemon = subprocess.Popen(
                [*TIED, str(os.getpid()), program, *arguments], cwd=self.folder, env=self.variables,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        self._daemons.append(daemon)

    def _wait(self, is_ready: Callable[[], bool]) -> None:
        give_up_s = time.monotonic() + START_S
        while not is_ready():
            if time.monotonic() > give_up_s or any(daemon.poll() is not None for daemon in self._daemons):
                raise RuntimeError(f"The cluster does not start.\n{self.logs()}")
            time.sleep(0.1)


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """A cluster that is there inside."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: the path of a socket may have 107 characters
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]
