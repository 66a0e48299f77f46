"""The arguments of constructors and methods that only other versions have, and what each becomes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fulmen import build
from fulmen.base.tree import map_leaves
from fulmen.compat.lightning.versions import Spelling, parse
from fulmen.compat.spelling import say_modern
from fulmen.errors import ConfigError
from fulmen.strategies import Strategy

Given = dict[str, Any]
"""Keywords of a call, changed in place."""


UNNAMED = "early_stop_on"
"""What EarlyStopping monitors that was not told what."""


@dataclass
class OldSettings:
    """What a Trainer was told that today is said elsewhere."""

    version: str | None = None
    """The version that its code was declared to be written for."""
    resume_from_checkpoint: Any = None
    automatic_optimization: bool = True
    truncated_bptt_steps: int = 0
    auto_lr_find: bool | str = False
    auto_scale_batch_size: bool | str = False
    prepare_data_per_node: bool | None = None
    multiple_trainloader_mode: str | None = None
    weights_save_path: Any = None
    spellings: list[Spelling] = field(default_factory=list)
    """The old keywords that its methods were called with."""
    given: Given = field(default_factory=dict)
    """The old arguments as they were given, which the old attributes show."""


def settings_of(trainer: Any) -> OldSettings:
    """What `trainer` was told so; the defaults where it was told nothing."""
    return vars(trainer).get("old_settings") or OldSettings()


@dataclass(frozen=True)
class OldArgument(Spelling):
    """An argument that is gone, or values that one took."""

    becomes: Callable[[Any, Given, OldSettings], None] = lambda value, given, settings: None
    """Puts what it means into the keywords, or into the settings."""


# ------------------------------------------------------------------------- what arguments of a Trainer become


def _renamed(modern: str) -> Callable[[Any, Given, OldSettings], None]:
    def become(value: Any, given: Given, settings: OldSettings) -> None:
        if value is not None:
            given.setdefault(modern, value)

    return become


def _kept(name: str) -> Callable[[Any, Given, OldSettings], None]:
    def become(value: Any, given: Given, settings: OldSettings) -> None:
        if value is not None:
            setattr(settings, name, value)

    return become


def _refused(reason: str, fix: str, *neutral: Any) -> Callable[[Any, Given, OldSettings], None]:
    def become(value: Any, given: Given, settings: OldSettings) -> None:
        if value is not None and not any(value is one or value == one for one in neutral):
            raise ConfigError(reason, received=repr(value), fix=fix)

    return become


def _callback(
    argument: str, switch: str | None, module: str, name: str, **options: Any
) -> Callable[..., None]:
    """A callback, made by `name` of `module` with the value as `argument`, or a switch for True and False."""

    def become(value: Any, given: Given, settings: OldSettings) -> None:
        if isinstance(value, bool) and switch is not None:
            given.setdefault(switch, value)
        elif value:
            _add_callback(given, _make(module, name, {**options, **({argument: value} if argument else {})}))

    return become


def _make(module: str, name: str, arguments: Given) -> Any:
    return getattr(importlib.import_module(module), name)(**arguments)


def _add_callback(given: Given, callback: Any) -> None:
    present = given.get("callbacks") or []
    given["callbacks"] = [*(present if isinstance(present, (list, tuple)) else [present]), callback]


def _checkpointing(value: Any, given: Given, settings: OldSettings) -> None:
    if isinstance(value, bool):
        given.setdefault("enable_checkpointing", value)
    elif value is not None:
        _add_callback(given, value)


def _early_stopping(value: Any, given: Given, settings: OldSettings) -> None:
    if value is True:
        value = _make("fulmen.callbacks", "EarlyStopping", {"monitor": UNNAMED, "strict": False})
    if value:
        _add_callback(given, value)


def _bar(argument: str) -> Callable[[Any, Given, OldSettings], None]:
    def become(value: Any, given: Given, settings: OldSettings) -> None:
        if argument == "refresh_rate" and value == 0:
            given.setdefault("enable_progress_bar", False)
        elif value is not None and value != {"refresh_rate": 1, "process_position": 0}[argument]:
            bars = [c for c in given.get("callbacks") or [] if type(c).__name__ == "TQDMProgressBar"]
            if bars:
                setattr(bars[0], f"_{argument}", value)
            else:
                _add_callback(given, _make("fulmen.callbacks", "TQDMProgressBar", {argument: value}))

    return become


def _summary(value: Any, given: Given, settings: OldSettings) -> None:
    if value is None:
        given.setdefault("enable_model_summary", False)
    elif value == "full":
        _add_callback(given, _make("fulmen.callbacks", "ModelSummary", {"max_depth": -1}))


def _devices(accelerator: str) -> Callable[[Any, Given, OldSettings], None]:
    def become(value: Any, given: Given, settings: OldSettings) -> None:
        if value in (None, 0, [], "", "0", False):
            if accelerator == "gpu":
                given.setdefault("accelerator", "cpu")
            return
        given.setdefault("accelerator", accelerator)
        given["devices"] = int(value) if isinstance(value, str) and value.strip("-").isdecimal() else value

    return become


def _gpus(value: Any, given: Given, settings: OldSettings) -> None:
    if given.get("accelerator") in (None, "auto"):
        given.pop("accelerator", None)
    _devices("gpu")(value, given, settings)


def _processes(value: Any, given: Given, settings: OldSettings) -> None:
    if value is not None and value != 1 and not given.get("devices"):
        given.setdefault("accelerator", "cpu")
        given["devices"] = value


def _every_epoch(value: Any, given: Given, settings: OldSettings) -> None:
    if value:
        given.setdefault("reload_dataloaders_every_n_epochs", 1)


def _lightning_name(value: Any, given: Given, settings: OldSettings) -> None:
    if value is not None:
        given.setdefault("accelerator", value)


def _declared(value: Any, given: Given, settings: OldSettings) -> None:
    settings.version = parse(value)


_WATCH = "fulmen.compat.lightning.watching"

OF_TRAINER: tuple[OldArgument, ...] = (
    OldArgument("compat", modern="", becomes=_declared),
    OldArgument("distributed_backend", last="1.4", modern="strategy=", becomes=_lightning_name),
    OldArgument("gpus", last="1.9", modern="accelerator='gpu', devices=", becomes=_gpus),
    OldArgument("num_processes", last="1.9", modern="accelerator='cpu', devices=", becomes=_processes),
    OldArgument("auto_select_gpus", last="1.9", modern="devices='auto'"),
    OldArgument("tpu_cores", last="1.9", modern="accelerator='tpu'", becomes=_refused(
        "TPUs need XLA, which this package does not offer.", "accelerator='auto'", 0)),
    OldArgument("ipus", "1.4", "1.9", modern="accelerator='ipu'", becomes=_refused(
        "IPUs are not offered.", "accelerator='auto'", 0)),
    OldArgument("checkpoint_callback", last="1.6", modern="enable_checkpointing=, callbacks=[...]",
                becomes=_checkpointing),
    OldArgument("early_stop_callback", last="1.0", modern="callbacks=[EarlyStopping(...)]",
                becomes=_early_stopping),
    OldArgument("progress_bar_refresh_rate", last="1.6", modern="TQDMProgressBar(refresh_rate=)",
                becomes=_bar("refresh_rate")),
    OldArgument("process_position", last="1.6", modern="TQDMProgressBar(process_position=)",
                becomes=_bar("process_position")),
    OldArgument("weights_summary", last="1.6", modern="enable_model_summary=, ModelSummary(max_depth=)",
                becomes=_summary),
    OldArgument("log_gpu_memory", last="1.6", modern="callbacks=[DeviceStatsMonitor()]",
                becomes=_callback("", None, "fulmen.callbacks", "DeviceStatsMonitor")),
    OldArgument("stochastic_weight_avg", "1.2", "1.6", "callbacks=[StochasticWeightAveraging(swa_lrs=...)]",
                becomes=_callback("", None, "fulmen.callbacks", "StochasticWeightAveraging", swa_lrs=None)),
    OldArgument("track_grad_norm", last="1.9", modern="on_before_optimizer_step",
                becomes=lambda value, given, settings: None if value in (-1, None)
                else _add_callback(given, _make(_WATCH, "GradientNorms", {"norm_type": value}))),
    OldArgument("terminate_on_nan", last="1.6", modern="detect_anomaly=True",
                becomes=_callback("", None, _WATCH, "EndAtNaN")),
    OldArgument("resume_from_checkpoint", last="1.9", modern="trainer.fit(ckpt_path=)",
                becomes=_kept("resume_from_checkpoint")),
    OldArgument("weights_save_path", last="1.7", modern="ModelCheckpoint(dirpath=)",
                becomes=_kept("weights_save_path")),
    OldArgument("truncated_bptt_steps", last="1.4", modern="manual optimization",
                becomes=_kept("truncated_bptt_steps")),
    OldArgument("automatic_optimization", last="1.2", modern="self.automatic_optimization = False",
                becomes=_kept("automatic_optimization")),
    OldArgument("reload_dataloaders_every_epoch", last="1.5", modern="reload_dataloaders_every_n_epochs=1",
                becomes=_every_epoch),
    OldArgument("replace_sampler_ddp", last="1.9", modern="use_distributed_sampler=",
                becomes=_renamed("use_distributed_sampler")),
    OldArgument("auto_lr_find", last="1.9", modern="Tuner(trainer).lr_find(model)",
                becomes=_kept("auto_lr_find")),
    OldArgument("auto_scale_batch_size", last="1.9", modern="Tuner(trainer).scale_batch_size(model)",
                becomes=_kept("auto_scale_batch_size")),
    OldArgument("prepare_data_per_node", last="1.6", modern="self.prepare_data_per_node = ...",
                becomes=_kept("prepare_data_per_node")),
    OldArgument("multiple_trainloader_mode", "1.2", "1.9", "CombinedLoader(loaders, mode)",
                becomes=_kept("multiple_trainloader_mode")),
    OldArgument("amp_backend", last="1.9", modern="precision='16-mixed'", becomes=_refused(
        "Apex is not offered: mixed precision is torch's own.", "precision='16-mixed'", "native")),
    OldArgument("amp_level", last="1.9", modern="precision='16-mixed'", becomes=_refused(
        "`amp_level` was for Apex, which is not offered.", "leave it out", "O2", "o2")),
    OldArgument("flush_logs_every_n_steps", last="1.6", modern="CSVLogger(flush_logs_every_n_steps=)"),
    OldArgument("log_save_interval", last="1.0", modern="CSVLogger(flush_logs_every_n_steps=)"),
    OldArgument("row_log_interval", last="1.0", modern="log_every_n_steps=",
                becomes=_renamed("log_every_n_steps")),
    OldArgument("train_percent_check", last="1.0", modern="limit_train_batches=",
                becomes=_renamed("limit_train_batches")),
    OldArgument("val_percent_check", last="1.0", modern="limit_val_batches=",
                becomes=_renamed("limit_val_batches")),
    OldArgument("test_percent_check", last="1.0", modern="limit_test_batches=",
                becomes=_renamed("limit_test_batches")),
    OldArgument("overfit_pct", last="1.0", modern="overfit_batches=", becomes=_renamed("overfit_batches")),
    OldArgument("cluster_environment", last="1.0", modern="plugins=[environment]",
                becomes=_renamed("plugins")),
    OldArgument("move_metrics_to_cpu", "1.1", "1.9", "metric.cpu()"),
    OldArgument("enable_pl_optimizer", "1.1", "1.2", "nothing: optimizers are always wrapped"),
)  # fmt: skip
"""The Trainer's arguments that are gone."""

