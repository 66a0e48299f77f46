"""Paths below `lightning.pytorch` that the newest version has; old names in them are marked."""

from __future__ import annotations

from fulmen.compat.lightning.names.entries import Name, Names, offer, pick, refuse, rename, stand_in, until

COMPAT = "fulmen.compat.lightning"

NO_LOOPS = (
    "loops are functions here: a Trainer's arguments and hooks, or manual optimization, say how to train"
)
NO_CONNECTORS = "a Trainer has no such parts here: use what it offers itself"
NO_SERVICE = "this version has no logger for it: TensorBoardLogger, CSVLogger, or a Logger of your own"
NO_XLA = "XLA devices are not supported by this version: accelerator='cpu', 'cuda' or 'mps'"
NO_SHARDING = "this version spreads data, not models: strategy='ddp'"
NO_DEEPSPEED = "DeepSpeed is not supported by this version: strategy='ddp'"
NO_CLI = "no command line is made from classes by this version: argparse, with Trainer.from_argparse_args"
NO_BITS = "weights of 8 bits or fewer are not supported by this version: precision='bf16-true'"
NO_REGISTRY = "there is no registry: give the Trainer an object of your class"
NO_SERVE = "models are not served here: export them with torch.export or torch.onnx"
NOT_YET = "this version does not have it"
SYNC_BATCHNORM = "Trainer(sync_batchnorm=True)"

LOGGERS_OF_SERVICES = "CometLogger LitLogger MLFlowLogger NeptuneLogger WandbLogger"
ENVIRONMENTS = (
    "ClusterEnvironment KubeflowEnvironment LSFEnvironment LightningEnvironment MPIEnvironment "
    "SLURMEnvironment TorchElasticEnvironment"
)

TOP: Names = offer("fulmen", "Callback LightningDataModule LightningModule Trainer seed_everything")

PROGRESS_BAR: Names = {
    "ProgressBar": Name("fulmen.callbacks:ProgressBar", formerly=("1.6", f"{COMPAT}.progress:ProgressBar"))
}
"""Once the bar of tqdm, and now the base of all."""

CALLBACKS: Names = {
    **offer(
        "fulmen.callbacks",
        "BackboneFinetuning BaseFinetuning BasePredictionWriter BatchSizeFinder Callback Checkpoint "
        "DeviceStatsMonitor EMAWeightAveraging EarlyStopping GradientAccumulationScheduler LambdaCallback "
        "LearningRateFinder LearningRateMonitor ModelCheckpoint ModelPruning ModelSummary "
        "OnExceptionCheckpoint RichModelSummary RichProgressBar StochasticWeightAveraging TQDMProgressBar "
        "Timer WeightAveraging",
    ),
    **PROGRESS_BAR,
    **stand_in(
        f"{NOT_YET}: a callback of your own, with on_train_batch_end", "SpikeDetection ThroughputMonitor"
    ),
}

OLD_CALLBACKS: Names = {
    **until("1.9", offer(f"{COMPAT}.progress", "ProgressBarBase")),
    **until("1.6", offer(f"{COMPAT}.callbacks", "GPUStatsMonitor"), stand_in(NO_XLA, "XLAStatsMonitor")),
    **until("1.9", refuse("torch.ao.quantization, on the trained model", "QuantizationAwareTraining")),
}

PROFILERS: Names = {
    **offer(
        "fulmen.profilers", "AdvancedProfiler PassThroughProfiler Profiler PyTorchProfiler SimpleProfiler"
    ),
    **stand_in(NO_XLA, "XLAProfiler"),
}

LOGGERS: Names = {
    **offer("fulmen.loggers", "CSVLogger Logger TensorBoardLogger"),
    **stand_in(NO_SERVICE, LOGGERS_OF_SERVICES),
}

PRECISIONS: Names = {
    **offer("fulmen.precision", "DoublePrecision HalfPrecision MixedPrecision Precision"),
    **stand_in(NO_BITS, "BitsandbytesPrecision TransformerEnginePrecision"),
    **stand_in(NO_DEEPSPEED, "DeepSpeedPrecision"),
    **stand_in(NO_SHARDING, "FSDPPrecision"),
    **stand_in(NO_XLA, "XLAPrecision"),
}

