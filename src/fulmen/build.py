"""From the strings of a Trainer's arguments to objects. One table per kind."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any

import torch

from fulmen.base import environ, extras
from fulmen.callbacks import Checkpoint, ModelCheckpoint, ProgressBar, Timer
from fulmen.callbacks.model_summary import SummaryCallback
from fulmen.callbacks.progress import default_progress_bar
from fulmen.callbacks.rich_model_summary import default_model_summary
from fulmen.core.callback import Callback
from fulmen.core.logger import DummyLogger, Logger
from fulmen.core.profiler import Profiler
from fulmen.errors import ConfigError, did_you_mean
from fulmen.loggers import CSVLogger, TensorBoardLogger
from fulmen.precision import DoublePrecision, FullPrecision, HalfPrecision, MixedPrecision, Precision
from fulmen.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from fulmen.runtime.clusters import ClusterEnvironment, detect
from fulmen.strategies import CheckpointIO, DDPStrategy, SingleDeviceStrategy, Strategy
from fulmen.strategies.ddp import StartMethod

PRECISIONS: dict[str, Callable[[torch.device], Precision]] = {
    "32-true": lambda device: FullPrecision(),
    "64-true": lambda device: DoublePrecision(),
    "16-true": lambda device: HalfPrecision("16-true"),
    "bf16-true": lambda device: HalfPrecision("bf16-true"),
    "16-mixed": lambda device: MixedPrecision("16-mixed", device),
    "bf16-mixed": lambda device: MixedPrecision("bf16-mixed", device),
}
PRECISION_ALIASES = {"32": "32-true", "64": "64-true", "16": "16-mixed", "bf16": "bf16-mixed"}

DDP_START_METHODS: dict[str, StartMethod] = {
    "ddp": "popen",
    "ddp_spawn": "spawn",
    "ddp_fork": "fork",
    "ddp_notebook": "fork",
}
FIND_UNUSED: dict[str, dict[str, bool]] = {
    "": {},
    "_find_unused_parameters_true": {"find_unused_parameters": True},
    "_find_unused_parameters_false": {"find_unused_parameters": False},
}
STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "single_device": SingleDeviceStrategy,
    **{
        name + suffix: partial(DDPStrategy, start_method=method, **arguments)
        for name, method in DDP_START_METHODS.items()
        for suffix, arguments in FIND_UNUSED.items()
    },
}

PROFILERS: dict[str, Callable[[], Profiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
    "pytorch": PyTorchProfiler,
}


def _look_up(table: Iterable[str], what: str, name: object) -> str:
    known = list(table)
    if name not in known:
        raise ConfigError(
            f"Unknown {what}.",
            received=repr(name),
            expected=", ".join(known),
            fix=did_you_mean(str(name), known),
        )
    return str(name)


def make_precision(wanted: Any, device: torch.device) -> Precision:
    """The precision of this name; numbers and the old names are aliases."""
    if wanted is None:
        return FullPrecision()
    if isinstance(wanted, Precision):
        return wanted
    name = PRECISION_ALIASES.get(str(wanted), wanted)
    return PRECISIONS[_look_up(PRECISIONS, "precision", name)](device)


def find_environment(strategy: Any, plugin: ClusterEnvironment | None) -> ClusterEnvironment:
    """What has started this process, as the user says or as is found out."""
    given = strategy.environment if isinstance(strategy, Strategy) else None
    return plugin or given or detect()


def make_strategy(
    wanted: Any,
    devices: list[torch.device],
    num_nodes: int,
    *,
    io: CheckpointIO | None,
    environment: ClusterEnvironment,
    sync_batchnorm: bool,
) -> Strategy:
    """The strategy of this name, for these devices of each node."""
    if type(num_nodes) is not int or num_nodes < 1:
        raise ConfigError("`num_nodes` is not a whole number of at least 1.", received=repr(num_nodes))
    if isinstance(wanted, Strategy):
        strategy = wanted
    elif wanted == "auto":
        several = len(devices) > 1 or num_nodes > 1 or _has_peers(environment)
        strategy = STRATEGIES["ddp" if several else "single_device"]()
    else:
        known = ("auto", *STRATEGIES)
        strategy = STRATEGIES[_look_up(known, "strategy, or one that this version does not have", wanted)]()
    strategy.checkpoint_io = io or strategy.checkpoint_io
    strategy.environment = environment
    if isinstance(strategy, DDPStrategy):
        strategy.sync_batchnorm = sync_batchnorm or strategy.sync_batchnorm
    strategy.place(devices, num_nodes)
    return strategy


def _has_peers(environment: ClusterEnvironment) -> bool:
    """Whether something has started this process as one of several."""
    started = environment.detect() and environment.creates_processes_externally
    return started and environment.world_size() > 1


def make_loggers(wanted: Any, root: str, *, fast_dev_run: bool) -> list[Logger]:
    """The loggers of a run: TensorBoard's where it is installed, else CSV, unless others were given."""
    if wanted is False:
        return []
    if wanted is None or wanted is True:
        kind = TensorBoardLogger if extras.available("tensorboard") else CSVLogger
        loggers: list[Logger] = [] if fast_dev_run else [kind(root)]
    else:
        loggers = (
            list(wanted) if isinstance(wanted, Iterable) and not isinstance(wanted, Logger) else [wanted]
        )
    for logger in loggers:
        if not isinstance(logger, Logger):
            raise ConfigError(
                "`logger` is not a logger.",
                received=repr(logger),
                expected="a Logger, a list of them, True or False",
            )
    return [DummyLogger()] if fast_dev_run else loggers