POSITIONAL = (
    "logger", "checkpoint_callback", "callbacks", "default_root_dir", "gradient_clip_val", "process_position",
    "num_nodes", "num_processes", "gpus", "auto_select_gpus", "tpu_cores", "log_gpu_memory",
    "progress_bar_refresh_rate", "overfit_batches", "track_grad_norm", "check_val_every_n_epoch",
    "fast_dev_run", "accumulate_grad_batches", "max_epochs", "min_epochs", "max_steps", "min_steps",
    "limit_train_batches", "limit_val_batches", "limit_test_batches", "val_check_interval",
)  # fmt: skip
"""The order in which 1.0 took the Trainer's arguments by position."""

# --------------------------------------------------------------------------------- values that arguments took


@dataclass(frozen=True)
class OldStrategy(Spelling):
    """A way of distributing that had another name, or that is not offered."""

    becomes: str | None = None


_UNUSED = "_find_unused_parameters_true"

STRATEGIES: tuple[OldStrategy, ...] = (
    OldStrategy("ddp", last="1.6", modern="strategy='ddp'", becomes="ddp" + _UNUSED),
    OldStrategy("ddp_spawn", last="1.6", modern="strategy='ddp_spawn'", becomes="ddp_spawn" + _UNUSED),
    OldStrategy("ddp_cpu", last="1.5", modern="accelerator='cpu', strategy='ddp_spawn'",
                becomes="ddp_spawn" + _UNUSED),
    OldStrategy("ddp_sharded", "1.1", "1.9", "strategy='ddp'", "ddp" + _UNUSED),
    OldStrategy("ddp_sharded_spawn", "1.2", "1.9", "strategy='ddp_spawn'", "ddp_spawn" + _UNUSED),
    OldStrategy("dp", last="1.9", modern="strategy='ddp', which has a process for each device"),
    OldStrategy("ddp2", last="1.6", modern="strategy='ddp', which has a process for each device"),
    OldStrategy("horovod", last="1.9", modern="strategy='ddp'"),
    OldStrategy("bagua", "1.6", "1.9", "strategy='ddp'"),
    OldStrategy("colossalai", "1.8", "1.9", "strategy='ddp'"),
    OldStrategy("tpu_spawn", "1.5", "1.9", "strategy='ddp'"),
    OldStrategy("ipu_strategy", "1.6", "1.9", "strategy='ddp'"),
    OldStrategy("hpu_parallel", "1.6", "1.9", "strategy='ddp'"),
)  # fmt: skip
"""What `accelerator=`, `distributed_backend=`, `plugins=` and `strategy=` named; None: not offered."""

