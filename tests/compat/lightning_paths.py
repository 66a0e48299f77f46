"""What code written for Lightning imports, by path: written down from its releases, not from the table."""

from __future__ import annotations

OFFERED = """
pl: Trainer LightningModule LightningDataModule Callback seed_everything
lightning: Trainer LightningModule LightningDataModule Callback seed_everything
lightning.pytorch: Trainer LightningModule LightningDataModule Callback seed_everything
pl.core: LightningModule LightningDataModule
pl.core.lightning: LightningModule
pl.core.module: LightningModule
pl.core.datamodule: LightningDataModule
pl.core.hooks: ModelHooks DataHooks CheckpointHooks
pl.core.saving: load_hparams_from_yaml save_hparams_to_yaml load_hparams_from_tags_csv update_hparams
pl.core.step_result: Result TrainResult EvalResult
pl.core.memory: ModelSummary LayerSummary get_human_readable_count
pl.core.decorators: auto_move_data
pl.core.grads: GradInformation
pl.core.mixins: DeviceDtypeModuleMixin HyperparametersMixin
pl.core.mixins.hparams_mixin: HyperparametersMixin
pl.utilities.device_dtype_mixin: DeviceDtypeModuleMixin
pl.core.optimizer: LightningOptimizer
pl.callbacks.base: Callback
pl.callbacks.callback: Callback
pl.callbacks: ProgressBar ProgressBarBase GPUStatsMonitor XLAStatsMonitor Callback ModelCheckpoint
pl.callbacks: EarlyStopping LearningRateMonitor GradientAccumulationScheduler LambdaCallback Timer
pl.callbacks: BasePredictionWriter BaseFinetuning BackboneFinetuning DeviceStatsMonitor ModelSummary
pl.callbacks: RichModelSummary RichProgressBar TQDMProgressBar Checkpoint OnExceptionCheckpoint
pl.callbacks: StochasticWeightAveraging ModelPruning BatchSizeFinder LearningRateFinder SpikeDetection
pl.callbacks: ThroughputMonitor WeightAveraging EMAWeightAveraging
pl.callbacks.progress: ProgressBar ProgressBarBase tqdm TQDMProgressBar RichProgressBar
pl.callbacks.progress.base: ProgressBarBase
pl.callbacks.progress.tqdm_progress: TQDMProgressBar Tqdm
pl.callbacks.progress.rich_progress: RichProgressBar RichProgressBarTheme
pl.callbacks.progress.progress_bar: ProgressBar
pl.callbacks.gpu_stats_monitor: GPUStatsMonitor
pl.callbacks.swa: StochasticWeightAveraging
pl.callbacks.stochastic_weight_avg: StochasticWeightAveraging
pl.callbacks.early_stopping: EarlyStopping
pl.callbacks.model_checkpoint: ModelCheckpoint
pl.callbacks.lr_monitor: LearningRateMonitor
pl.callbacks.finetuning: BaseFinetuning BackboneFinetuning multiplicative
pl.callbacks.timer: Timer Interval
pl.callbacks.lambda_function: LambdaCallback
pl.callbacks.prediction_writer: BasePredictionWriter WriteInterval
pl.callbacks.gradient_accumulation_scheduler: GradientAccumulationScheduler
pl.callbacks.device_stats_monitor: DeviceStatsMonitor
pl.callbacks.rich_model_summary: RichModelSummary
pl.callbacks.pruning: ModelPruning
pl.loggers: LightningLoggerBase LoggerCollection TestTubeLogger Logger TensorBoardLogger CSVLogger
pl.loggers: WandbLogger MLFlowLogger CometLogger NeptuneLogger
pl.loggers.base: LightningLoggerBase rank_zero_experiment DummyLogger merge_dicts LoggerCollection
pl.loggers.logger: Logger rank_zero_experiment DummyLogger
pl.loggers.csv_logs: ExperimentWriter CSVLogger
pl.loggers.tensorboard: TensorBoardLogger
pl.loggers.wandb: WandbLogger
pl.loggers.mlflow: MLFlowLogger
pl.loggers.comet: CometLogger
pl.loggers.neptune: NeptuneLogger
pl.loggers.test_tube: TestTubeLogger
pl.metrics: Metric Accuracy Precision Recall Fbeta MeanSquaredError MeanAbsoluteError MeanSquaredLogError
pl.metrics: ExplainedVariance ConfusionMatrix PrecisionRecallCurve AveragePrecision ROC FBeta F1 PSNR SSIM
pl.metrics: AUC AUROC HammingDistance IoU StatScores R2Score MetricCollection
pl.metrics.functional: accuracy precision recall f1_score fbeta_score precision_recall confusion_matrix
pl.metrics.functional: stat_scores stat_scores_multiple_classes roc precision_recall_curve multiclass_roc
pl.metrics.functional: multiclass_precision_recall_curve auc auroc average_precision dice_score iou to_onehot
pl.metrics.functional: to_categorical mse rmse mae rmsle psnr ssim bleu_score embedding_similarity
pl.metrics.functional: explained_variance fbeta f1 mean_absolute_error hamming_distance r2score
pl.metrics.functional.classification: accuracy confusion_matrix get_num_classes auc_decorator
pl.metrics.functional.reduction: reduce class_reduce
pl.metrics.metric: Metric
pl.metrics.utils: to_onehot
pl.metrics.classification: Accuracy Precision
pl.metrics.regression: MeanSquaredError
pl.plugins: DDPPlugin DDPSpawnPlugin DDP2Plugin DataParallelPlugin DDPShardedPlugin DeepSpeedPlugin
pl.plugins: DDPFullyShardedPlugin DDPSpawnShardedPlugin SingleDevicePlugin
pl.plugins.training_type: DDPPlugin DDPSpawnPlugin
pl.plugins.training_type.ddp: DDPPlugin
pl.plugins.training_type.ddp_spawn: DDPSpawnPlugin
pl.plugins.training_type.deepspeed: DeepSpeedPlugin
pl.plugins.training_type.dp: DataParallelPlugin
pl.plugins.training_type.sharded: DDPShardedPlugin
pl.plugins.ddp_plugin: DDPPlugin
pl.plugins.sharded_plugin: DDPShardedPlugin
pl.plugins.rpc_plugin: RPCPlugin
pl.plugins.native_amp: NativeAMPPlugin
pl.plugins: NativeMixedPrecisionPlugin ApexMixedPrecisionPlugin
pl.plugins.precision.native_amp: NativeMixedPrecisionPlugin
pl.plugins: PrecisionPlugin MixedPrecisionPlugin DoublePrecisionPlugin HalfPrecisionPlugin
pl.plugins: FSDPPrecisionPlugin FSDPMixedPrecisionPlugin DeepSpeedPrecisionPlugin XLAPrecisionPlugin
pl.plugins: BitsandbytesPrecisionPlugin TPUPrecisionPlugin
pl.plugins: Precision MixedPrecision DoublePrecision HalfPrecision FSDPPrecision DeepSpeedPrecision
pl.plugins.precision: Precision MixedPrecision
pl.plugins.precision.precision_plugin: PrecisionPlugin
pl.plugins.precision.amp: MixedPrecision
pl.plugins.environments: ClusterEnvironment SLURMEnvironment TorchElasticEnvironment LightningEnvironment
pl.plugins.environments: KubeflowEnvironment LSFEnvironment MPIEnvironment XLAEnvironment
pl.plugins.environments.slurm_environment: SLURMEnvironment
pl.plugins.environments.cluster_environment: ClusterEnvironment
pl.plugins.environments.torchelastic_environment: TorchElasticEnvironment
pl.plugins.environments.lightning_environment: LightningEnvironment
pl.cluster_environments: ClusterEnvironment SLURMEnvironment TorchElasticEnvironment
pl.plugins: CheckpointIO TorchCheckpointIO XLACheckpointIO AsyncCheckpointIO
pl.plugins.io: CheckpointIO TorchCheckpointIO AsyncCheckpointIO
pl.plugins.io.checkpoint_plugin: CheckpointIO
pl.strategies: DDPSpawnStrategy DDP2Strategy DataParallelStrategy DDPShardedStrategy
pl.strategies: DDPFullyShardedNativeStrategy DDPStrategy SingleDeviceStrategy Strategy ParallelStrategy
pl.strategies: FSDPStrategy DeepSpeedStrategy ModelParallelStrategy
pl.strategies: SingleTPUStrategy HPUParallelStrategy SingleHPUStrategy
pl.strategies.ddp: DDPStrategy
pl.strategies.dp: DataParallelStrategy
pl.accelerators: GPUAccelerator TPUAccelerator HPUAccelerator IPUAccelerator CPUAccelerator CUDAAccelerator
pl.accelerators: Accelerator MPSAccelerator XLAAccelerator find_usable_cuda_devices
pl.accelerators.gpu: GPUAccelerator
pl.accelerators.gpu_accelerator: GPUAccelerator
pl.accelerators.cuda: CUDAAccelerator
pl.profiler: SimpleProfiler AdvancedProfiler BaseProfiler PyTorchProfiler PassThroughProfiler
pl.profiler.profilers: SimpleProfiler AdvancedProfiler
pl.profiler.base: BaseProfiler
pl.profiler.simple: SimpleProfiler
pl.profilers: Profiler SimpleProfiler AdvancedProfiler PyTorchProfiler PassThroughProfiler
pl.profilers.pytorch: PyTorchProfiler
pl.trainer.supporters: CombinedLoader
pl.trainer.states: TrainerState RunningStage TrainerFn TrainerStatus
pl.trainer: seed_everything Trainer
pl.trainer.trainer: Trainer
pl.tuner: Tuner
pl.tuner.tuning: Tuner
pl.tuner.auto_gpu_select: pick_multiple_gpus pick_single_gpu
pl.utilities: rank_zero_only rank_zero_warn rank_zero_info AttributeDict move_data_to_device is_picklable
pl.utilities: AMPType flatten_dict AllGatherGrad DeviceType DistributedType APEX_AVAILABLE _APEX_AVAILABLE
pl.utilities: _TORCH_GREATER_EQUAL_1_6 _TORCH_GREATER_EQUAL_1_8 CombinedLoader grad_norm measure_flops
pl.utilities: GradClipAlgorithmType LightningEnum rank_zero_deprecation _OMEGACONF_AVAILABLE
pl.utilities.distributed: rank_zero_only rank_zero_warn rank_zero_info sync_ddp_if_available
pl.utilities.distributed: gather_all_tensors all_gather_ddp_if_available gather_all_tensors_if_available
pl.utilities.rank_zero: rank_zero_only rank_zero_info rank_zero_warn rank_zero_debug WarningCache
pl.utilities.warnings: rank_zero_warn rank_zero_deprecation LightningDeprecationWarning PossibleUserWarning
pl.utilities.warning_utils: WarningCache
pl.utilities.apply_func: move_data_to_device apply_to_collection
pl.utilities.seed: seed_everything pl_worker_init_function reset_seed isolate_rng
pl.utilities.cloud_io: load get_filesystem atomic_save
pl.utilities.data: has_len has_iterable_dataset get_len extract_batch_size
pl.utilities.argparse: add_argparse_args from_argparse_args parse_argparser parse_env_variables
pl.utilities.argparse: get_init_arguments_and_types
pl.trainer.connectors.accelerator_connector: _AcceleratorConnector
pl.utilities.argparse_utils: add_argparse_args from_argparse_args
pl.utilities.device_parser: parse_gpu_ids
pl.utilities.model_utils: is_overridden
pl.utilities.model_helpers: is_overridden
pl.utilities.model_summary: ModelSummary summarize LayerSummary
pl.utilities.memory: get_gpu_memory_map get_model_size_mb recursive_detach is_oom_error
pl.utilities.metrics: metrics_to_scalars
pl.utilities.finite_checks: detect_nan_parameters print_nan_gradients
pl.utilities.enums: AMPType GradClipAlgorithmType LightningEnum
pl.utilities.optimizer: optimizer_to_device optimizers_to_device
pl.utilities.parsing: AttributeDict lightning_hasattr lightning_getattr lightning_setattr collect_init_args
pl.utilities.parsing: save_hyperparameters get_init_args clean_namespace is_picklable
pl.utilities.parsing: str_to_bool str_to_bool_or_str str_to_bool_or_int flatten_dict
pl.utilities.types: STEP_OUTPUT EPOCH_OUTPUT _PATH TRAIN_DATALOADERS EVAL_DATALOADERS _METRIC
pl.utilities.types: LRSchedulerTypeUnion OptimizerLRScheduler
pl.utilities.exceptions: MisconfigurationException
pl.utilities.grads: grad_norm
pl.utilities.migration: migrate_checkpoint pl_legacy_patch
pl.utilities.combined_loader: CombinedLoader
pl.utilities.imports: _TORCH_GREATER_EQUAL_1_10 _OMEGACONF_AVAILABLE _RICH_AVAILABLE
pl.utilities.signature_utils: is_param_in_hook_signature
pl.cli: LightningCLI LightningArgumentParser SaveConfigCallback
pl.utilities.cli: LightningCLI LightningArgumentParser SaveConfigCallback
pl.demos.boring_classes: BoringModel BoringDataModule RandomDataset ManualOptimBoringModel DemoModel
lightning.fabric: seed_everything
lightning.fabric.loggers: CSVLogger TensorBoardLogger Logger
lightning.fabric.plugins: Precision MixedPrecision ClusterEnvironment CheckpointIO TorchCheckpointIO
lightning.fabric.plugins.environments: SLURMEnvironment LightningEnvironment TorchElasticEnvironment
lightning.fabric.plugins.environments.slurm: SLURMEnvironment
lightning.fabric.plugins.precision: MixedPrecision DoublePrecision HalfPrecision
lightning.fabric.strategies: DDPStrategy FSDPStrategy SingleDeviceStrategy
lightning.fabric.accelerators: CPUAccelerator CUDAAccelerator
lightning.fabric.accelerators.cuda: find_usable_cuda_devices
lightning.fabric.utilities: rank_zero_only rank_zero_info rank_zero_warn move_data_to_device AttributeDict
lightning.fabric.utilities: measure_flops
lightning.fabric.utilities.seed: seed_everything isolate_rng reset_seed pl_worker_init_function
lightning.fabric.utilities.rank_zero: rank_zero_only LightningDeprecationWarning
lightning.fabric.utilities.cloud_io: get_filesystem _load _atomic_save
lightning.fabric.utilities.types: _PATH _DEVICE _MAP_LOCATION_TYPE
lightning.fabric.utilities.apply_func: move_data_to_device convert_to_tensors
lightning.fabric.utilities.data: has_len has_iterable_dataset AttributeDict
lightning.fabric.utilities.device_dtype_mixin: _DeviceDtypeModuleMixin
lightning.fabric.utilities.exceptions: MisconfigurationException
lightning.fabric.utilities.warnings: PossibleUserWarning
lightning_lite.utilities.seed: seed_everything
lightning.lite.utilities.seed: seed_everything
"""
"""Paths of all versions, and what is imported from each; `pl` is `pytorch_lightning`."""

