"""Everything that a worker can be asked to run, by its name."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.distributed import train_bare_ddp, train_ddp
from benchmarks.metrics import compute_metric, train_with_metric, update_metric, update_metrics
from benchmarks.saves import save_while_training
from benchmarks.work import (
    Batches,
    train,
    train_bare,
    train_on_data_set,
    train_with_defaults,
    train_with_ignite,
    validate,
    validate_bare,
)

RUNS: dict[str, Callable[..., None]] = {
    "bare training": train_bare,
    "bare validation": validate_bare,
    "ignite training": train_with_ignite,
    "training": train,
    "training, 1 value": partial(train, logged_values=1),
    "training, 10 values": partial(train, logged_values=10),
    "training, defaults": train_with_defaults,
    "training, defaults, 1 value": partial(train_with_defaults, logged_values=1),
    "training on a data set": partial(train_on_data_set, exact_data=False),
    "training on a data set, exactly": partial(train_on_data_set, exact_data=True),
    "validation": validate,
    "bare ddp": train_bare_ddp,
    "ddp": train_ddp,
    "saves": save_while_training,
    "metric": update_metric,
    "metric, with its value": compute_metric,
    "metrics in a collection": update_metrics,
    "training with a metric": train_with_metric,
}
"""By the name that a request gives."""


def measure(
    run: str, framework: str, first: int, last: int, read: Callable[[], float], **options: Any
) -> float:
    """What changes while a run takes its batches from `first` to `last`."""
    gc.collect(1)  # what the run before left behind is not to be collected at the expense of this one
    batches = Batches(first, last, read)
    RUNS[run](framework, batches, **options)
    return batches.change