_BY_NAME = {strategy.name: strategy for strategy in STRATEGIES}
WAYS = {*build.STRATEGIES, *_BY_NAME}
"""The names of strategies that `plugins` took."""


def translate_trainer(positional: tuple[Any, ...], given: Given) -> OldSettings:
    """Turn old arguments, in `given` and by position, into modern ones, in place; and give the rest."""
    if len(positional) > len(POSITIONAL):
        raise TypeError(f"Trainer takes {len(POSITIONAL)} arguments by position at most; name them")
    if positional:
        say_modern("Arguments of Trainer by position", "by name, as in Trainer(max_epochs=3)")
    for name, value in zip(POSITIONAL, positional, strict=False):
        if name in given:
            raise TypeError(f"Trainer got multiple values for argument {name!r}")
        given[name] = value
    settings = OldSettings()
    found = [argument for argument in OF_TRAINER if argument.name in given]
    for argument in found:
        value = given.pop(argument.name)
        settings.given[argument.name] = value
        if argument.modern:
            say_modern(f"Trainer({argument.name}=...)", argument.modern)
        argument.becomes(value, given, settings)
    _translate_values(given, bool(found))
    return settings


def _translate_values(given: Given, is_old: bool) -> None:
    """Values of modern arguments that only other versions take."""
    for name in ("accelerator", "devices", "strategy", "num_nodes", "accumulate_grad_batches", "max_steps"):
        if name in given and given[name] is None:
            del given[name]
    if isinstance(given.get("accumulate_grad_batches"), dict):
        schedule = given.pop("accumulate_grad_batches")
        say_modern("Trainer(accumulate_grad_batches={...})", "GradientAccumulationScheduler(scheduling)")
        _add_callback(
            given, _make("fulmen.callbacks", "GradientAccumulationScheduler", {"scheduling": schedule})
        )
    if isinstance(given.get("profiler"), bool):
        say_modern("Trainer(profiler=True)", "profiler='simple'")
        given["profiler"] = "simple" if given["profiler"] else None
    _translate_distribution(given, is_old)


