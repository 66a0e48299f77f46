"""Attributes that a Trainer, a module or a datamodule had, and what they show today."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

from fulmen.callbacks import ModelCheckpoint, ProgressBar, TQDMProgressBar
from fulmen.compat.lightning.argparse import (
    add_argparse_args,
    from_argparse_args,
    match_env_arguments,
    parse_argparser,
)
from fulmen.compat.lightning.arguments import settings_of
from fulmen.compat.lightning.enums import TrainerStateOnce
from fulmen.compat.lightning.hooks import defines
from fulmen.compat.lightning.progress import running_loss
from fulmen.compat.lightning.trees import metrics_to_scalars
from fulmen.compat.lightning.tuning import OldTuner, tune
from fulmen.compat.lightning.versions import Spelling
from fulmen.core.module import LightningModule
from fulmen.engine import checkpoint as checkpoints
from fulmen.engine.logbook import to_host


@dataclass(frozen=True)
class OldAttribute(Spelling):
    """An attribute that is gone."""

    shows: Callable[[Any], Any] = lambda owner: None


def _given(name: str, default: Any) -> Callable[[Any], Any]:
    return lambda trainer: settings_of(trainer).given.get(name, default)


def _on(*kinds: str) -> Callable[[Any], bool]:
    return lambda trainer: trainer.strategy.root_device.type in kinds


def _uses(*names: str) -> Callable[[Any], bool]:
    return lambda trainer: trainer.strategy.name in names


def _gpu_indices(trainer: Any) -> list[int] | None:
    return trainer.device_ids if _on("cuda")(trainer) else None


def _scheduler_dicts(trainer: Any) -> list[dict[str, Any]]:
    """The schedulers as dicts, as up to 1.6."""
    return [
        {
            "scheduler": config.scheduler, "name": config.name, "interval": config.interval,
            "frequency": config.frequency, "reduce_on_plateau": config.reduce_on_plateau,
            "monitor": config.monitor, "strict": config.strict, "opt_idx": None,
        }
        for config in trainer.lr_scheduler_configs
    ]  # fmt: skip


def _batch_idx(trainer: Any) -> int:
    return trainer._run.batch_idx if trainer._run is not None else -1


def _progress_bar_dict(trainer: Any) -> dict[str, Any]:
    """What the bar shows, and what it is about to show."""
    run = trainer._run
    if run is None:
        return {}
    new = {entry.name: entry.value for entry in run.logbook._unflushed() if entry.prog_bar}
    return {**run.module.get_progress_bar_dict(), **dict(zip(new, to_host([*new.values()]), strict=True))}


def _loop(trainer: Any) -> SimpleNamespace:
    """What user code read of the old loops."""
    return SimpleNamespace(
        batch_idx=_batch_idx(trainer), total_batch_idx=trainer._progress.total_batch,
        current_epoch=trainer.current_epoch, global_step=trainer.global_step,
        running_loss=running_loss(trainer),
    )  # fmt: skip


def _logger_connector(trainer: Any) -> SimpleNamespace:
    """What user code read of the connector, and put into it."""
    return SimpleNamespace(
        callback_metrics=trainer.callback_metrics, logged_metrics=trainer.logged_metrics,
        progress_bar_metrics=trainer.progress_bar_metrics, add_progress_bar_metrics=trainer.add_metrics,
        log_metrics=lambda metrics, *unused, step=None: [
            logger.log_metrics(metrics, trainer.global_step if step is None else step)
            for logger in trainer.loggers
        ],
    )  # fmt: skip


def _checkpoint_connector(trainer: Any) -> SimpleNamespace:
    """What user code called of the connector."""
    return SimpleNamespace(
        save_checkpoint=trainer.save_checkpoint,
        dump_checkpoint=lambda weights_only=False: checkpoints.parts(trainer._run, weights_only=weights_only),
    )


def _reload(*kinds: str) -> Callable[[Any], Callable[..., None]]:
    def show(trainer: Any) -> Callable[..., None]:
        def reset(model: Any = None) -> None:
            loaders = {} if trainer._run is None else trainer._run.loaders
            for kind in kinds:
                loaders.pop(kind, None)

        return reset

    return show


def _has_arg(trainer: Any) -> Callable[[str, str], bool]:
    return lambda name, argument: argument in getattr(trainer.lightning_module, name).__code__.co_varnames


def _is_implemented(trainer: Any) -> Callable[..., bool]:
    return lambda name, module=None: defines(module or trainer.lightning_module, name)


OF_TRAINER: tuple[OldAttribute, ...] = (
    OldAttribute("gpus", last="1.7", modern="num_devices", shows=_given("gpus", None)),
    OldAttribute("num_gpus", last="1.7", modern="num_devices", shows=lambda t: len(_gpu_indices(t) or [])),
    OldAttribute("root_gpu", last="1.7", modern="strategy.root_device.index",
                 shows=lambda t: t.strategy.root_device.index if _on("cuda")(t) else None),
    OldAttribute("data_parallel_device_ids", last="1.7", modern="device_ids", shows=_gpu_indices),
    OldAttribute("root_device", last="1.4", modern="strategy.root_device",
                 shows=lambda t: t.strategy.root_device),
    OldAttribute("tpu_cores", last="1.7", modern="num_devices", shows=_given("tpu_cores", None)),
    OldAttribute("ipus", "1.4", "1.7", "num_devices", _given("ipus", None)),
    OldAttribute("devices", "1.4", "1.7", "num_devices", lambda t: t.num_devices),
    OldAttribute("num_processes", last="1.7", modern="num_devices", shows=lambda t: t.num_devices),
    OldAttribute("on_gpu", last="1.3", modern="strategy.root_device", shows=_on("cuda")),
    OldAttribute("on_cpu", "1.1", "1.3", "strategy.root_device", _on("cpu")),
    OldAttribute("on_tpu", last="1.3", modern="strategy.root_device", shows=_on("xla")),
    OldAttribute("use_single_gpu", last="1.3", modern="num_devices",
                 shows=lambda t: _on("cuda")(t) and t.num_devices == 1),
    OldAttribute("use_amp", last="1.7", modern="precision", shows=lambda t: "mixed" in t.precision),
    OldAttribute("amp_backend", last="1.9", modern="precision", shows=lambda t: "native"),
    OldAttribute("use_ddp", last="1.3", modern="strategy", shows=_uses("ddp")),
    OldAttribute("use_ddp2", last="1.3", modern="strategy", shows=lambda t: False),
    OldAttribute("use_dp", last="1.3", modern="strategy", shows=lambda t: False),
    OldAttribute("use_horovod", last="1.3", modern="strategy", shows=lambda t: False),
    OldAttribute("use_tpu", last="1.3", modern="strategy", shows=lambda t: False),
    OldAttribute("data_parallel", last="1.9", modern="strategy", shows=_uses("ddp")),
    OldAttribute("distributed_backend", last="1.7", modern="strategy.name", shows=lambda t: t.strategy.name),
    OldAttribute("training_type_plugin", "1.2", "1.7", "strategy", lambda t: t.strategy),
    OldAttribute("accelerator_backend", last="1.4", modern="accelerator", shows=lambda t: t.accelerator),
    OldAttribute("is_slurm_managing_tasks", last="1.5", modern="strategy.environment",
                 shows=lambda t: type(t.strategy.environment).__name__ == "SLURMEnvironment"),
    OldAttribute("slurm_job_id", last="1.6", modern="SLURMEnvironment.job_id()",
                 shows=lambda t: getattr(t.strategy.environment, "job_id", lambda: None)()),
    OldAttribute("lr_schedulers", last="1.6", modern="lr_scheduler_configs", shows=_scheduler_dicts),
    OldAttribute("optimizer_frequencies", last="1.9", modern="nothing",
                 shows=lambda t: getattr(getattr(t._run, "adapter", None), "frequencies", [])),
    OldAttribute("lightning_optimizers", "1.1", "1.7", "strategy",
                 lambda t: dict(enumerate(t._run.optimizers)) if t._run is not None else {}),
    OldAttribute("convert_to_lightning_optimizers", "1.1", "1.7", "nothing", lambda t: lambda: None),
    OldAttribute("running_sanity_check", last="1.7", modern="sanity_checking",
                 shows=lambda t: t.sanity_checking),
    OldAttribute("get_model", last="1.7", modern="lightning_module",
                 shows=lambda t: lambda: t.lightning_module),
    OldAttribute("batch_idx", last="1.5", modern="the argument of the hook", shows=_batch_idx),
    OldAttribute("total_batch_idx", last="1.5", modern="global_step",
                 shows=lambda t: t._progress.total_batch),
    OldAttribute("logger_connector", last="1.7", modern="callback_metrics and its like",
                 shows=_logger_connector),
    OldAttribute("checkpoint_connector", last="1.7", modern="save_checkpoint", shows=_checkpoint_connector),
    OldAttribute("train_loop", last="1.5", modern="fit_loop", shows=_loop),
    OldAttribute("evaluation_loop", last="1.4", modern="validate_loop", shows=_loop),
    OldAttribute("progress_bar_dict", last="1.6", modern="progress_bar_callback.get_metrics(...)",
                 shows=_progress_bar_dict),
    OldAttribute("disable_validation", last="1.5", modern="not enable_validation",
                 shows=lambda t: not t.enable_validation),
    OldAttribute("deterministic", last="1.5", modern="torch.are_deterministic_algorithms_enabled()",
                 shows=lambda t: torch.are_deterministic_algorithms_enabled()),
    OldAttribute("resume_from_checkpoint", last="1.9", modern="ckpt_path",
                 shows=_given("resume_from_checkpoint", None)),
    OldAttribute("weights_summary", last="1.6", modern="ModelSummary(max_depth=)",
                 shows=_given("weights_summary", "top")),
    OldAttribute("weights_save_path", last="1.7", modern="ModelCheckpoint.dirpath",
                 shows=lambda t: settings_of(t).weights_save_path or t.default_root_dir),
    OldAttribute("log_gpu_memory", last="1.6", modern="DeviceStatsMonitor",
                 shows=_given("log_gpu_memory", None)),
    OldAttribute("flush_logs_every_n_steps", last="1.6", modern="the logger's",
                 shows=_given("flush_logs_every_n_steps", 100)),
    OldAttribute("prepare_data_per_node", last="1.6", modern="the module's",
                 shows=_given("prepare_data_per_node", True)),
    OldAttribute("reload_dataloaders_every_epoch", last="1.5", modern="reload_dataloaders_every_n_epochs",
                 shows=lambda t: t.reload_dataloaders_every_n_epochs == 1),
    OldAttribute("replace_sampler_ddp", last="1.7", modern="use_distributed_sampler",
                 shows=_given("replace_sampler_ddp", True)),
    OldAttribute("sync_batchnorm", last="1.5", modern="strategy",
                 shows=lambda t: getattr(t.strategy, "sync_batchnorm", False)),
    OldAttribute("terminate_on_nan", last="1.6", modern="detect_anomaly",
                 shows=_given("terminate_on_nan", False)),
    OldAttribute("track_grad_norm", last="1.9", modern="on_before_optimizer_step",
                 shows=_given("track_grad_norm", -1)),
    OldAttribute("truncated_bptt_steps", last="1.4", modern="the module's",
                 shows=_given("truncated_bptt_steps", None)),
    OldAttribute("move_metrics_to_cpu", "1.1", "1.9", "metric.cpu()", _given("move_metrics_to_cpu", False)),
    OldAttribute("auto_lr_find", last="1.9", modern="Tuner", shows=_given("auto_lr_find", False)),
    OldAttribute("auto_scale_batch_size", last="1.9", modern="Tuner",
                 shows=_given("auto_scale_batch_size", False)),
    OldAttribute("tested_ckpt_path", last="1.7", modern="ckpt_path", shows=lambda t: t.ckpt_path),
    OldAttribute("validated_ckpt_path", "1.6", "1.7", "ckpt_path", lambda t: t.ckpt_path),
    OldAttribute("predicted_ckpt_path", "1.6", "1.7", "ckpt_path", lambda t: t.ckpt_path),
    OldAttribute("verbose_test", last="1.2", modern="test(verbose=)", shows=lambda t: True),
    OldAttribute("prediction_writer_callbacks", "1.3", "1.9", "callbacks", lambda t: [
        c for c in t.callbacks if any(k.__name__ == "BasePredictionWriter" for k in type(c).__mro__)]),
    OldAttribute("tuning", "1.2", "1.9", "nothing", lambda t: False),
    OldAttribute("reset_train_dataloader", last="1.9", modern="fit_loop.setup_data()",
                 shows=_reload("train")),
    OldAttribute("reset_val_dataloader", last="1.9", modern="nothing", shows=_reload("val")),
    OldAttribute("reset_test_dataloader", last="1.9", modern="nothing", shows=_reload("test")),
    OldAttribute("reset_predict_dataloader", "1.2", "1.9", "nothing", _reload("predict")),
    OldAttribute("tune", last="1.9", modern="Tuner(trainer)", shows=lambda t: partial(tune, t)),
    OldAttribute("tuner", last="1.9", modern="Tuner(trainer)", shows=OldTuner),
    OldAttribute("reset_train_val_dataloaders", "1.4", "1.7", "nothing", _reload("train", "val")),
    OldAttribute("has_arg", last="1.5", modern="inspect.signature", shows=_has_arg),
    OldAttribute("is_function_implemented", last="1.5", modern="is_overridden", shows=_is_implemented),
    OldAttribute("metrics_to_scalars", last="1.4", modern="metric.item()",
                 shows=lambda t: metrics_to_scalars),
    OldAttribute("amp_level", last="1.4", modern="precision", shows=_given("amp_level", "O2")),
    OldAttribute("benchmark", last="1.5", modern="torch.backends.cudnn.benchmark",
                 shows=lambda t: torch.backends.cudnn.benchmark),
    OldAttribute("auto_select_gpus", last="1.5", modern="devices='auto'",
                 shows=_given("auto_select_gpus", False)),
    OldAttribute("verbose_evaluate", "1.3", "1.7", "test(verbose=)", lambda t: True),
)  # fmt: skip
"""The Trainer's attributes and methods that are gone."""

