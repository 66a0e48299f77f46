"""What a checkpoint holds, and how a run takes one up.

The order of taking up is fixed: the module's hook, weights, datamodule, callbacks; then, once they exist,
optimizers, schedulers, precision and progress.
"""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from fulmen.base.overrides import is_overridden
from fulmen.base.report import info, warn
from fulmen.base.seams import outer
from fulmen.base.version import VERSION
from fulmen.core.loading import demand_plain_parts
from fulmen.core.module import LightningModule
from fulmen.core.optimizers import bare
from fulmen.engine import lightning_loops
from fulmen.engine.dispatch import in_span
from fulmen.engine.groups import add_missing_groups, group_names, saved_groups
from fulmen.engine.logbook_state import (
    load_logbook_state,
    load_metric_states,
    logbook_state,
    metric_states,
)
from fulmen.engine.position import exactness, load_position, position_state, random_states
from fulmen.engine.states import TrainerFn
from fulmen.errors import CheckpointError
from fulmen.strategies.checkpoint_io import CheckpointIO

if TYPE_CHECKING:
    from fulmen.engine.run import Run

LIGHTNING_VERSION = "2.6.0"
"""The version of the format, which tools that read Lightning checkpoints ask for."""

VERSION_KEY = "pytorch-lightning_version"
OWN_KEY = "fulmen"


def parts(run: Run, *, weights_only: bool = False) -> dict[str, Any]:
    """All that a run can be taken up from, as plain data; with `weights_only`, what inference needs."""
    progress = run.progress.before_window(run.batches_in_window)
    checkpoint: dict[str, Any] = {
        "epoch": progress.epoch,
        "global_step": progress.optimizer_step,
        VERSION_KEY: LIGHTNING_VERSION,
        "state_dict": run.module.state_dict(),
        "loops": lightning_loops.from_progress(progress, automatic=run.module.automatic_optimization),
    }
    if not weights_only:
        checkpoint["callbacks"] = {c.state_key: state for c in run.callbacks if (state := c.state_dict())}
        checkpoint["optimizer_states"] = [run.strategy.optimizer_state(bare(o)) for o in run.optimizers]
        checkpoint["lr_schedulers"] = [config.scheduler.state_dict() for config in run.schedulers]
        if state := run.precision.state_dict():
            checkpoint[type(run.precision).__qualname__] = state
        checkpoint[OWN_KEY] = {
            "progress": progress.state_dict(),
            "logbook": logbook_state(run.logbook, run.module),
            "metrics": metric_states(run.module),
            "batches_seen": [[*key, count] for key, count in run.batches_seen.items()],
            "groups": group_names(run),
            "random": random_states(run),
            "loaders": position_state(run),
            "loggers": logger_positions(run) if run.logger_positions is None else run.logger_positions,
            "exact": exactness(run),
            "versions": {
                "fulmen": VERSION,
                "torch": str(torch.__version__),
                "python": platform.python_version(),
            },
        }
        if run.strategy.world.size > 1:
            _add_ranks(checkpoint[OWN_KEY], run)
    checkpoint.update(run.module.hparams_for_checkpoint())
    if run.datamodule is not None:
        checkpoint.update(run.datamodule.hparams_for_checkpoint())
        if state := run.datamodule.state_dict():
            checkpoint[run.datamodule.state_key] = state
    if not weights_only:
        for call in run.hooks.on_save_checkpoint:
            call(checkpoint)
    else:
        run.module.on_save_checkpoint(checkpoint)
    return checkpoint


OF_EACH_RANK = ("logbook", "metrics", "random", "loaders")
"""What differs between processes: each keeps its own, rank 0 as if it were alone."""


def _add_ranks(own: dict[str, Any], run: Run) -> None:
    everybody = run.strategy.collectives.gather_objects({name: own[name] for name in OF_EACH_RANK})
    own |= everybody[0]
    own["other_ranks"] = everybody[1:]