def _translate_distribution(given: Given, is_old: bool) -> None:
    accelerator = given.get("accelerator")
    if isinstance(accelerator, str) and accelerator.lower() in _BY_NAME:
        del given["accelerator"]
        if accelerator.lower() == "ddp_cpu":
            given["accelerator"] = "cpu"
        given.setdefault("strategy", _offered(accelerator.lower(), f"accelerator={accelerator!r}"))
    plugins = given.get("plugins")
    several = list(plugins) if isinstance(plugins, (list, tuple)) else [] if plugins is None else [plugins]
    ways = [p for p in several if isinstance(p, Strategy) or (isinstance(p, str) and p in WAYS)]
    if ways:
        given["plugins"] = [plugin for plugin in several if plugin not in ways] or None
        way = ways[0]
        say_modern(f"Trainer(plugins={way!r})", "strategy=")
        given["strategy"] = _offered(way, f"plugins={way!r}") if isinstance(way, str) else way
    strategy = given.get("strategy")
    if isinstance(strategy, str) and strategy in _BY_NAME and strategy not in ("ddp", "ddp_spawn"):
        given["strategy"] = _offered(strategy, f"strategy={strategy!r}")
    devices = given.get("devices")
    several_devices = (isinstance(devices, int) and devices > 1) or (
        isinstance(devices, (list, tuple)) and len(devices) > 1
    )
    if is_old and several_devices and "strategy" not in given:
        given["strategy"] = "ddp_spawn" + _UNUSED  # what several devices meant when they were spelled so


