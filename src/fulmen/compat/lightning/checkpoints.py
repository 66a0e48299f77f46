"""Checkpoints of older versions as they are written now: a table of steps, each for versions before one."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable
from typing import Any

from fulmen.base.files import AnyPath
from fulmen.base.report import warn_once
from fulmen.base.safe_load import everything_in, unrestored_class
from fulmen.compat.lightning.versions import NEWEST
from fulmen.engine.checkpoint import LIGHTNING_VERSION, OWN_KEY, VERSION_KEY
from fulmen.errors import CheckpointError
from fulmen.precision.mixed import MixedPrecision

Checkpoint = dict[str, Any]
Release = tuple[int, int]

LEGACY_KEY = f"legacy_{VERSION_KEY}"
"""Which version had written a file that was brought up to date since."""

FIRST_WITH_POSITION = (1, 6)
"""Files of before say after how many updates they were saved; not where in the epoch that was."""


def migrate(checkpoint: Checkpoint, path: AnyPath) -> Checkpoint:
    """A checkpoint as it is written now; the one that was given stays as it is."""
    if OWN_KEY in checkpoint:
        return checkpoint
    release = written_by(checkpoint)
    if release is None:
        return checkpoint
    if release > _release(NEWEST):
        warn_once(
            f"{path} was written by Lightning {release[0]}.{release[1]}, which is newer than what is known "
            f"here: it is read as one of {NEWEST}."
        )
    steps = [step for before, step, _ in MIGRATIONS if release < before]
    if not steps:
        return checkpoint
    migrated = checkpoint | {VERSION_KEY: LIGHTNING_VERSION}
    if VERSION_KEY in checkpoint:
        migrated[LEGACY_KEY] = checkpoint.get(LEGACY_KEY, checkpoint[VERSION_KEY])
    try:
        for step in steps:
            step(migrated)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not laid out as Lightning {release[0]}.{release[1]} did it.", received=error
        ) from error
    return migrated


def written_by(checkpoint: Checkpoint) -> Release | None:
    """The version that a checkpoint was written by, as (major, minor); None where it does not tell."""
    version = checkpoint.get(LEGACY_KEY, checkpoint.get(VERSION_KEY))
    if version is not None:
        return _release(version)
    return (0, 0) if any(key in checkpoint for key in _OF_OLD) else None


def scores(checkpoint: Checkpoint) -> dict[str, Any]:
    """The metrics that decided on saving it, by name: their values at that moment."""
    states = (checkpoint.get("callbacks") or {}).values()
    return {
        state["monitor"]: state["current_score"]
        for state in states
        if isinstance(state, dict) and state.get("monitor") and state.get("current_score") is not None
    }


def changes_for(checkpoint: Checkpoint) -> list[str]:
    """What is to change in a checkpoint to make it one of now."""
    release = written_by(checkpoint) or _release(NEWEST)
    return [change for before, _, change in MIGRATIONS if release < before]


def notes_updates_alone(checkpoint: Checkpoint) -> bool:
    """Whether the place that it was saved at has to be found by counting."""
    release = written_by(checkpoint)
    numbers = [checkpoint.get(key) for key in ("epoch", "global_step")]
    are_counts = all(isinstance(number, int) and number >= 0 for number in numbers)
    return release is not None and release < FIRST_WITH_POSITION and are_counts


def _release(version: Any) -> Release:
    numbers = re.match(r"(\d+)\.(\d+)", str(version))
    return (int(numbers[1]), int(numbers[2])) if numbers else _release(NEWEST)


# -------------------------------------------------------------------------------------------------- the steps

_HPARAMS_OF_OLD = {"hparams": "hparams", "module_arguments": "kwargs"}
"""Where hyperparameters were, and as what they are given to the module."""

_CALLBACKS_OF_OLD = {
    "checkpoint_callback_best": ("ModelCheckpoint", "best_model_score"),
    "checkpoint_callback_best_model_score": ("ModelCheckpoint", "best_model_score"),
    "checkpoint_callback_best_model_path": ("ModelCheckpoint", "best_model_path"),
    "early_stop_callback_wait": ("EarlyStopping", "wait_count"),
    "early_stop_callback_patience": ("EarlyStopping", "patience"),
}

_STOPPING_OF_OLD = "early_stop_callback_state_dict"
_OF_OLD = {*_HPARAMS_OF_OLD, *_CALLBACKS_OF_OLD, _STOPPING_OF_OLD}


def _gather_hparams(checkpoint: Checkpoint) -> None:
    for key, name in _HPARAMS_OF_OLD.items():
        if key in checkpoint:
            found = checkpoint.pop(key)
            checkpoint.setdefault("hyper_parameters", found)
            checkpoint.setdefault("hparams_name", name)


def _gather_callback_states(checkpoint: Checkpoint) -> None:
    states = dict(checkpoint.get("callbacks") or {})
    if _STOPPING_OF_OLD in checkpoint:
        states.setdefault("EarlyStopping", checkpoint.pop(_STOPPING_OF_OLD))
    for key, (callback, entry) in _CALLBACKS_OF_OLD.items():
        if key in checkpoint:
            states[callback] = {**states.get(callback, {}), entry: checkpoint.pop(key)}
    if states:
        checkpoint["callbacks"] = states


def _name_callbacks(checkpoint: Checkpoint) -> None:
    if "callbacks" not in checkpoint:
        return
    states = checkpoint["callbacks"]
    named = {_name_of(key): state for key, state in states.items()}
    named.pop(None, None)  # of a class inside of another one, which no file could name
    checkpoint["callbacks"] = named


def _name_of(key: Any) -> str | None:
    if isinstance(key, str):
        return key
    found = unrestored_class(key)
    if found is not None:
        return found.rpartition(".")[2] if isinstance(key, type) else None
    return key.__qualname__ if isinstance(key, type) else None


def _complete_rankings(checkpoint: Checkpoint) -> None:
    states = checkpoint.get("callbacks") or {}
    checkpoint["callbacks"] = {key: _completed(state) for key, state in states.items()}


def _completed(state: Any) -> Any:
    """The state of a ModelCheckpoint that knows the best file only, with a ranking of that one."""
    if not isinstance(state, dict) or not state.keys() & {"best_model_path", "best_model_score"}:
        return state
    path, score = state.get("best_model_path") or "", state.get("best_model_score")
    known: dict[str, Any] = {"best_model_path": path, "best_model_score": score, "current_score": score}
    if path:
        known["dirpath"] = os.path.dirname(path)
    if path and score is not None:
        known |= {"best_k_models": {path: score}, "kth_best_model_path": path, "kth_value": score}
    return known | state


def _forget_loops(checkpoint: Checkpoint) -> None:
    checkpoint.pop("loops", None)


_RUNS_AT_EPOCH_END = re.compile(r", 'save_on_train_epoch_end': \w+")


def _shorten_state_keys(checkpoint: Checkpoint) -> None:
    states = checkpoint.get("callbacks") or {}
    shortened: dict[str, Any] = {}
    for key, state in states.items():
        shortened.setdefault(_RUNS_AT_EPOCH_END.sub("", key), state)
    checkpoint["callbacks"] = shortened


_LOOPS = (
    ("epoch_loop.batch_loop.optimizer_loop.", "epoch_loop.automatic_optimization."),
    ("epoch_loop.batch_loop.manual_loop.", "epoch_loop.manual_optimization."),
    ("epoch_loop.optimizer_loop.", "epoch_loop.automatic_optimization."),
    ("epoch_loop.manual_loop.", "epoch_loop.manual_optimization."),
    ("epoch_loop.val_loop.epoch_loop.", "epoch_loop.val_loop."),
)


def _flatten_loops(checkpoint: Checkpoint) -> None:
    loops = copy.deepcopy(checkpoint.get("loops") or {})
    fit = loops.get("fit_loop", {})
    for key in list(fit):
        for old, new in _LOOPS:
            if key.startswith(old):
                fit[new + key.removeprefix(old)] = fit.pop(key)
                break
    for key in ("epoch_loop.batch_loop.state_dict", "epoch_loop.val_loop.dataloader_progress"):
        fit.pop(key, None)
    fit.get("epoch_loop.automatic_optimization.optim_progress", {}).pop("optimizer_position", None)
    for name in ("validate_loop", "test_loop", "predict_loop"):
        loop = {key: state for key, state in loops.get(name, {}).items() if key != "dataloader_progress"}
        loops[name] = {key.removeprefix("epoch_loop."): state for key, state in loop.items()}
    if fit:
        checkpoint["loops"] = loops


_SCALERS = ("native_amp_scaling_state", "NativeMixedPrecisionPlugin", "MixedPrecisionPlugin")
_SCALERS_OF_APEX = ("amp_scaling_state", "ApexMixedPrecisionPlugin")


def _name_scaler(checkpoint: Checkpoint) -> None:
    for key in _SCALERS:
        if state := checkpoint.pop(key, None):
            checkpoint.setdefault(MixedPrecision.__qualname__, state)
    for key in _SCALERS_OF_APEX:
        if state := checkpoint.pop(key, None):
            scaler = next(iter(state.values()))  # one for each loss; the other classes know one only
            checkpoint.setdefault(
                MixedPrecision.__qualname__,
                {
                    "scale": float(scaler["loss_scale"]),
                    "growth_factor": 2.0,
                    "backoff_factor": 0.5,
                    "growth_interval": 2000,
                    "_growth_tracker": int(scaler["unskipped"]),
                },
            )


def _forget_functions(checkpoint: Checkpoint) -> None:
    """Some schedulers used to save functions, which their constructors make again."""
    states = checkpoint.get("lr_schedulers")
    if isinstance(states, list):
        checkpoint["lr_schedulers"] = [_without_functions(state) for state in states]


def _without_functions(state: Any) -> Any:
    if not isinstance(state, dict):
        return state
    return {key: value for key, value in state.items() if not _holds_unrestored(value)}


def _holds_unrestored(value: Any) -> bool:
    return any(unrestored_class(leaf) is not None for leaf in everything_in(value))


MIGRATIONS: tuple[tuple[Release, Callable[[Checkpoint], None], str], ...] = (
    ((0, 9), _gather_hparams, "hyperparameters under `hyper_parameters`"),
    ((1, 0), _gather_callback_states, "states of callbacks under `callbacks`"),
    ((1, 5), _name_callbacks, "states of callbacks by name, not by class"),
    ((1, 6), _complete_rankings, "`ModelCheckpoint` with a ranking of its best file"),
    (FIRST_WITH_POSITION, _forget_loops, "the position is found by counting updates"),
    ((1, 9), _shorten_state_keys, "`ModelCheckpoint` without `save_on_train_epoch_end` in its name"),
    ((2, 0), _flatten_loops, "`loops` under their present names"),
    ((2, 2), _name_scaler, "the state of loss scaling under `MixedPrecision`"),
    ((2, 3), _forget_functions, "schedulers without the functions that they make again"),
)
"""Each step, in order: before which version it was needed, what does it, and what is so after it."""
