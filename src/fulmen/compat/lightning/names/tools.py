"""Paths below `lightning.pytorch.utilities`, in all versions."""

from __future__ import annotations

from fulmen.compat.lightning.names.current import (
    COMPAT,
    MODEL_SUMMARY,
    NO_CLI,
    NO_DEEPSPEED,
    NO_LOOPS,
    NO_REGISTRY,
    NO_XLA,
    RANK_ZERO,
    UTILITIES,
)
from fulmen.compat.lightning.names.entries import Names, offer, refuse, rename, stand_in, until

EXCEPTIONS: Names = {
    **rename(
        MisconfigurationException="fulmen.errors:UsageError",
        SIGTERMException="fulmen.engine.signals:SignalInterrupt",
    ),
    **until(
        "1.9",
        rename(
            DeadlockDetectedException="fulmen.errors:DistributedError",
            ExitGracefullyException="fulmen.engine.signals:SignalInterrupt",
        ),
    ),
}

TREES: Names = offer(
    f"{COMPAT}.trees",
    "TransferableDataType apply_to_collection apply_to_collections convert_to_tensors from_numpy "
    "move_data_to_device to_dtype_tensor",
)

PARSING: Names = {
    **offer("fulmen.core.hparams", "AttributeDict"),
    **offer(
        f"{COMPAT}.parsing",
        "clean_namespace collect_init_args get_init_args is_picklable lightning_getattr lightning_hasattr "
        "lightning_setattr parse_class_init_keys save_hyperparameters",
    ),
    **until(
        "1.9", offer(f"{COMPAT}.parsing", "flatten_dict str_to_bool str_to_bool_or_int str_to_bool_or_str")
    ),
}

MEMORY: Names = {
    **offer(
        f"{COMPAT}.devices",
        "garbage_collection_cuda is_cuda_out_of_memory is_cudnn_snafu is_oom_error is_out_of_cpu_memory",
    ),
    **offer(f"{COMPAT}.trees", "recursive_detach"),
    **until("1.9", offer(f"{COMPAT}.devices", "get_gpu_memory_map get_memory_profile get_model_size_mb")),
}

DISTRIBUTED: Names = {
    **RANK_ZERO,
    **offer(
        f"{COMPAT}.ranks",
        "AllGatherGrad all_gather_ddp_if_available distributed_available find_free_network_port "
        "gather_all_tensors get_default_process_group_backend_for_device "
        "sync_ddp sync_ddp_if_available",
    ),
    **rename(gather_all_tensors_if_available=f"{COMPAT}.ranks:gather_all_tensors"),
    **refuse("strategy=DDPStrategy(ddp_comm_hook=...)", "register_ddp_comm_hook"),
    **refuse("strategies start process groups themselves", "init_dist_connection tpu_distributed"),
}

TYPES: Names = offer(
    f"{COMPAT}.types",
    "DistributedDataParallel EVAL_DATALOADERS LRSchedulerConfig LRSchedulerConfigType LRSchedulerPLType "
    "LRSchedulerTypeTuple LRSchedulerTypeUnion OptimizerConfig OptimizerLRScheduler "
    "OptimizerLRSchedulerConfig ReduceLROnPlateau STEP_OUTPUT TRAIN_DATALOADERS _EVALUATE_OUTPUT _METRIC "
    "_METRIC_COLLECTION _PREDICT_OUTPUT",
) | until("1.9", offer(f"{COMPAT}.types", "EPOCH_OUTPUT _DEVICE _MAP_LOCATION_TYPE _PARAMETERS _PATH"))

ARGPARSE: Names = {
    **offer(f"{COMPAT}.argparse", "add_argparse_args from_argparse_args parse_argparser"),
    **offer(f"{COMPAT}.parsing", "get_init_arguments_and_types"),
    **rename(parse_env_variables=f"{COMPAT}.argparse:match_env_arguments"),
}

SEED: Names = {
    **offer(f"{COMPAT}.loading", "isolate_rng"),
    **until(
        "1.9",
        offer("fulmen", "seed_everything"),
        offer(f"{COMPAT}.loading", "pl_worker_init_function reset_seed"),
    ),
}

REGISTRIES = (
    "CALLBACK_REGISTRY DATAMODULE_REGISTRY LOGGER_REGISTRY LR_SCHEDULER_REGISTRY MODEL_REGISTRY "
    "OPTIMIZER_REGISTRY"
)