def _of_this_rank(own: dict[str, Any], run: Run, path: str) -> dict[str, Any]:
    """What a checkpoint says of this process, or what comes nearest to it."""
    others, world = own.get("other_ranks", []), run.strategy.world
    if len(others) + 1 == world.size:
        return own | others[world.rank - 1] if world.rank else own
    warn(
        f"{path} was saved by {len(others) + 1} processes, and {world.size} go on from it. The order of the "
        "samples is the same, and none is left out or comes twice; what is drawn at random differs"
        + (", and of what was logged in this epoch only the parts that processes have kept count."
           if run.progress.resumes_epoch else ".")
    )  # fmt: skip
    if world.rank <= len(others):
        return own | others[world.rank - 1] if world.rank else own
    nothing = {"callback": {}, "logged": {}, "progress_bar": {}, "slots": []}
    return {**own, "random": {"now": None, "epoch": None}, "logbook": nothing, "metrics": {}}


def save(
    run: Run, path: str, *, weights_only: bool = False, storage_options: Any = None, wait: bool = False
) -> None:
    """Write a checkpoint; while the state is not complete, put it off until it is.

    With `wait`, it is in place at the end even where checkpoints are written in the background.
    """
    write = partial(_write, run, path, weights_only=weights_only, storage_options=storage_options, wait=wait)
    in_the_middle = run.fn is TrainerFn.FITTING and (run.in_the_middle or run.accumulating)
    if in_the_middle and not (run.cannot_wait or weights_only):
        info(
            f"{path} is written when the step, the validation or the accumulation window under way has ended."
        )
        run.pending_saves.append(write)
    else:
        write()


def save_what_waits(run: Run) -> None:
    """Write the checkpoints that were asked for in the middle of a step or an accumulation window."""
    if not run.accumulating:
        waiting, run.pending_saves = run.pending_saves, []
        for write in waiting:
            write()


def save_what_waits_in_vain(run: Run) -> None:
    """An exception ends the run: write what was asked for, as well as that can be done now."""
    waiting, run.pending_saves = run.pending_saves, []
    for write in waiting:
        try:
            write()
        except Exception as failure:  # the user has to see the first one
            warn(f"A checkpoint that was to be written could not be: {failure}")


def _write(run: Run, path: str, *, weights_only: bool, storage_options: Any, wait: bool) -> None:
    with run.signals.shielded():
        if run.flush_is_due:
            flush_step(run)
        for logger in run.loggers:
            logger.save()  # what was logged before the checkpoint must not be lost with what comes after it
        run.progress.saves += 1
        write = in_span(run, "save_checkpoint", run.strategy.save)
        write(parts(run, weights_only=weights_only), path, storage_options)
        if wait:
            run.strategy.checkpoint_io.finish()
            run.strategy.checkpoint_io.raise_pending_error()


def logger_positions(run: Run) -> list[dict[str, Any]]:
    """Where the loggers' records end."""
    return [logger.position() for logger in run.loggers] if run.strategy.is_global_zero else []


def pending_error_check(run: Run) -> Callable[[], None] | None:
    """What raises the errors of saves that go on while training does; None where that is not to be done."""
    io = run.strategy.checkpoint_io
    left_to_callbacks = any(callback.handles_failed_saves for callback in run.callbacks)
    if left_to_callbacks or not is_overridden("raise_pending_error", io, CheckpointIO):
        return None
    return io.raise_pending_error


def flush_step(run: Run) -> None:
    """Give the step values of the batch under way to everybody."""
    run.flush_is_due = False
    if run.report_options.log_every_n_steps:
        run.logbook.flush_step(run.log_step, run.progress.epoch)


def read(run: Run, path: str, *, weights_only: bool | None) -> dict[str, Any]:
    """Read a checkpoint and see that it is one."""
    checkpoint = run.strategy.load(path, weights_only=weights_only)
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(
            f"The file is not a checkpoint: {path}",
            received=f"a dict with the keys {sorted(map(str, checkpoint))[:8]}"
            if isinstance(checkpoint, dict)
            else f"a {type(checkpoint).__name__}",
            expected="a dict with the keys 'state_dict', 'loops', 'optimizer_states', ...",
        )
    checkpoint = outer().migrate(checkpoint, path)
    demand_plain_parts(checkpoint, path)
    return checkpoint