PRECISION_PLUGINS: Names = {
    **until(
        "2.1",
        rename(
            DoublePrecisionPlugin="fulmen.precision:DoublePrecision",
            HalfPrecisionPlugin="fulmen.precision:HalfPrecision",
            MixedPrecisionPlugin="fulmen.precision:MixedPrecision",
            PrecisionPlugin="fulmen.precision:Precision",
        ),
        stand_in(NO_BITS, "BitsandbytesPrecisionPlugin TransformerEnginePrecisionPlugin"),
        stand_in(NO_DEEPSPEED, "DeepSpeedPrecisionPlugin"),
        stand_in(NO_SHARDING, "FSDPMixedPrecisionPlugin FSDPPrecisionPlugin"),
        stand_in(
            NO_XLA, "TPUBf16PrecisionPlugin TPUPrecisionPlugin XLABf16PrecisionPlugin XLAPrecisionPlugin"
        ),
    ),
    **until("1.9", offer(f"{COMPAT}.plugins", "ApexMixedPrecisionPlugin NativeMixedPrecisionPlugin")),
}

IO: Names = {
    **offer("fulmen.strategies", "AsyncCheckpointIO CheckpointIO TorchCheckpointIO"),
    **stand_in(NO_XLA, "XLACheckpointIO"),
}

LAYER_SYNC: Names = {
    **refuse(SYNC_BATCHNORM, "LayerSync TorchSyncBatchNorm"),
    **until("1.9", refuse(SYNC_BATCHNORM, "NativeSyncBatchNorm")),
}

STRATEGIES: Names = {
    **offer("fulmen.strategies", "DDPStrategy SingleDeviceStrategy Strategy"),
    **rename(ParallelStrategy="fulmen.strategies:DDPStrategy"),
    **stand_in(NO_DEEPSPEED, "DeepSpeedStrategy"),
    **stand_in(NO_SHARDING, "FSDPStrategy ModelParallelStrategy"),
    **stand_in(NO_XLA, "SingleDeviceXLAStrategy XLAStrategy"),
    **until("2.0", stand_in(NO_XLA, "HPUParallelStrategy SingleHPUStrategy SingleTPUStrategy")),
}

OLD_STRATEGIES: Names = until(
    "1.9",
    offer(
        f"{COMPAT}.plugins",
        "DDPFullyShardedNativeStrategy DDPFullyShardedStrategy DDPShardedStrategy DDPSpawnStrategy "
        "DataParallelStrategy",
    ),
    rename(
        DDP2Strategy=f"{COMPAT}.plugins:DDP2Plugin",
        DDPSpawnShardedStrategy=f"{COMPAT}.plugins:DDPSpawnShardedPlugin",
    ),
    stand_in(NO_XLA, "IPUStrategy TPUSpawnStrategy"),
    stand_in(
        "what it needs is not supported any more: strategy='ddp'",
        "BaguaStrategy ColossalAIStrategy HivemindStrategy HorovodStrategy",
    ),
)

ACCELERATORS: Names = {
    **offer("fulmen.runtime.device", "Accelerator CPUAccelerator CUDAAccelerator MPSAccelerator"),
    **offer(f"{COMPAT}.devices", "find_usable_cuda_devices"),
    **stand_in(NO_XLA, "XLAAccelerator"),
    **until("2.0", stand_in(NO_XLA, "HPUAccelerator IPUAccelerator TPUAccelerator")),
    **until("1.8", rename(GPUAccelerator="fulmen.runtime.device:CUDAAccelerator")),
}

MODEL_SUMMARY: Names = {
    **offer("fulmen.core.model_summary", "LayerSummary ModelSummary summarize"),
    **offer(f"{COMPAT}.models", "get_formatted_model_size"),
    **rename(
        get_human_readable_count="fulmen.core.model_summary:human_readable_count",
        parse_batch_shape="fulmen.core.model_summary:shape_of",
    ),
}

RANK_ZERO: Names = offer(
    f"{COMPAT}.ranks",
    "LightningDeprecationWarning WarningCache rank_prefixed_message rank_zero_debug "
    "rank_zero_deprecation rank_zero_info rank_zero_only rank_zero_warn",
)