BY_NAME = {attribute.name: attribute for attribute in OF_TRAINER}

CLASS_METHODS: dict[str, Any] = {
    "add_argparse_args": add_argparse_args,
    "from_argparse_args": from_argparse_args,
    "parse_argparser": parse_argparser,
    "match_env_arguments": match_env_arguments,
}
"""What was called on the class `Trainer`, with the class as first argument."""

OF_STATE: tuple[OldAttribute, ...] = tuple(
    OldAttribute(state.name, last="1.2", modern=f"trainer.state.status == TrainerStatus.{state.name}",
                 shows=lambda kind, state=state: state)
    for state in TrainerStateOnce
)  # fmt: skip
"""The members of `TrainerState`, while that was a set of words."""

OF_STATE_BY_NAME = {attribute.name: attribute for attribute in OF_STATE}

# ------------------------------------------------------------------------------------ modules and datamodules


def _datamodule_of(module: LightningModule) -> Any:
    return module.trainer.datamodule


OF_MODULE: tuple[OldAttribute, ...] = (
    OldAttribute("datamodule", last="1.5", modern="self.trainer.datamodule", shows=_datamodule_of),
    OldAttribute("use_amp", last="1.7", modern="self.trainer.precision",
                 shows=lambda m: "mixed" in m.trainer.precision),
    OldAttribute("precision", last="1.9", modern="self.trainer.precision",
                 shows=lambda m: m.trainer.precision),
    OldAttribute("use_ddp", last="1.1", modern="self.trainer.strategy",
                 shows=lambda m: m.trainer.strategy.name == "ddp"),
    OldAttribute("use_dp", last="1.1", modern="self.trainer.strategy", shows=lambda m: False),
    OldAttribute("use_ddp2", last="1.1", modern="self.trainer.strategy", shows=lambda m: False),
    OldAttribute("use_tpu", last="1.1", modern="self.trainer.strategy", shows=lambda m: False),
    OldAttribute("on_tpu", last="1.9", modern="self.device", shows=lambda m: False),
    OldAttribute("loaded_optimizer_states_dict", last="1.5", modern="nothing", shows=lambda m: {}),
    OldAttribute("exp_save_path", last="1.2", modern="self.trainer.log_dir",
                 shows=lambda m: m.trainer.log_dir),
    OldAttribute("truncated_bptt_steps", "1.3", "1.9", "manual optimization", lambda m: 0),
    OldAttribute("model_size", "1.2", "1.6", "ModelSummary(self).model_size", lambda m: sum(
        p.numel() * p.element_size() for p in m.parameters()) / 1e6),
)  # fmt: skip
"""Attributes of a module that are gone; its methods stand in module_methods.py."""