def _offered(name: str, spelled: str) -> str:
    strategy = _BY_NAME.get(name)
    if strategy is None:
        return name
    if strategy.becomes is None:
        raise ConfigError(
            f"Trainer({spelled}) asks for something that is not offered here.", fix=strategy.modern
        )
    say_modern(f"Trainer({spelled})", strategy.modern)
    return strategy.becomes


# ---------------------------------------------------------------------------------- methods and other classes


@dataclass(frozen=True)
class OldKeyword(Spelling):
    """A keyword of a method that has another name now, or none."""

    becomes: str | Callable[[Any, Any, Given], None] | None = None
    """The modern keyword, or what changes the call; None where the value has no meaning any more."""


def _reduce_over_ranks(module: Any, operation: Any, given: Given) -> None:
    """Ranks were reduced by an operation of their own; today as the steps are, by the mean."""
    name = str(getattr(operation, "name", operation)).lower().rpartition(".")[2]
    if name not in ("mean", "avg", "sum", "none"):
        raise ConfigError(
            "`sync_dist_op` is not understood.", received=repr(operation), expected="mean or sum"
        )
    if name == "sum" and given.get("sync_dist"):
        ranks = module.trainer.world_size
        for key in ("value", "dictionary"):
            if key in given:
                given[key] = map_leaves(given[key], (Tensor, float, int), lambda value: value * ranks)


_OF_LOG = (
    OldKeyword("tbptt_reduce_fx", last="1.5"),
    OldKeyword("tbptt_pad_token", last="1.5"),
    OldKeyword("sync_dist_op", last="1.5", becomes=_reduce_over_ranks),
)

METHODS: dict[str, tuple[OldKeyword, ...]] = {
    "Trainer.fit": (OldKeyword("train_dataloader", last="1.5", becomes="train_dataloaders"),),
    "Trainer.validate": (OldKeyword("val_dataloaders", "1.3", "1.5", becomes="dataloaders"),),
    "Trainer.test": (OldKeyword("test_dataloaders", last="1.5", becomes="dataloaders"),),
    "Trainer.predict": (),
    "LightningModule.log": _OF_LOG,
    "LightningModule.log_dict": _OF_LOG,
}
"""Keywords of methods that are gone, by class and method."""


def translate_call(owner: Any, method: str, given: Given, unknown: Given) -> Given | None:
    """The keywords of a call, old ones replaced; None where one of them is of no version."""
    known = next(
        (METHODS[key] for cls in type(owner).__mro__ if (key := f"{cls.__name__}.{method}") in METHODS), ()
    )
    by_name = {keyword.name: keyword for keyword in known}
    if not unknown.keys() <= by_name.keys():
        return None
    for name, value in unknown.items():
        modern = by_name[name].becomes
        say_modern(
            f"{method}({name}=...)", f"{method}({modern}=...)" if isinstance(modern, str) else "leave it out"
        )
        if callable(modern):
            modern(owner, value, given)
        elif modern is not None and value is not None:
            given[modern] = value
            vars(owner).setdefault("old_settings", OldSettings()).spellings.append(by_name[name])
    return given