REFUSED = """
pl.loops: FitLoop EvaluationLoop PredictionLoop TrainingEpochLoop Loop OptimizerLoop
pl.callbacks: QuantizationAwareTraining
pl.callbacks.fault_tolerance: _FaultToleranceCheckpoint
pl.core.saving: ModelIO
pl.lite: LightningLite
lightning: Fabric
lightning.fabric: Fabric
lightning_fabric: Fabric
lightning_lite: LightningLite
lightning.app: LightningApp
pl.overrides.data_parallel: LightningDistributedDataParallel LightningParallelModule
pl.overrides.distributed: LightningDistributedModule prepare_for_backward
pl.distributed: LightningDistributed
pl.trainer.training_loop: TrainLoop
pl.trainer.evaluation_loop: EvaluationLoop
pl.trainer.training_tricks: TrainerTrainingTricksMixin
pl.trainer.logging: TrainerLoggingMixin
pl.trainer.data_loading: TrainerDataLoadingMixin
pl.trainer.optimizers: TrainerOptimizersMixin
pl.trainer.callback_hook: TrainerCallbackHookMixin
pl.trainer.model_hooks: TrainerModelHooksMixin
pl.trainer.properties: TrainerProperties
pl.accelerators.ddp_accelerator: DDPAccelerator
pl.accelerators.dp_accelerator: DataParallelAccelerator
pl.accelerators.ddp_spawn_accelerator: DDPSpawnAccelerator
pl.accelerators.accelerator_connector: AcceleratorConnector
pl.plugins.base_plugin: Plugin
pl.plugins: Plugin
pl.plugins.apex: ApexPlugin
pl.utilities.debugging: InternalDebugger
pl.utilities.xla_device: XLADeviceUtils
pl.utilities.auto_restart: FastForwardSampler
pl.utilities.fetching: DataFetcher
pl.utilities.deepspeed: convert_zero_checkpoint_to_fp32_state_dict
pl.utilities.upgrade_checkpoint: upgrade_checkpoint
pl.utilities.cli: MODEL_REGISTRY CALLBACK_REGISTRY
"""
"""What there is nothing for: an error says so when it is imported, and what to use."""

CANNOT_BE_MADE = """
pl.callbacks: SpikeDetection ThroughputMonitor XLAStatsMonitor
pl.loggers: WandbLogger MLFlowLogger CometLogger NeptuneLogger
pl.strategies: FSDPStrategy DeepSpeedStrategy ModelParallelStrategy HPUParallelStrategy
pl.plugins: BitsandbytesPrecisionPlugin XLACheckpointIO
pl.cli: LightningCLI
"""
"""Classes that libraries may mention: the error comes when one is made."""


def listed(text: str) -> list[tuple[str, str]]:
    """Path and name, one by one."""
    pairs = [line.split(": ") for line in text.strip().splitlines()]
    return [(path.replace("pl", "pytorch_lightning", 1) if path.split(".")[0] == "pl" else path, name)
            for path, names in pairs for name in names.split()]  # fmt: skip
