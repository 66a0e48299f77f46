"""Paths of the other packages: `lightning` itself, `lightning.fabric` and `lightning.lite`."""

from __future__ import annotations

from fulmen.compat.lightning.names.current import (
    ACCELERATORS,
    COMPAT,
    ENVIRONMENTS,
    IO,
    NO_REGISTRY,
    NO_XLA,
    OLD_STRATEGIES,
    PRECISION_PLUGINS,
    PRECISIONS,
    RANK_ZERO,
    STRATEGIES,
    TOP,
)
from fulmen.compat.lightning.names.entries import Names, offer, pick, refuse, rename, stand_in, until
from fulmen.compat.lightning.names.tools import TREES

NO_FABRIC = (
    "Fabric is out of scope: a LightningModule with manual optimization, or a loop of your own without one"
)
NO_APPS = "apps are out of scope: Lightning's own package has them"

FABRIC: dict[str, Names] = {
    "": offer("fulmen", "seed_everything") | refuse(NO_FABRIC, "Fabric is_wrapped"),
    "accelerators": ACCELERATORS,
    "accelerators.accelerator": offer("fulmen.runtime.device", "Accelerator"),
    "accelerators.cpu": offer("fulmen.runtime.device", "CPUAccelerator"),
    "accelerators.cuda": offer("fulmen.runtime.device", "CUDAAccelerator")
    | offer(f"{COMPAT}.devices", "find_usable_cuda_devices is_cuda_available num_cuda_devices"),
    "accelerators.mps": offer("fulmen.runtime.device", "MPSAccelerator"),
    "fabric": refuse(NO_FABRIC, "Fabric"),
    "loggers": offer("fulmen.loggers", "CSVLogger Logger TensorBoardLogger"),
    "loggers.csv_logs": offer("fulmen.loggers", "CSVLogger"),
    "loggers.logger": offer("fulmen.core.logger", "Logger rank_zero_experiment"),
    "loggers.tensorboard": offer("fulmen.loggers", "TensorBoardLogger"),
    "plugins": IO | PRECISIONS | offer("fulmen.runtime.clusters", "ClusterEnvironment"),
    "plugins.collectives": refuse("torch.distributed", "Collective SingleDeviceCollective TorchCollective"),
    "plugins.environments": offer("fulmen.runtime.clusters", ENVIRONMENTS)
    | stand_in(NO_XLA, "XLAEnvironment"),
    "plugins.environments.cluster_environment": offer("fulmen.runtime.clusters", "ClusterEnvironment"),
    "plugins.environments.kubeflow": offer("fulmen.runtime.clusters", "KubeflowEnvironment"),
    "plugins.environments.lightning": offer("fulmen.runtime.clusters", "LightningEnvironment")
    | offer(f"{COMPAT}.ranks", "find_free_network_port"),
    "plugins.environments.lsf": offer("fulmen.runtime.clusters", "LSFEnvironment"),
    "plugins.environments.mpi": offer("fulmen.runtime.clusters", "MPIEnvironment"),
    "plugins.environments.slurm": offer("fulmen.runtime.clusters", "SLURMEnvironment"),
    "plugins.environments.torchelastic": offer("fulmen.runtime.clusters", "TorchElasticEnvironment"),
    "plugins.environments.xla": stand_in(NO_XLA, "XLAEnvironment"),
    "plugins.io": pick(IO, "CheckpointIO TorchCheckpointIO XLACheckpointIO"),
    "plugins.io.checkpoint_io": offer("fulmen.strategies", "CheckpointIO"),
    "plugins.io.torch_io": offer("fulmen.strategies", "TorchCheckpointIO"),
    "plugins.precision": PRECISIONS,
    "plugins.precision.amp": offer("fulmen.precision", "MixedPrecision"),
    "plugins.precision.double": offer("fulmen.precision", "DoublePrecision"),
    "plugins.precision.half": offer("fulmen.precision", "HalfPrecision"),
    "plugins.precision.precision": offer("fulmen.precision", "Precision"),
    "strategies": STRATEGIES | pick(OLD_STRATEGIES, "DataParallelStrategy"),
    "strategies.ddp": offer("fulmen.strategies", "DDPStrategy"),
    "strategies.fsdp": pick(STRATEGIES, "FSDPStrategy"),
    "strategies.parallel": pick(STRATEGIES, "ParallelStrategy"),
    "strategies.registry": refuse(NO_REGISTRY, "_StrategyRegistry"),
    "strategies.single_device": offer("fulmen.strategies", "SingleDeviceStrategy"),
    "strategies.strategy": offer("fulmen.strategies", "Strategy"),
    "utilities": {
        **offer("fulmen.core.hparams", "AttributeDict"),
        **offer(f"{COMPAT}.enums", "LightningEnum"),
        **offer(f"{COMPAT}.trees", "move_data_to_device"),
        **offer(f"{COMPAT}.models", "measure_flops"),
        **offer(f"{COMPAT}.loading", "suggested_max_num_workers"),
        **offer(
            f"{COMPAT}.ranks",
            "disable_possible_user_warnings rank_zero_deprecation rank_zero_info rank_zero_only "
            "rank_zero_warn",
        ),
        **refuse("count samples and seconds in a callback of your own", "Throughput ThroughputMonitor"),
    },
    "utilities.apply_func": TREES
    | offer(f"{COMPAT}.trees", "convert_to_tensors")
    | rename(convert_tensors_to_scalars=f"{COMPAT}.trees:metrics_to_scalars"),
    "utilities.cloud_io": rename(
        _atomic_save=f"{COMPAT}.saving:atomic_save",
        _load=f"{COMPAT}.saving:load",
        get_filesystem=f"{COMPAT}.saving:get_filesystem",
    ),
    "utilities.data": offer("fulmen.core.hparams", "AttributeDict")
    | offer(f"{COMPAT}.loading", "has_iterable_dataset has_len sized_len suggested_max_num_workers"),
    "utilities.device_dtype_mixin": rename(_DeviceDtypeModuleMixin=f"{COMPAT}.models:DeviceDtypeModuleMixin"),
    "utilities.device_parser": rename(_parse_gpu_ids=f"{COMPAT}.devices:parse_gpu_ids"),
    "utilities.distributed": rename(
        _all_gather_ddp_if_available=f"{COMPAT}.ranks:all_gather_ddp_if_available",
        _distributed_available=f"{COMPAT}.ranks:distributed_available",
        _distributed_is_initialized=f"{COMPAT}.ranks:distributed_available",
        _gather_all_tensors=f"{COMPAT}.ranks:gather_all_tensors",
        _sync_ddp_if_available=f"{COMPAT}.ranks:sync_ddp_if_available",
    ),
    "utilities.enums": offer(f"{COMPAT}.enums", "LightningEnum"),
    "utilities.exceptions": rename(MisconfigurationException="fulmen.errors:UsageError"),
    "utilities.imports": offer(
        f"{COMPAT}.imports",
        "_IS_INTERACTIVE _TORCH_GREATER_EQUAL_2_0 _TORCH_GREATER_EQUAL_2_1 _TORCH_GREATER_EQUAL_2_2 "
        "_TORCH_GREATER_EQUAL_2_3 _TORCH_GREATER_EQUAL_2_4",
    ),
    "utilities.logger": offer(f"{COMPAT}.parsing", "_convert_params _flatten_dict _sanitize_callable_params"),
    "utilities.optimizer": rename(
        _optimizer_to_device=f"{COMPAT}.models:optimizer_to_device",
        _optimizers_to_device=f"{COMPAT}.models:optimizers_to_device",
    ),
    "utilities.rank_zero": RANK_ZERO,
    "utilities.seed": offer("fulmen", "seed_everything")
    | offer(f"{COMPAT}.loading", "isolate_rng pl_worker_init_function reset_seed"),
    "utilities.throughput": offer(f"{COMPAT}.models", "measure_flops"),
    "utilities.types": offer(
        f"{COMPAT}.types", "LRScheduler Optimizable ReduceLROnPlateau _DEVICE _MAP_LOCATION_TYPE _PATH"
    ),
    "utilities.warnings": offer(f"{COMPAT}.ranks", "PossibleUserWarning disable_possible_user_warnings"),
    "wrappers": refuse(NO_FABRIC, "_FabricModule _FabricOptimizer is_wrapped"),
}
"""By path below `lightning.fabric`."""

LITE: dict[str, Names] = {
    "": until("1.8", offer("fulmen", "seed_everything"), refuse(NO_FABRIC, "LightningLite")),
    **{
        path: until("1.8", FABRIC[path] | (PRECISION_PLUGINS if path.startswith("plugins.precision") else {}))
        for path in (
            "accelerators",
            "loggers",
            "plugins",
            "plugins.environments",
            "plugins.precision",
            "strategies",
            "utilities",
            "utilities.apply_func",
            "utilities.cloud_io",
            "utilities.distributed",
            "utilities.rank_zero",
            "utilities.seed",
            "utilities.types",
        )
    },
}
"""By path below `lightning.lite`."""

TOP_LEVEL: dict[str, Names] = {
    "": TOP
    | refuse(NO_FABRIC, "Fabric")
    | until("1.9", refuse(NO_APPS, "LightningApp LightningFlow LightningWork")),
    "app": until("2.4", refuse(NO_APPS, "LightningApp LightningFlow LightningWork")),
    "data": refuse("litdata, its own package", "StreamingDataLoader StreamingDataset map optimize"),
}
"""By path below `lightning`."""
