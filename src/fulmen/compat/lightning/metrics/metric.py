"""The base class of metrics, as 1.0 to 1.4 had it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fulmen.compat.lightning.metrics.eras import RESETTING_COMPUTE
from fulmen.metrics import Metric as ModernMetric

BASE_ARGUMENTS = ("compute_on_step", "dist_sync_on_step", "process_group", "dist_sync_fn")


class Metric(ModernMetric):
    """A `fulmen.metrics.Metric` whose `compute` resets it, where 1.0 or 1.1 is declared.

    The states are set back when the next batch comes, so that `compute` may be called again before.
    """

    def __init__(
        self,
        compute_on_step: bool = True,
        dist_sync_on_step: bool = False,
        process_group: Any = None,
        dist_sync_fn: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            compute_on_step=compute_on_step,
            dist_sync_on_step=dist_sync_on_step,
            process_group=process_group,
            dist_sync_fn=dist_sync_fn,
            **kwargs,
        )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        cls.update = _after_compute(vars(cls.update).get("raw", cls.update))
        super().__init_subclass__(**kwargs)

    def _step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._forget_computed()
        return super()._step(args, kwargs)

    def _forget_computed(self) -> None:
        if self._computed is not None and RESETTING_COMPUTE.is_undone():
            self.reset()


def named(args: tuple[Any, ...]) -> dict[str, Any]:
    """The arguments of the base class by name, which old metrics took by position as well."""
    return dict(zip(BASE_ARGUMENTS, args, strict=False))


def _after_compute(update: Callable[..., None]) -> Callable[..., None]:
    """`update`, of what `compute` has left."""

    @functools.wraps(update)
    def after_compute(self: Metric, *args: Any, **kwargs: Any) -> None:
        self._forget_computed()
        update(self, *args, **kwargs)

    return after_compute
