"""What is asked of torch's optimizers in each step, without the records that nobody reads.

torch opens a record around `zero_grad` and `step` for its profiler, whether one runs or not: 16 µs together,
a tenth of a small step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

_TORCH_ZERO_GRAD = Optimizer.zero_grad
_RECORDED_STEP = Optimizer.profile_hook_step(lambda: None).__code__
"""Of the function that torch puts around the `step` of each class."""
_profiler_runs = torch.autograd._profiler_enabled  # pyright: ignore[reportPrivateImportUsage]


def zero_grad(optimizer: Optimizer) -> None:
    """`optimizer.zero_grad()`; it is asked itself if it has one of its own, or a profiler runs."""
    own = getattr(type(optimizer), "zero_grad", None)  # what wraps one may only look like an optimizer
    if own is not _TORCH_ZERO_GRAD or "zero_grad" in vars(optimizer) or _profiler_runs():
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def update(optimizer: Optimizer) -> Any:
    """`optimizer.step()`; it is asked itself if its step is not torch's, or a hook or a profiler waits."""
    step: Any = getattr(type(optimizer), "step", None)
    put: Any = vars(optimizer).get("step")
    if (
        getattr(step, "__code__", None) is not _RECORDED_STEP
        or (put is not None and not _is_of_scheduler(put, step))
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
        or _profiler_runs()
    ):
        return optimizer.step()
    if put is not None:
        optimizer._opt_called = True  # pyright: ignore[reportAttributeAccessIssue]
    return step.__wrapped__(optimizer)


def _is_of_scheduler(put: Any, step: Any) -> bool:
    """Whether it is what torch's schedulers put in place of a step: they want to know if it was called."""
    return hasattr(put, "_wrapped_by_lr_sched") and put.__wrapped__ is step
