"""torchrun."""

from __future__ import annotations

from fulmen.base import environ
from fulmen.errors import ConfigError
from fulmen.runtime.clusters.environment import ManagedEnvironment, is_set, number


class TorchElasticEnvironment(ManagedEnvironment):
    """Processes of torchrun, which may start all of them anew, and then perhaps fewer, when one fails."""

    @staticmethod
    def detect() -> bool:
        return is_set("TORCHELASTIC_RUN_ID")

    @property
    def hosts_store(self) -> bool:
        return environ.read("TORCHELASTIC_USE_AGENT_STORE") != "True"

    def world_size(self) -> int:
        return number("WORLD_SIZE")

    def global_rank(self) -> int:
        return number("RANK")

    def local_rank(self) -> int:
        return number("LOCAL_RANK")

    def node_rank(self) -> int:
        return number("GROUP_RANK")

    def restart_count(self) -> int:
        """How many times torchrun has started the processes anew."""
        return number("TORCHELASTIC_RESTART_COUNT")

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        devices, nodes = number("LOCAL_WORLD_SIZE"), number("GROUP_WORLD_SIZE")
        shrunk = nodes < num_nodes and number("TORCHELASTIC_MAX_RESTARTS") > 0  # a node may have been lost
        if devices != num_devices or (nodes != num_nodes and not shrunk):
            raise ConfigError(
                "torchrun has started another number of processes than the Trainer is told.",
                received=f"devices={num_devices}, num_nodes={num_nodes}; torchrun has started "
                f"{devices} on each of {nodes} nodes",
                fix=f"Trainer(devices={devices}, num_nodes={nodes}), or "
                f"torchrun --nnodes={num_nodes} --nproc-per-node={num_devices}",
            )