UTILITIES: Names = {
    **offer("fulmen", "CombinedLoader"),
    **offer("fulmen.core.hparams", "AttributeDict"),
    **offer(f"{COMPAT}.enums", "GradClipAlgorithmType LightningEnum"),
    **offer(f"{COMPAT}.trees", "move_data_to_device"),
    **offer(f"{COMPAT}.parsing", "is_picklable"),
    **offer(
        f"{COMPAT}.models",
        "find_shared_parameters grad_norm measure_flops set_shared_parameters",
    ),
    **offer(f"{COMPAT}.loading", "suggested_max_num_workers"),
    **offer(
        f"{COMPAT}.ranks",
        "disable_possible_user_warnings rank_zero_deprecation rank_zero_info rank_zero_only rank_zero_warn",
    ),
    **refuse("fsspec tells which file system a path is on", "is_shared_filesystem"),
    # Of earlier versions.
    **until("1.9", offer(f"{COMPAT}.enums", "AMPType"), offer(f"{COMPAT}.parsing", "flatten_dict")),
    **until("1.9", offer(f"{COMPAT}.ranks", "AllGatherGrad")),
    **until("1.7", offer(f"{COMPAT}.enums", "DeviceType DistributedType")),
    **until(
        "1.9",
        offer(
            f"{COMPAT}.imports",
            "APEX_AVAILABLE NATIVE_AMP_AVAILABLE XLA_AVAILABLE _APEX_AVAILABLE _DEEPSPEED_AVAILABLE "
            "_FAIRSCALE_AVAILABLE _HIVEMIND_AVAILABLE _HOROVOD_AVAILABLE _HYDRA_AVAILABLE _IPU_AVAILABLE "
            "_IS_INTERACTIVE _NATIVE_AMP_AVAILABLE _OMEGACONF_AVAILABLE _TORCHTEXT_AVAILABLE "
            "_TORCHVISION_AVAILABLE _TORCH_GREATER_EQUAL_1_6 _TORCH_GREATER_EQUAL_1_7 "
            "_TORCH_GREATER_EQUAL_1_8 _TORCH_GREATER_EQUAL_1_9 _TORCH_GREATER_EQUAL_1_10 "
            "_TORCH_QUANTIZE_AVAILABLE _TPU_AVAILABLE _XLA_AVAILABLE _module_available",
        ),
    ),
}