def take_up_model(run: Run, checkpoint: dict[str, Any], path: str) -> None:
    """Weights, datamodule and callbacks."""
    run.module.on_load_checkpoint(checkpoint)
    LightningModule.load_weights(run.module, checkpoint["state_dict"], strict=None, path=path)
    if run.datamodule is not None and run.datamodule.state_key in checkpoint:
        run.datamodule.load_state_dict(checkpoint[run.datamodule.state_key])
    for call in run.hooks.on_load_checkpoint:
        call(checkpoint)
    states = checkpoint.get("callbacks", {})
    for callback in run.callbacks:
        own = (key for key in (callback.state_key, type(callback).__qualname__) if key in states)
        if key := next(own, None):
            callback.load_state_dict(copy.deepcopy(states[key]))


def take_up_training(run: Run, checkpoint: dict[str, Any], path: str) -> None:
    """Optimizers, schedulers, precision and progress."""
    if "optimizer_states" not in checkpoint:
        raise CheckpointError(
            f"Training cannot go on from {path}: it holds weights only.",
            fix=f"{type(run.module).__name__}.load_from_checkpoint(path), and fit that",
        )
    for kind, own, saved in (
        ("optimizers", run.optimizers, checkpoint["optimizer_states"]),
        ("learning-rate schedulers", run.schedulers, checkpoint.get("lr_schedulers", [])),
    ):
        if len(own) != len(saved):
            raise CheckpointError(
                f"{path} was saved with other {kind}.",
                received=f"{len(saved)} in the file",
                expected=str(len(own)),
            )
    add_missing_groups(run, saved_groups(checkpoint))
    for optimizer, state in zip(run.optimizers, checkpoint["optimizer_states"], strict=True):
        _load_optimizer(optimizer, state, path)
    for config, state in zip(run.schedulers, checkpoint.get("lr_schedulers", []), strict=True):
        config.scheduler.load_state_dict(state)
    if precision_state := checkpoint.get(type(run.precision).__qualname__):
        run.precision.load_state_dict(precision_state)
    if OWN_KEY in checkpoint:
        run.progress.load_state_dict(checkpoint[OWN_KEY]["progress"])
        own = _of_this_rank(checkpoint[OWN_KEY], run, path)
        device = run.strategy.root_device
        load_metric_states(run.module, own.get("metrics", {}), device)
        load_logbook_state(run.logbook, own["logbook"], run.module, device)
        run.batches_seen = {(stage, loader): n for stage, loader, n in own["batches_seen"]}
        load_position(run, own)
    elif "loops" in checkpoint:
        batches = run.step_options.accumulate_grad_batches
        progress = lightning_loops.to_progress(
            checkpoint["loops"], checkpoint["global_step"], window_batches=batches
        )
        run.progress.load_state_dict(progress.state_dict())
    else:
        run.progress.epoch = _count_in(checkpoint, "epoch", path)
        run.progress.optimizer_step = run.progress.window = _count_in(checkpoint, "global_step", path)
    if OWN_KEY not in checkpoint:
        run.unplaced = {name: checkpoint[name] for name in checkpoint if name not in _TENSORS}
    run.log_step = run.progress.window
    # The loggers of this run may be others, or fewer.
    for logger, position in zip(run.loggers, checkpoint.get(OWN_KEY, {}).get("loggers", ()), strict=False):
        logger.rewind(position)


_TENSORS = ("state_dict", "optimizer_states")


def find_place(run: Run) -> None:
    """Once there is a loader, more can be told of where somebody else's checkpoint was saved."""
    if run.unplaced is not None:
        saved, run.unplaced = run.unplaced, None
        outer().place(run, saved)
        run.log_step = run.progress.window


def _count_in(checkpoint: dict[str, Any], part: str, path: str) -> int:
    count = checkpoint.get(part, 0)
    if type(count) is not int or count < 0:
        raise CheckpointError(
            f"The part {part!r} of the checkpoint {path} is of another shape.",
            received=repr(count),
            expected="a number that counts",
        )
    return count


def _load_optimizer(optimizer: Any, state: dict[str, Any], path: str) -> None:
    try:
        bare(optimizer).load_state_dict(state)
        # It did step, if in another process: else torch warns of a scheduler that steps before it.
        bare(optimizer)._opt_called = True  # pyright: ignore[reportAttributeAccessIssue]
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"The optimizer state in {path} does not fit {type(bare(optimizer)).__name__}.", received=error
        ) from error