def _saver(callback: Any) -> Callable[..., None]:
    """What a ModelCheckpoint did when one was due."""
    return lambda trainer, *module: ModelCheckpoint._decide(callback, trainer)


def _of(kind: type, shows: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What callbacks of one kind have, and others have not."""

    def show(callback: Any) -> Any:
        if not isinstance(callback, kind):
            raise AttributeError(f"{type(callback).__name__!r} object has no such attribute")
        return shows(callback)

    return show


OF_CALLBACK = (
    OldAttribute("save_checkpoint", last="1.7", modern="trainer.save_checkpoint(path)",
                 shows=_of(ModelCheckpoint, _saver)),
    OldAttribute("main_progress_bar", last="1.9", modern="train_progress_bar",
                 shows=_of(TQDMProgressBar, lambda bar: bar.train_progress_bar)),
    OldAttribute("train_batch_idx", last="1.9", modern="batch_idx + 1 of the hook",
                 shows=_of(ProgressBar, lambda bar: _batch_idx(bar.trainer) + 1)),
)  # fmt: skip
"""Attributes of our callbacks that are gone."""

OF_FIT_LOOP_BY_NAME = {
    attribute.name: attribute
    for attribute in (
        OldAttribute("current_epoch", "1.4", "1.5", "trainer.current_epoch",
                     lambda loop: loop._trainer.current_epoch),
        OldAttribute("global_step", "1.4", "1.5", "trainer.global_step",
                     lambda loop: loop._trainer.global_step),
        OldAttribute("running_loss", "1.4", "1.9", "self.log(name, loss, prog_bar=True)",
                     lambda loop: running_loss(loop._trainer)),
    )
}  # fmt: skip
"""Attributes of `trainer.fit_loop` that are gone."""


def _size(data: Any) -> Callable[..., Any]:
    return lambda dim=None: data.dims if dim is None else data.dims[dim]


OF_DATAMODULE: tuple[OldAttribute, ...] = (
    *(
        OldAttribute(name, last="1.6", modern="an attribute of your own")
        for name in ("train_transforms", "val_transforms", "test_transforms", "dims")
    ),
    OldAttribute("size", last="1.6", modern="an attribute of your own", shows=_size),
    OldAttribute("has_prepared_data", last="1.5", modern="nothing", shows=lambda d: d.trainer is not None),
    OldAttribute("has_setup_fit", last="1.5", modern="nothing", shows=lambda d: d.trainer is not None),
    OldAttribute("has_setup_test", last="1.5", modern="nothing", shows=lambda d: d.trainer is not None),
    OldAttribute("has_setup_validate", "1.3", "1.5", "nothing", lambda d: d.trainer is not None),
    OldAttribute("has_setup_predict", "1.3", "1.5", "nothing", lambda d: d.trainer is not None),
)  # fmt: skip
"""Attributes of a datamodule that are gone."""

OF_DATAMODULE_BY_NAME = {attribute.name: attribute for attribute in OF_DATAMODULE}