CURRENT: dict[str, Names] = {
    "": TOP
    | rename(_logger="fulmen.base.report:log")
    | until("1.0", offer(f"{COMPAT}.step_result", "EvalResult TrainResult")),
    "accelerators": ACCELERATORS,
    "accelerators.accelerator": offer("fulmen.runtime.device", "Accelerator"),
    "accelerators.cpu": offer("fulmen.runtime.device", "CPUAccelerator")
    | offer(f"{COMPAT}.devices", "get_cpu_stats"),
    "accelerators.cuda": offer("fulmen.runtime.device", "CUDAAccelerator")
    | offer(f"{COMPAT}.devices", "get_nvidia_gpu_stats"),
    "accelerators.mps": offer("fulmen.runtime.device", "MPSAccelerator"),
    "accelerators.xla": stand_in(NO_XLA, "XLAAccelerator"),
    "callbacks": CALLBACKS | OLD_CALLBACKS,
    "callbacks.batch_size_finder": pick(CALLBACKS, "BatchSizeFinder"),
    "callbacks.callback": offer("fulmen.callbacks", "Callback"),
    "callbacks.checkpoint": offer("fulmen.callbacks", "Checkpoint"),
    "callbacks.device_stats_monitor": offer("fulmen.callbacks", "DeviceStatsMonitor"),
    "callbacks.early_stopping": offer("fulmen.callbacks.early_stopping", "EarlyStopping EarlyStoppingReason"),
    "callbacks.finetuning": offer(
        "fulmen.callbacks.finetuning", "BackboneFinetuning BaseFinetuning multiplicative"
    ),
    "callbacks.gradient_accumulation_scheduler": offer("fulmen.callbacks", "GradientAccumulationScheduler"),
    "callbacks.lambda_function": offer("fulmen.callbacks", "LambdaCallback"),
    "callbacks.lr_finder": pick(CALLBACKS, "LearningRateFinder"),
    "callbacks.lr_monitor": offer("fulmen.callbacks", "LearningRateMonitor"),
    "callbacks.model_checkpoint": offer("fulmen.callbacks", "ModelCheckpoint"),
    "callbacks.model_summary": offer("fulmen.callbacks", "ModelSummary"),
    "callbacks.on_exception_checkpoint": offer("fulmen.callbacks", "OnExceptionCheckpoint"),
    "callbacks.prediction_writer": offer(
        "fulmen.callbacks.prediction_writer", "BasePredictionWriter WriteInterval"
    ),
    "callbacks.progress": PROGRESS_BAR
    | offer("fulmen.callbacks", "RichProgressBar TQDMProgressBar")
    | until("1.9", offer(f"{COMPAT}.progress", "ProgressBarBase"))
    | until(
        "1.4",
        rename(
            convert_inf="fulmen.callbacks.progress.tqdm_progress:convert_inf",
            tqdm="fulmen.callbacks.progress.tqdm_progress:Tqdm",
        ),
    ),
    "callbacks.progress.progress_bar": offer("fulmen.callbacks", "ProgressBar")
    | refuse("ProgressBar.get_metrics(trainer, pl_module)", "get_standard_metrics"),
    "callbacks.progress.rich_progress": offer(
        "fulmen.callbacks.progress", "RichProgressBar RichProgressBarTheme"
    ),
    "callbacks.progress.tqdm_progress": offer(
        "fulmen.callbacks.progress.tqdm_progress", "TQDMProgressBar Tqdm convert_inf"
    ),
    "callbacks.pruning": pick(CALLBACKS, "ModelPruning"),
    "callbacks.rich_model_summary": offer("fulmen.callbacks", "RichModelSummary"),
    "callbacks.spike": pick(CALLBACKS, "SpikeDetection"),
    "callbacks.stochastic_weight_avg": pick(CALLBACKS, "StochasticWeightAveraging"),
    "callbacks.throughput_monitor": pick(CALLBACKS, "ThroughputMonitor"),
    "callbacks.timer": offer("fulmen.callbacks.timer", "Interval Timer"),
    "callbacks.weight_averaging": pick(CALLBACKS, "EMAWeightAveraging WeightAveraging"),
    "cli": stand_in(NO_CLI, "LightningArgumentParser LightningCLI SaveConfigCallback")
    | refuse(NO_CLI, "ArgsType LRSchedulerCallable OptimizerCallable instantiate_class instantiate_module"),
    "core": offer("fulmen", "LightningDataModule LightningModule"),
    "core.datamodule": offer("fulmen", "LightningDataModule"),
    "core.hooks": rename(
        CheckpointHooks="fulmen.core.model_hooks:ModelHooks",
        DataHooks="fulmen.core.data_hooks:DataHooks",
        ModelHooks="fulmen.core.model_hooks:ModelHooks",
    ),
    "core.mixins": offer("fulmen.core.hparams", "HyperparametersMixin")
    | until("1.9", offer(f"{COMPAT}.models", "DeviceDtypeModuleMixin")),
    "core.mixins.hparams_mixin": offer("fulmen.core.hparams", "HyperparametersMixin"),
    "core.module": offer("fulmen", "LightningModule"),
    "core.optimizer": offer("fulmen.core.optimizers", "LightningOptimizer")
    | offer(f"{COMPAT}.models", "do_nothing_closure"),
    "core.saving": offer(
        f"{COMPAT}.saving",
        "convert get_filesystem load_hparams_from_tags_csv load_hparams_from_yaml save_hparams_to_tags_csv "
        "save_hparams_to_yaml update_hparams",
    )
    | until("1.9", refuse("LightningModule, which has load_from_checkpoint", "ModelIO")),
    "demos": offer(f"{COMPAT}.demos", "BoringDataModule BoringModel DemoModel"),
    "demos.boring_classes": offer(
        f"{COMPAT}.demos",
        "BoringDataModule BoringModel DemoModel ManualOptimBoringModel Net RandomDataset RandomDictDataset "
        "RandomIterableDataset RandomIterableDatasetWithLen",
    ),
    "loggers": LOGGERS
    | until("1.8", offer(f"{COMPAT}.loggers", "LightningLoggerBase"))
    | until("1.7", offer(f"{COMPAT}.loggers", "LoggerCollection"))
    | until("1.6", offer(f"{COMPAT}.loggers", "TestTubeLogger")),
    "loggers.comet": pick(LOGGERS, "CometLogger"),
    "loggers.csv_logs": offer("fulmen.loggers.csv_logs", "CSVLogger ExperimentWriter"),
    "loggers.litlogger": pick(LOGGERS, "LitLogger"),
    "loggers.logger": offer("fulmen.core.logger", "DummyLogger Logger rank_zero_experiment")
    | offer(f"{COMPAT}.loggers", "DummyExperiment merge_dicts"),
    "loggers.mlflow": pick(LOGGERS, "MLFlowLogger"),
    "loggers.neptune": pick(LOGGERS, "NeptuneLogger"),
    "loggers.tensorboard": offer("fulmen.loggers", "TensorBoardLogger"),
    "loggers.wandb": pick(LOGGERS, "WandbLogger"),
    "loops": until(
        "1.9",
        refuse(
            NO_LOOPS,
            "DataLoaderLoop EvaluationEpochLoop EvaluationLoop FitLoop Loop ManualOptimization "
            "OptimizerLoop PredictionEpochLoop PredictionLoop TrainingBatchLoop TrainingEpochLoop",
        ),
    ),
    "overrides": refuse(
        "strategies wrap modules themselves", "LightningDistributedModule LightningParallelModule"
    ),
    "overrides.distributed": refuse(
        "strategies wrap modules themselves", "LightningDistributedModule prepare_for_backward"
    )
    | refuse(
        "evaluation scores each sample once without one",
        "IndexBatchSamplerWrapper UnrepeatedDistributedSampler UnrepeatedDistributedSamplerWrapper",
    ),
    "plugins": IO
    | LAYER_SYNC
    | PRECISIONS
    | PRECISION_PLUGINS
    | offer("fulmen.runtime.clusters", "ClusterEnvironment"),
    "plugins.environments": offer("fulmen.runtime.clusters", ENVIRONMENTS)
    | stand_in(NO_XLA, "XLAEnvironment")
    | until("1.9", stand_in("Bagua is not supported any more", "BaguaEnvironment")),
    "plugins.io": IO,
    "plugins.io.async_plugin": offer("fulmen.strategies", "AsyncCheckpointIO"),
    "plugins.io.checkpoint_plugin": offer("fulmen.strategies", "CheckpointIO"),
    "plugins.io.torch_plugin": offer("fulmen.strategies", "TorchCheckpointIO"),
    "plugins.io.xla_plugin": stand_in(NO_XLA, "XLACheckpointIO"),
    "plugins.layer_sync": LAYER_SYNC,
    "plugins.precision": PRECISIONS | PRECISION_PLUGINS,
    "plugins.precision.amp": offer("fulmen.precision", "MixedPrecision"),
    "plugins.precision.double": offer("fulmen.precision", "DoublePrecision"),
    "plugins.precision.half": offer("fulmen.precision", "HalfPrecision"),
    "plugins.precision.precision": offer("fulmen.precision", "Precision"),
    "profilers": PROFILERS,
    "profilers.advanced": offer("fulmen.profilers", "AdvancedProfiler"),
    "profilers.base": offer("fulmen.profilers", "PassThroughProfiler"),
    "profilers.profiler": offer("fulmen.profilers", "Profiler"),
    "profilers.pytorch": offer("fulmen.profilers", "PyTorchProfiler"),
    "profilers.simple": offer("fulmen.profilers", "SimpleProfiler"),
    "serve": refuse(NO_SERVE, "ServableModule ServableModuleValidator"),
    "strategies": STRATEGIES | OLD_STRATEGIES,
    "strategies.ddp": offer("fulmen.strategies", "DDPStrategy"),
    "strategies.deepspeed": stand_in(NO_DEEPSPEED, "DeepSpeedStrategy"),
    "strategies.fsdp": stand_in(NO_SHARDING, "FSDPStrategy"),
    "strategies.launchers": refuse(
        "strategies choose how processes start", "_MultiProcessingLauncher _SubprocessScriptLauncher"
    ),
    "strategies.model_parallel": stand_in(NO_SHARDING, "ModelParallelStrategy"),
    "strategies.parallel": rename(ParallelStrategy="fulmen.strategies:DDPStrategy"),
    "strategies.single_device": offer("fulmen.strategies", "SingleDeviceStrategy"),
    "strategies.strategy": offer("fulmen.strategies", "Strategy"),
    "strategies.xla": stand_in(NO_XLA, "XLAStrategy"),
    "trainer": offer("fulmen", "Trainer seed_everything"),
    "trainer.connectors": {},
    "trainer.connectors.accelerator_connector": offer(f"{COMPAT}.devices", "_AcceleratorConnector")
    | refuse(NO_CONNECTORS, "AcceleratorConnector"),
    "trainer.connectors.checkpoint_connector": refuse(
        NO_CONNECTORS, "CheckpointConnector _CheckpointConnector"
    ),
    "trainer.connectors.data_connector": refuse(NO_CONNECTORS, "DataConnector _DataConnector"),
    "trainer.connectors.logger_connector": refuse(NO_CONNECTORS, "LoggerConnector _LoggerConnector"),
    "trainer.states": offer("fulmen.engine.states", "RunningStage TrainerFn TrainerState TrainerStatus"),
    "trainer.trainer": offer("fulmen", "Trainer"),
    "tuner": offer("fulmen.tuner", "Tuner"),
    "tuner.batch_size_scaling": refuse("Tuner(trainer).scale_batch_size(model)", "scale_batch_size"),
    "tuner.lr_finder": rename(_LRFinder="fulmen.tuner:LRFinder")
    | refuse("Tuner(trainer).lr_find(model)", "lr_find"),
    "tuner.tuning": offer("fulmen.tuner", "Tuner"),
}
"""By path below `lightning.pytorch`."""
