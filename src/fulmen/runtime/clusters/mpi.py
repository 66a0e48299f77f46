"""mpirun and mpiexec, by the variables that they set: no MPI library is needed."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from typing import NamedTuple

from fulmen.base import environ
from fulmen.errors import ConfigError
from fulmen.runtime import ports
from fulmen.runtime.clusters.environment import ManagedEnvironment, is_set, number


class _Names(NamedTuple):
    """How one kind of MPI calls what it tells."""

    rank: str
    size: str
    local_rank: str
    local_size: str


OPEN_MPI = _Names(*(f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")))
MVAPICH = _Names(*(f"MV2_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")))
HYDRA = _Names("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")
"""The starter of MPICH and of Intel MPI."""


class MPIEnvironment(ManagedEnvironment):
    """Processes of Open MPI, MPICH, Intel MPI or MVAPICH.

    On one host they meet at a file; on several, MASTER_ADDR and MASTER_PORT must be set for all of them.
    """

    @staticmethod
    def detect() -> bool:
        return any(is_set(*names) and number(names.size) > 1 for names in (OPEN_MPI, MVAPICH, HYDRA))

    @property
    def _names(self) -> _Names:
        return next((names for names in (OPEN_MPI, MVAPICH, HYDRA) if is_set(*names)), OPEN_MPI)

    @property
    def main_address(self) -> str:
        return environ.read("MASTER_ADDR") or ports.LOOPBACK  # on several hosts, it has to be set

    def speaks_of(self, num_devices: int, num_nodes: int) -> bool:
        # mpirun has one terminal. Where the number is wrong on this host alone, rank 0 knows nothing of it.
        known_to_all = number(self._names.local_size) == num_devices
        known_to_all |= self.world_size() != num_devices * num_nodes
        return self.global_rank() == 0 if known_to_all else self.local_rank() == 0

    def world_size(self) -> int:
        return number(self._names.size)

    def global_rank(self) -> int:
        return number(self._names.rank)

    def local_rank(self) -> int:
        return number(self._names.local_rank)

    def node_rank(self) -> int:
        local_size, rank = number(self._names.local_size), self.global_rank()
        in_blocks = rank % local_size == self.local_rank()  # else they were dealt out, one to each node
        return rank // local_size if in_blocks else rank % (self.world_size() // local_size)

    def meeting_file(self) -> str | None:
        if is_set("MASTER_ADDR", "MASTER_PORT"):
            return None
        job = hashlib.blake2b(_job().encode(), digest_size=12).hexdigest()
        return os.path.join(_private_folder(), f"mpi-{job}")

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        size, local_size = self.world_size(), number(self._names.local_size)
        if size != num_devices * num_nodes or local_size != num_devices:
            raise ConfigError(
                "mpirun has started another number of processes than the Trainer is told.",
                received=f"devices={num_devices}, num_nodes={num_nodes}; mpirun started {size} processes, "
                f"{local_size} of them on this host",
                fix=f"Trainer(devices={local_size}, num_nodes={max(1, size // local_size)}), or "
                f"mpirun -np {num_devices * num_nodes}, {num_devices} on each of {num_nodes} hosts",
            )
        if num_nodes > 1 and not is_set("MASTER_ADDR", "MASTER_PORT"):
            raise ConfigError(
                "mpirun does not say how processes on several hosts find each other.",
                received="no MASTER_ADDR and MASTER_PORT in the environment",
                fix="mpirun -x MASTER_ADDR=<host of rank 0> -x MASTER_PORT=29500 ... (Open MPI), or "
                "mpirun -genv MASTER_ADDR <host of rank 0> -genv MASTER_PORT 29500 ... (MPICH, Intel MPI)",
            )


def _private_folder() -> str:
    if sys.platform == "win32":
        return tempfile.gettempdir()  # which is the user's own there
    folder = os.path.join(tempfile.gettempdir(), f"fulmen-{os.getuid()}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.stat(folder).st_uid != os.getuid():
        raise ConfigError(
            "The folder in which processes are to meet belongs to another user.",
            received=folder,
            fix="export TMPDIR=<a folder of yours>, or MASTER_ADDR and MASTER_PORT, for all processes",
        )
    return folder


def _job() -> str:
    """What the processes of this job, and no others, have in common on this host."""
    if is_set("PMIX_NAMESPACE", "PMIX_SERVER_TMPDIR"):
        return f"{environ.read('PMIX_NAMESPACE')} {environ.read('PMIX_SERVER_TMPDIR')}"
    starter = os.getppid()
    if sys.platform != "linux":
        return str(starter)
    with open(f"/proc/{starter}/stat") as file:
        started = file.read().rpartition(")")[2].split()[19]  # numbers of processes are used again
    return f"{starter} {started}"
