"""What started this process, and the world that follows from it."""

from __future__ import annotations

from fulmen.base.report import leave_to_others, own_rank, rank_zero_only
from fulmen.errors import ConfigError
from fulmen.runtime.clusters.environment import ClusterEnvironment
from fulmen.runtime.clusters.kubeflow import KubeflowEnvironment
from fulmen.runtime.clusters.lightning import LightningEnvironment
from fulmen.runtime.clusters.lsf import LSFEnvironment
from fulmen.runtime.clusters.mpi import MPIEnvironment
from fulmen.runtime.clusters.slurm import SLURMEnvironment
from fulmen.runtime.clusters.torchelastic import TorchElasticEnvironment
from fulmen.runtime.world import World

__all__ = [
    "ENVIRONMENTS",
    "ClusterEnvironment",
    "KubeflowEnvironment",
    "LSFEnvironment",
    "LightningEnvironment",
    "MPIEnvironment",
    "SLURMEnvironment",
    "TorchElasticEnvironment",
    "detect",
    "world_of",
]

ENVIRONMENTS: tuple[type[ClusterEnvironment], ...] = (
    TorchElasticEnvironment,  # torchrun may be started by any of the others,
    MPIEnvironment,  # and mpirun by SLURM, LSF and Kubeflow
    SLURMEnvironment,
    LSFEnvironment,
    KubeflowEnvironment,
    LightningEnvironment,
)
"""The innermost starter first."""


def detect() -> ClusterEnvironment:
    """What started this process."""
    return next(kind for kind in ENVIRONMENTS if kind.detect())()


def world_of(environment: ClusterEnvironment, num_devices: int, num_nodes: int) -> World:
    """This process's place in a run on `num_devices` devices of each of `num_nodes` nodes.

    From here on, this process knows whether it is the one that speaks for all. Raises `ConfigError` where
    other processes were started than these arguments ask for.
    """
    if own_rank() and num_devices * num_nodes == 1 and isinstance(environment, LightningEnvironment):
        return World()  # in a script whose processes train together as well; another one speaks for all
    try:
        environment.validate_settings(num_devices, num_nodes)
    except ConfigError as error:
        if not environment.speaks_of(num_devices, num_nodes):
            leave_to_others(error)
        raise
    environment.set_world_size(num_devices * num_nodes)
    environment.set_global_rank(environment.node_rank() * num_devices + environment.local_rank())
    world = World(
        rank=environment.global_rank(),
        local_rank=environment.local_rank(),
        size=environment.world_size(),
        node=environment.node_rank(),
        nodes=max(1, environment.world_size() // num_devices),
    )
    if not 0 <= world.rank < world.size:
        raise ConfigError(
            f"{type(environment).__name__} names a process that there is not.",
            received=f"rank {world.rank} of {world.size} processes",
        )
    rank_zero_only.rank = world.rank  # pyright: ignore[reportFunctionMemberAccess]
    return world
