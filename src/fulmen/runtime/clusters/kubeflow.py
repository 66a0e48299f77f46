"""Kubeflow's PyTorchJob."""

from __future__ import annotations

from fulmen.runtime.clusters.environment import ManagedEnvironment, is_set, number


class KubeflowEnvironment(ManagedEnvironment):
    """One process in each pod of a PyTorchJob; with torchrun in the pods, this is torchrun's environment."""

    @staticmethod
    def detect() -> bool:
        in_a_pod = is_set("KUBERNETES_SERVICE_HOST") or is_set("KUBERNETES_PORT")
        return (
            in_a_pod
            and is_set("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")
            and not is_set("LOCAL_RANK")
        )

    def world_size(self) -> int:
        return number("WORLD_SIZE")

    def global_rank(self) -> int:
        return number("RANK")

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return self.global_rank()
