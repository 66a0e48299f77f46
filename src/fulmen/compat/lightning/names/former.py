"""Paths below `lightning.pytorch`, but for its utilities, that only earlier versions had."""

from __future__ import annotations

from fulmen.compat.lightning.names.current import (
    CALLBACKS,
    COMPAT,
    ENVIRONMENTS,
    MODEL_SUMMARY,
    NO_CONNECTORS,
    NO_DEEPSPEED,
    NO_LOOPS,
    NO_XLA,
)
from fulmen.compat.lightning.names.entries import Names, offer, pick, refuse, rename, stand_in, until

PLUGINS = f"{COMPAT}.plugins"
PROFILER = f"{COMPAT}.profiler"
NO_LITE = "LightningLite became Fabric, which is out of scope: a LightningModule with manual optimization"
NO_ACCELERATORS = "accelerators are kinds of devices now, and how a model is spread over them is a strategy"
NO_MIXINS = "the Trainer is one class: use what it offers itself"
WRAPPED = "strategies wrap modules themselves"

OLD_PROFILERS: Names = until(
    "1.8",
    offer("fulmen.profilers", "AdvancedProfiler PassThroughProfiler PyTorchProfiler SimpleProfiler"),
    offer(PROFILER, "AbstractProfiler BaseProfiler"),
    stand_in(NO_XLA, "XLAProfiler"),
)

TRAINING_TYPES: Names = until(
    "1.7",
    offer(
        PLUGINS,
        "DDP2Plugin DDPFullyShardedPlugin DDPPlugin DDPShardedPlugin DDPSpawnPlugin DDPSpawnShardedPlugin "
        "DataParallelPlugin DeepSpeedPlugin ParallelPlugin SingleDevicePlugin TrainingTypePlugin",
    ),
    stand_in(NO_XLA, "IPUPlugin SingleTPUPlugin TPUSpawnPlugin"),
    stand_in("Horovod is not supported any more: strategy='ddp'", "HorovodPlugin"),
)
PIPELINES: Names = until(
    "1.3",
    stand_in("models are not cut into pipelines here", "DDPSequentialPlugin RPCPlugin RPCSequentialPlugin"),
)
NATIVE: Names = until("1.9", offer(PLUGINS, "NativeMixedPrecisionPlugin"))
APEX: Names = until("1.9", offer(PLUGINS, "ApexMixedPrecisionPlugin"))

OLD_METRICS = (
    "AUC AUROC Accuracy AveragePrecision CompositionalMetric ConfusionMatrix ExplainedVariance F1 FBeta "
    "Fbeta HammingDistance IoU MeanAbsoluteError MeanSquaredError MeanSquaredLogError Metric "
    "MetricCollection PSNR Precision PrecisionRecallCurve R2Score ROC Recall SSIM StatScores"
)
OLD_FUNCTIONS = (
    "accuracy auc auc_decorator auroc average_precision bleu_score class_reduce confusion_matrix dice_score "
    "embedding_similarity explained_variance f1 f1_score fbeta fbeta_score get_num_classes hamming_distance "
    "image_gradients iou mae mean_absolute_error mean_squared_error mean_squared_log_error mse "
    "multiclass_auc_decorator multiclass_auroc multiclass_precision_recall_curve multiclass_roc precision "
    "precision_recall precision_recall_curve psnr r2score recall reduce rmse rmsle roc ssim stat_scores "
    "stat_scores_multiple_classes to_categorical to_onehot"
)
CLASSES: Names = until("1.4", offer(f"{COMPAT}.metrics", OLD_METRICS))
FUNCTIONS: Names = until("1.4", offer(f"{COMPAT}.metrics.functional", OLD_FUNCTIONS))

