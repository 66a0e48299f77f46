"""Processes that we start ourselves, or that a user starts by hand, one by one."""

from __future__ import annotations

from fulmen.base import environ
from fulmen.errors import ConfigError
from fulmen.runtime import ports
from fulmen.runtime.clusters.environment import ClusterEnvironment, is_set, number


class LightningEnvironment(ClusterEnvironment):
    """Alone, or with peers on this node that the Trainer starts.

    For several nodes, start the script once on each, with NODE_RANK, MASTER_ADDR and MASTER_PORT set;
    with LOCAL_RANK set as well, nothing more is started.
    """

    def __init__(self) -> None:
        self._size = 1
        self._rank = 0

    @property
    def creates_processes_externally(self) -> bool:
        return is_set("LOCAL_RANK")

    @property
    def main_address(self) -> str:
        return environ.read("MASTER_ADDR") or ports.LOOPBACK

    @property
    def main_port(self) -> int:
        return number("MASTER_PORT") if is_set("MASTER_PORT") else ports.reserve()

    @staticmethod
    def detect() -> bool:
        return True

    def world_size(self) -> int:
        return self._size

    def set_world_size(self, size: int) -> None:
        self._size = size

    def global_rank(self) -> int:
        return self._rank

    def set_global_rank(self, rank: int) -> None:
        self._rank = rank

    def local_rank(self) -> int:
        return number("LOCAL_RANK") if is_set("LOCAL_RANK") else 0

    def node_rank(self) -> int:
        known = next((name for name in ("NODE_RANK", "GROUP_RANK") if is_set(name)), None)
        return number(known) if known else 0

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        for name, value, argument, limit in (
            ("LOCAL_RANK", self.local_rank(), "devices", num_devices),
            ("NODE_RANK", self.node_rank(), "num_nodes", num_nodes),
        ):
            if not 0 <= value < limit:
                raise ConfigError(
                    f"{name} names a process that there is not.",
                    received=f"{name}={value} in the environment, {argument}={limit}",
                    expected=f"0 <= {name} < {argument}",
                )
        if num_nodes > 1 and not is_set("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
            raise ConfigError(
                "Nothing says how the nodes find each other.",
                received=f"num_nodes={num_nodes}, and no torchrun, srun, mpirun or the like",
                fix="start the script with one of them; or on every node, with the same address and port: "
                "MASTER_ADDR=<host of node 0> MASTER_PORT=29500 NODE_RANK=<0, 1, ...> python ...",
            )
        if num_devices > 1 and self.creates_processes_externally and not is_set("MASTER_PORT"):
            raise ConfigError(
                "LOCAL_RANK says that another program has started all processes, but not where they meet.",
                received="LOCAL_RANK in the environment, and no MASTER_PORT",
                fix="unset LOCAL_RANK, or set MASTER_PORT to the same free port for all processes",
            )