def make_profiler(wanted: Any) -> Profiler | None:
    """The profiler of this name."""
    if wanted is None or isinstance(wanted, Profiler):
        return wanted
    return PROFILERS[_look_up(PROFILERS, "profiler", wanted)]()


def make_callbacks(
    wanted: Any,
    *,
    checkpointing: bool | None,
    progress_bar: bool,
    model_summary: bool,
    max_time: timedelta | None,
) -> list[Callback]:
    """The callbacks that were given, and the default ones that are wanted and not among them.

    `checkpointing` is None where nobody wants the default one, but one that was given may stay.
    """
    several = isinstance(wanted, Iterable) and not isinstance(wanted, Callback)
    callbacks: list[Any] = list(wanted) if several else [] if wanted is None else [wanted]
    for callback in callbacks:
        if not isinstance(callback, Callback):
            fix = f"{callback.__name__}()" if isinstance(callback, type) else None
            raise ConfigError("`callbacks` holds something else.", received=repr(callback), fix=fix)
        if sum(callback is other for other in callbacks) > 1:
            raise ConfigError("`callbacks` holds a callback twice.", received=repr(callback))
    for argument, switch, kind, default in (
        ("enable_progress_bar", progress_bar, ProgressBar, default_progress_bar),
        ("enable_model_summary", model_summary, SummaryCallback, default_model_summary),
        ("enable_checkpointing", checkpointing, Checkpoint, ModelCheckpoint),
    ):
        given = [callback for callback in callbacks if isinstance(callback, kind)]
        if len(given) > 1 and kind is ProgressBar:
            raise ConfigError(
                "`callbacks` holds two progress bars.", received=", ".join(type(c).__name__ for c in given)
            )
        if given and switch is False and argument != "enable_model_summary":
            raise ConfigError(
                f"{argument}=False, but `callbacks` holds a {type(given[0]).__name__}.",
                fix="leave one of them out",
            )
        if switch and not given:
            callbacks.append(default())
    if max_time is not None and not any(isinstance(callback, Timer) for callback in callbacks):
        callbacks.append(Timer(max_time))
    return callbacks


def sort_plugins(plugins: Any) -> tuple[Precision | None, CheckpointIO | None, ClusterEnvironment | None]:
    """The precision, the checkpoint store and the cluster among `plugins`."""
    given = [] if plugins is None else list(plugins) if isinstance(plugins, (list, tuple)) else [plugins]
    found: dict[type, Any] = {}
    for plugin in given:
        kinds = (Precision, CheckpointIO, ClusterEnvironment)
        kind = next((kind for kind in kinds if isinstance(plugin, kind)), None)
        if kind is None:
            raise ConfigError(
                "`plugins` holds something that is not understood.",
                received=repr(plugin),
                expected="a Precision, a CheckpointIO or a ClusterEnvironment",
            )
        if kind in found:
            raise ConfigError(f"`plugins` holds two of a kind: {kind.__name__}.")
        found[kind] = plugin
    return found.get(Precision), found.get(CheckpointIO), found.get(ClusterEnvironment)


def arguments_from_environment() -> dict[str, Any]:
    """What `PL_TRAINER_<NAME>` variables set, by name."""
    given = environ.read_prefixed("PL_TRAINER_")
    return {name.lower(): _literal(text) for name, text in given.items()}


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def results_table(results: list[dict[str, float]], title: str) -> str:
    """The metrics of an evaluation as text: a row per metric, a column per loader."""
    names = list(
        dict.fromkeys(name.partition("/dataloader_idx_")[0] for metrics in results for name in metrics)
    )
    heads = [title] + ([f"loader {index}" for index in range(len(results))] if len(results) > 1 else [""])
    rows = [heads]
    for name in names:
        cells = [name]
        for index, metrics in enumerate(results):
            value = metrics.get(f"{name}/dataloader_idx_{index}", metrics.get(name))
            cells.append("" if value is None else f"{value:.6g}")
        rows.append(cells)
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


OFF_IN_BAREBONES = (
    "callbacks", "detect_anomaly", "enable_checkpointing", "enable_model_summary", "enable_progress_bar",
    "fast_dev_run", "log_every_n_steps", "logger", "num_sanity_val_steps", "profiler",
)  # fmt: skip


def refuse_in_barebones(arguments: dict[str, Any]) -> None:
    """Raise an error for the first of these arguments that asks for what `barebones` turns off."""
    for name in OFF_IN_BAREBONES:
        if arguments.get(name):
            raise ConfigError(
                f"barebones=True turns off what `{name}` asks for.",
                received=f"{name}={arguments[name]!r}",
                fix="leave one out",
            )
