"""LSF with jsrun, the starter of IBM's clusters."""

from __future__ import annotations

import socket

from fulmen.base import environ
from fulmen.errors import ConfigError
from fulmen.runtime import ports
from fulmen.runtime.clusters.environment import ManagedEnvironment, is_set, number, text


class LSFEnvironment(ManagedEnvironment):
    """Processes of jsrun in a job of LSF."""

    @staticmethod
    def detect() -> bool:
        return is_set("LSB_JOBID", "LSB_DJOB_RANKFILE", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_LOCAL_RANK")

    @property
    def main_address(self) -> str:
        return environ.read("MASTER_ADDR") or self._hosts()[0]

    @property
    def main_port(self) -> int:
        return number("MASTER_PORT") if is_set("MASTER_PORT") else ports.guessed(text("LSB_JOBID"))

    def speaks_of(self, num_devices: int, num_nodes: int) -> bool:
        return self.global_rank() == 0  # jsrun has one terminal

    def world_size(self) -> int:
        return number("JSM_NAMESPACE_SIZE")

    def global_rank(self) -> int:
        return number("JSM_NAMESPACE_RANK")

    def local_rank(self) -> int:
        return number("JSM_NAMESPACE_LOCAL_RANK")

    def node_rank(self) -> int:
        hosts, own = [host.partition(".")[0] for host in self._hosts()], socket.gethostname()
        if own.partition(".")[0] not in hosts:
            raise ConfigError(
                "This host is not one of the job's.", received=own, expected=f"one of {', '.join(hosts)}"
            )
        return hosts.index(own.partition(".")[0])

    def _hosts(self) -> list[str]:
        """The job's hosts that compute; the first one that LSF lists only launches."""
        path = text("LSB_DJOB_RANKFILE")
        try:
            with open(path) as file:
                listed = list(dict.fromkeys(line.split()[0] for line in file if line.strip()))
        except OSError as error:
            raise ConfigError("LSF's list of hosts cannot be read.", received=str(error)) from error
        if len(listed) < 2:
            raise ConfigError(
                "LSF's list of hosts has no host that computes.",
                received=f"{path}: {', '.join(listed) or 'nothing'}",
                expected="the host that launches, then those that compute",
            )
        return listed[1:]
