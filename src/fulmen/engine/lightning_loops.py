"""The `loops` part of a checkpoint: where training stands, for tools that read Lightning checkpoints."""

from __future__ import annotations

from typing import Any

from fulmen.engine.progress import Progress, QuietPoint


def from_progress(progress: Progress, *, automatic: bool) -> dict[str, Any]:
    """`loops` as Lightning 2.6 would have written it at this quiet point, in this mode of optimization."""
    at_batch_end = progress.point is QuietPoint.BATCH_END
    started_epochs = progress.epoch + int(progress.point is not QuietPoint.BETWEEN_EPOCHS)
    epoch_ends = progress.point in (QuietPoint.EPOCH_END, QuietPoint.EPOCH_DONE)
    finished = progress.epoch + int(epoch_ends)
    epochs = {
        "ready": started_epochs,
        "completed": progress.epoch,
        "started": started_epochs,
        "processed": finished,
    }
    zeros = {"ready": 0, "completed": 0}
    steps = {"ready": progress.optimizer_step, "completed": progress.optimizer_step}
    automatic_steps, manual_steps = (steps, zeros) if automatic else (zeros, steps)
    zero_grads = {**automatic_steps, "started": automatic_steps["ready"]}
    no_batches = {
        "total": {**zeros, "started": 0, "processed": 0},
        "current": {**zeros, "started": 0, "processed": 0},
    }
    fit_loop = {
        "state_dict": {},
        "epoch_loop.state_dict": {"_batches_that_stepped": progress.window - int(at_batch_end)},
        "epoch_loop.batch_progress": {
            "total": _batches(progress.total_batch, at_batch_end),
            "current": _batches(progress.batch, at_batch_end),
            "is_last_batch": epoch_ends,
        },
        "epoch_loop.scheduler_progress": {"total": dict(zeros), "current": dict(zeros)},
        "epoch_loop.automatic_optimization.state_dict": {},
        "epoch_loop.automatic_optimization.optim_progress": {
            "optimizer": {
                "step": {"total": dict(automatic_steps), "current": dict(automatic_steps)},
                "zero_grad": {"total": dict(zero_grads), "current": dict(zero_grads)},
            }
        },
        "epoch_loop.manual_optimization.state_dict": {},
        "epoch_loop.manual_optimization.optim_step_progress": {
            "total": dict(manual_steps),
            "current": dict(manual_steps),
        },
        "epoch_loop.val_loop.state_dict": {},
        "epoch_loop.val_loop.batch_progress": {**no_batches, "is_last_batch": False},
        "epoch_progress": {"total": dict(epochs), "current": dict(epochs)},
    }
    evaluation = {"state_dict": {}, "batch_progress": {**no_batches, "is_last_batch": False}}
    return {
        "fit_loop": fit_loop,
        "validate_loop": evaluation,
        "test_loop": evaluation,
        "predict_loop": {"state_dict": {}, "batch_progress": no_batches},
    }


def _batches(count: int, in_flight: bool) -> dict[str, int]:
    return {"ready": count, "completed": count - int(in_flight), "started": count, "processed": count}


def to_progress(loops: dict[str, Any], global_step: int, *, window_batches: int = 1) -> Progress:
    """Where training stands, by a `loops` that Lightning wrote, with windows of so many batches."""
    fit_loop = loops["fit_loop"]
    epochs = fit_loop["epoch_progress"]["current"]
    batches = fit_loop["epoch_loop.batch_progress"]
    current = batches["current"]
    windows = fit_loop["epoch_loop.state_dict"].get("_batches_that_stepped", global_step)
    progress = Progress(
        epoch=epochs["processed"],
        batch=current["processed"],
        total_batch=batches["total"]["processed"],
        optimizer_step=global_step,
        window=windows,
        is_last_batch=bool(batches.get("is_last_batch")),
    )
    if epochs["processed"] == epochs["ready"] or not current["processed"]:
        progress.batch = 0  # saved at the end of an epoch, or between two
    elif progress.batch % window_batches and not progress.is_last_batch:
        return progress.before_window(progress.batch % window_batches)
    elif current["completed"] < current["processed"]:
        progress.point = QuietPoint.BATCH_END
        progress.window += 1
    else:
        progress.point = QuietPoint.VALIDATED
    return progress