TOOLS: dict[str, Names] = {
    "utilities": UTILITIES,
    "utilities.apply_func": until("1.9", TREES),
    "utilities.argparse": until("1.9", ARGPARSE),
    "utilities.argparse_utils": until("1.4", ARGPARSE),
    "utilities.auto_restart": until(
        "1.9",
        refuse(
            "every checkpoint holds where the data were",
            "CaptureIterableDataset CaptureMapDataset FastForwardSampler",
        ),
    ),
    "utilities.cli": until(
        "1.8",
        stand_in(NO_CLI, "LightningArgumentParser LightningCLI SaveConfigCallback"),
        refuse(NO_CLI, "instantiate_class"),
        refuse(NO_REGISTRY, REGISTRIES),
    ),
    "utilities.cloud_io": until("1.9", offer(f"{COMPAT}.saving", "atomic_save get_filesystem load")),
    "utilities.combined_loader": offer("fulmen", "CombinedLoader"),
    "utilities.compile": offer(f"{COMPAT}.models", "from_compiled to_uncompiled"),
    "utilities.data": offer(f"{COMPAT}.trees", "extract_batch_size")
    | offer(f"{COMPAT}.loading", "has_len_all_ranks")
    | until("1.9", offer(f"{COMPAT}.loading", "get_len has_iterable_dataset has_len")),
    "utilities.debugging": until(
        "1.4", refuse("a callback of your own sees what a run does", "InternalDebugger")
    ),
    "utilities.deepspeed": refuse(NO_DEEPSPEED, "convert_zero_checkpoint_to_fp32_state_dict"),
    "utilities.device_dtype_mixin": until("1.5", offer(f"{COMPAT}.models", "DeviceDtypeModuleMixin")),
    "utilities.device_parser": until(
        "1.9",
        offer(
            f"{COMPAT}.devices", "determine_root_gpu_device is_cuda_available num_cuda_devices parse_gpu_ids"
        ),
        refuse(NO_XLA, "parse_hpus parse_tpu_cores"),
    ),
    "utilities.distributed": until("1.9", DISTRIBUTED),
    "utilities.enums": offer(f"{COMPAT}.enums", "GradClipAlgorithmType LightningEnum")
    | until("1.9", offer(f"{COMPAT}.enums", "AMPType PrecisionType"))
    | until("1.7", offer(f"{COMPAT}.enums", "DeviceType DistributedType")),
    "utilities.exceptions": EXCEPTIONS,
    "utilities.fetching": until(
        "1.9", refuse(NO_LOOPS, "AbstractDataFetcher DataFetcher DataLoaderIterDataFetcher")
    ),
    "utilities.finite_checks": until(
        "1.9", offer(f"{COMPAT}.models", "detect_nan_parameters print_nan_gradients")
    ),
    "utilities.grads": offer(f"{COMPAT}.models", "grad_norm"),
    "utilities.imports": offer(
        f"{COMPAT}.imports",
        "_IS_INTERACTIVE _OMEGACONF_AVAILABLE _RICH_AVAILABLE _TORCHMETRICS_GREATER_EQUAL_0_7 "
        "_TORCHMETRICS_GREATER_EQUAL_0_8 _TORCHMETRICS_GREATER_EQUAL_0_11 _TORCHMETRICS_GREATER_EQUAL_1_0_0 "
        "_TORCHVISION_AVAILABLE",
    )
    | {
        name: entry
        for name, entry in UTILITIES.items()
        if (entry.target or "").startswith(f"{COMPAT}.imports")
    }
    | until(
        "1.9",
        offer(
            f"{COMPAT}.imports",
            "_FAIRSCALE_FULLY_SHARDED_AVAILABLE _PSUTIL_AVAILABLE _TORCH_GREATER_EQUAL_1_11 "
            "_TORCH_GREATER_EQUAL_1_12 _TORCH_GREATER_EQUAL_1_13 _TORCH_GREATER_EQUAL_2_0 "
            "_compare_version _package_available _RequirementAvailable",
        ),
    ),
    "utilities.logger": until(
        "1.9", offer(f"{COMPAT}.parsing", "_convert_params _flatten_dict _sanitize_callable_params")
    ),
    "utilities.memory": MEMORY,
    "utilities.meta": until(
        "1.9", refuse("torch.device('meta'), and configure_model", "init_meta_context materialize_module")
    ),
    "utilities.metrics": until("1.9", offer(f"{COMPAT}.trees", "metrics_to_scalars")),
    "utilities.migration": offer(f"{COMPAT}.saving", "migrate_checkpoint pl_legacy_patch"),
    "utilities.migration.utils": offer(f"{COMPAT}.saving", "migrate_checkpoint pl_legacy_patch"),
    "utilities.model_helpers": offer(f"{COMPAT}.models", "is_overridden"),
    "utilities.model_summary": MODEL_SUMMARY,
    "utilities.model_summary.model_summary": MODEL_SUMMARY,
    "utilities.model_utils": until("1.3", offer(f"{COMPAT}.models", "is_overridden")),
    "utilities.optimizer": until(
        "1.9", offer(f"{COMPAT}.models", "optimizer_to_device optimizers_to_device")
    ),
    "utilities.parameter_tying": offer(f"{COMPAT}.models", "find_shared_parameters set_shared_parameters"),
    "utilities.parsing": PARSING,
    "utilities.rank_zero": RANK_ZERO,
    "utilities.seed": SEED,
    "utilities.signature_utils": offer(f"{COMPAT}.models", "is_param_in_hook_signature"),
    "utilities.types": TYPES,
    "utilities.upgrade_checkpoint": refuse("fulmen checkpoint upgrade PATH", "main upgrade_checkpoint"),
    "utilities.warning_utils": until("1.3", offer(f"{COMPAT}.ranks", "WarningCache")),
    "utilities.warnings": until(
        "1.7",
        offer(
            f"{COMPAT}.ranks", "LightningDeprecationWarning WarningCache rank_zero_deprecation rank_zero_warn"
        ),
    )
    | offer(f"{COMPAT}.ranks", "PossibleUserWarning"),
    "utilities.xla_device": until("1.9", refuse(NO_XLA, "XLADeviceUtils")),
    "utilities.xla_device_utils": until("1.1", refuse(NO_XLA, "XLADeviceUtils")),
}