FORMER: dict[str, Names] = {
    "accelerators.accelerator_connector": until("1.1", refuse(NO_CONNECTORS, "AcceleratorConnector")),
    **{
        f"accelerators.{name}_accelerator": until("1.1", refuse(NO_ACCELERATORS, f"{kind}Accelerator"))
        for name, kind in {
            "ddp": "DDP",
            "ddp2": "DDP2",
            "ddp_cpu_hpc": "DDPCPUHPC",
            "ddp_cpu_spawn": "DDPCPUSpawn",
            "ddp_hpc": "DDPHPC",
            "ddp_spawn": "DDPSpawn",
            "dp": "DataParallel",
            "horovod": "Horovod",
        }.items()
    },
    "accelerators.cpu_accelerator": until("1.1", offer("fulmen.runtime.device", "CPUAccelerator")),
    "accelerators.gpu": until("1.8", rename(GPUAccelerator="fulmen.runtime.device:CUDAAccelerator")),
    "accelerators.gpu_accelerator": until(
        "1.1", rename(GPUAccelerator="fulmen.runtime.device:CUDAAccelerator")
    ),
    "accelerators.hpu": until("2.0", stand_in(NO_XLA, "HPUAccelerator")),
    "accelerators.ipu": until("2.0", stand_in(NO_XLA, "IPUAccelerator")),
    "accelerators.tpu": until("2.0", stand_in(NO_XLA, "TPUAccelerator")),
    "accelerators.tpu_accelerator": until("1.1", stand_in(NO_XLA, "TPUAccelerator")),
    "callbacks.base": until("1.8", offer("fulmen.callbacks", "Callback")),
    "callbacks.fault_tolerance": until("1.9", refuse("OnExceptionCheckpoint", "_FaultToleranceCheckpoint")),
    "callbacks.gpu_stats_monitor": until("1.6", offer(f"{COMPAT}.callbacks", "GPUStatsMonitor")),
    "callbacks.progress.base": until("1.9", offer(f"{COMPAT}.progress", "ProgressBarBase")),
    "callbacks.progress.progress": until("1.6", offer(f"{COMPAT}.progress", "ProgressBar")),
    "callbacks.quantization": until(
        "1.9", refuse("torch.ao.quantization, on the trained model", "QuantizationAwareTraining")
    ),
    "callbacks.swa": until(
        "1.2",
        pick(CALLBACKS, "StochasticWeightAveraging"),
    ),
    "callbacks.xla_stats_monitor": until("1.6", stand_in(NO_XLA, "XLAStatsMonitor")),
    "cluster_environments": until(
        "1.1", offer("fulmen.runtime.clusters", "ClusterEnvironment SLURMEnvironment TorchElasticEnvironment")
    ),
    "cluster_environments.cluster_environment": until(
        "1.1", offer("fulmen.runtime.clusters", "ClusterEnvironment")
    ),
    "cluster_environments.slurm_environment": until(
        "1.1", offer("fulmen.runtime.clusters", "SLURMEnvironment")
    ),
    "cluster_environments.torchelastic_environment": until(
        "1.1", offer("fulmen.runtime.clusters", "TorchElasticEnvironment")
    ),
    "core.decorators": until("1.4", offer(f"{COMPAT}.models", "auto_move_data"))
    | until("1.6", refuse("configure_model shares parameters", "parameter_validation")),
    "core.grads": until("1.4", offer(f"{COMPAT}.models", "GradInformation")),
    "core.lightning": until("1.8", offer("fulmen", "LightningModule")),
    "core.memory": until(
        "1.6",
        MODEL_SUMMARY,
        rename(ModelSummary=f"{COMPAT}.models:ModelSummaryOnce"),
        offer(f"{COMPAT}.devices", "get_gpu_memory_map get_memory_profile"),
    ),
    "core.mixins.device_dtype_mixin": until("1.9", offer(f"{COMPAT}.models", "DeviceDtypeModuleMixin")),
    "core.step_result": until("1.3", offer(f"{COMPAT}.step_result", "EvalResult Result TrainResult")),
    "distributed": until(
        "1.6", refuse("torch.distributed, or trainer.strategy.broadcast", "LightningDistributed")
    ),
    "distributed.dist": until(
        "1.6", refuse("torch.distributed, or trainer.strategy.broadcast", "LightningDistributed")
    ),
    "lite": until("1.9", refuse(NO_LITE, "LightningLite")),
    "lite.lite": until("1.9", refuse(NO_LITE, "LightningLite")),
    "loggers.base": until(
        "1.8",
        offer("fulmen.core.logger", "DummyLogger rank_zero_experiment"),
        offer(f"{COMPAT}.loggers", "DummyExperiment LightningLoggerBase LoggerCollection merge_dicts"),
    ),
    "loggers.test_tube": until("1.6", offer(f"{COMPAT}.loggers", "TestTubeLogger")),
    **{
        f"loops.{path}": until("1.9", refuse(NO_LOOPS, names))
        for path, names in {
            "base": "Loop",
            "batch": "ManualOptimization TrainingBatchLoop",
            "dataloader": "DataLoaderLoop EvaluationLoop PredictionLoop",
            "epoch": "EvaluationEpochLoop PredictionEpochLoop TrainingEpochLoop",
            "fit_loop": "FitLoop",
            "loop": "Loop",
            "optimization": "ManualOptimization OptimizerLoop",
            "utilities": "check_finite_loss",
        }.items()
    },
    "metrics": CLASSES,
    "metrics.classification": CLASSES,
    "metrics.functional": FUNCTIONS,
    "metrics.functional.classification": FUNCTIONS,
    "metrics.functional.nlp": pick(FUNCTIONS, "bleu_score"),
    "metrics.functional.reduction": pick(FUNCTIONS, "class_reduce reduce"),
    "metrics.functional.regression": FUNCTIONS,
    "metrics.functional.self_supervised": pick(FUNCTIONS, "embedding_similarity"),
    "metrics.metric": pick(CLASSES, "Metric MetricCollection"),
    "metrics.regression": CLASSES,
    "metrics.utils": until(
        "1.4",
        offer("fulmen.metrics.reductions", "dim_zero_cat dim_zero_mean dim_zero_sum"),
        offer(f"{COMPAT}.metrics.functional", "class_reduce get_num_classes reduce to_categorical to_onehot"),
    ),
    "overrides.base": until("1.9", refuse(WRAPPED, "unwrap_lightning_module")),
    "overrides.data_parallel": until(
        "1.9",
        refuse(WRAPPED, "LightningDataParallel LightningDistributedDataParallel LightningParallelModule"),
    ),
    "overrides.fairscale": until("1.9", refuse(WRAPPED, "LightningShardedDataParallel")),
    "plugins.apex": until(
        "1.1", refuse("apex is not supported any more: precision='16-mixed'", "ApexPlugin")
    ),
    "plugins.base_plugin": until("1.4", refuse("Strategy, Precision or CheckpointIO", "Plugin")),
    "plugins.ddp_plugin": until("1.1", offer(PLUGINS, "DDPPlugin")),
    **{
        f"plugins.environments.{name}_environment": until("1.7", offer("fulmen.runtime.clusters", kind))
        for name, kind in {
            "cluster": "ClusterEnvironment",
            "kubeflow": "KubeflowEnvironment",
            "lightning": "LightningEnvironment",
            "lsf": "LSFEnvironment",
            "slurm": "SLURMEnvironment",
            "torchelastic": "TorchElasticEnvironment",
        }.items()
    },
    "plugins.native_amp": until("1.1", rename(NativeAMPPlugin=f"{PLUGINS}:NativeMixedPrecisionPlugin")),
    "plugins.precision.apex_amp": APEX,
    "plugins.precision.mixed": until("1.4", rename(MixedPrecisionPlugin="fulmen.precision:MixedPrecision")),
    "plugins.precision.native_amp": NATIVE
    | until("1.9", rename(MixedPrecisionPlugin="fulmen.precision:MixedPrecision")),
    "plugins.precision.precision_plugin": until("2.1", rename(PrecisionPlugin="fulmen.precision:Precision")),
    "plugins.precision_plugin": until("1.1", rename(PrecisionPlugin="fulmen.precision:Precision")),
    "plugins.rpc_plugin": PIPELINES,
    "plugins.sharded_plugin": until("1.1", offer(PLUGINS, "DDPShardedPlugin")),
    "plugins.training_type": TRAINING_TYPES,
    **{
        f"plugins.training_type.{path}": pick(TRAINING_TYPES, name)
        for path, name in {
            "ddp": "DDPPlugin",
            "ddp2": "DDP2Plugin",
            "ddp_spawn": "DDPSpawnPlugin",
            "deepspeed": "DeepSpeedPlugin",
            "dp": "DataParallelPlugin",
            "fully_sharded": "DDPFullyShardedPlugin",
            "horovod": "HorovodPlugin",
            "parallel": "ParallelPlugin",
            "sharded": "DDPShardedPlugin",
            "sharded_spawn": "DDPSpawnShardedPlugin",
            "single_device": "SingleDevicePlugin",
            "single_tpu": "SingleTPUPlugin",
            "tpu_spawn": "TPUSpawnPlugin",
            "training_type_plugin": "TrainingTypePlugin",
        }.items()
    },
    "profiler": OLD_PROFILERS | until("1.9", offer("fulmen.profilers", "Profiler")),
    "profiler.advanced": pick(OLD_PROFILERS, "AdvancedProfiler"),
    "profiler.base": pick(OLD_PROFILERS, "AbstractProfiler BaseProfiler PassThroughProfiler"),
    "profiler.profilers": OLD_PROFILERS,
    "profiler.pytorch": pick(OLD_PROFILERS, "PyTorchProfiler"),
    "profiler.simple": pick(OLD_PROFILERS, "SimpleProfiler"),
    "strategies.ddp_spawn": until("1.9", offer(PLUGINS, "DDPSpawnStrategy")),
    "strategies.dp": until("1.9", offer(PLUGINS, "DataParallelStrategy")),
    "strategies.fully_sharded": until("1.9", offer(PLUGINS, "DDPFullyShardedStrategy")),
    "strategies.fully_sharded_native": until("1.9", offer(PLUGINS, "DDPFullyShardedNativeStrategy")),
    "strategies.sharded": until("1.9", offer(PLUGINS, "DDPShardedStrategy")),
    "trainer.callback_hook": until("1.7", refuse(NO_MIXINS, "TrainerCallbackHookMixin")),
    "trainer.data_loading": until("1.6", refuse(NO_MIXINS, "TrainerDataLoadingMixin")),
    "trainer.evaluation_loop": until("1.3", refuse(NO_LOOPS, "EvaluationLoop")),
    "trainer.logging": until("1.5", refuse(NO_MIXINS, "TrainerLoggingMixin")),
    "trainer.model_hooks": until("1.5", refuse(NO_MIXINS, "TrainerModelHooksMixin")),
    "trainer.optimizers": until("1.6", refuse(NO_MIXINS, "TrainerOptimizersMixin")),
    "trainer.predict_loop": until("1.3", refuse(NO_LOOPS, "PredictLoop")),
    "trainer.progress": until("1.9", refuse("trainer.current_epoch and trainer.global_step", "Progress")),
    "trainer.properties": until("1.5", refuse(NO_MIXINS, "TrainerProperties")),
    "trainer.supporters": until(
        "1.9",
        offer(f"{COMPAT}.loading", "CombinedLoader"),
        refuse(
            "CombinedLoader, or loaders of your own",
            "CombinedDataset CombinedLoaderIterator CycleIterator TensorRunningAccum",
        ),
    ),
    "trainer.training_loop": until("1.3", refuse(NO_LOOPS, "TrainLoop")),
    "trainer.training_tricks": until("1.5", refuse(NO_MIXINS, "TrainerTrainingTricksMixin")),
    "tuner.auto_gpu_select": until("1.9", offer(f"{COMPAT}.devices", "pick_multiple_gpus pick_single_gpu")),
}
"""By path below `lightning.pytorch`."""

ALSO: dict[str, Names] = {
    "plugins": TRAINING_TYPES
    | PIPELINES
    | until("1.4", refuse("Strategy, Precision or CheckpointIO", "Plugin")),
    "plugins.environments": until("1.9", offer("fulmen.runtime.clusters", ENVIRONMENTS)),
    "strategies.deepspeed": until("1.9", stand_in(NO_DEEPSPEED, "DeepSpeedStrategy")),
}
"""Further names of paths that the newest version still has."""
