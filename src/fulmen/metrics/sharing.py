"""Metrics that keep the same states, so that one update does for all."""

from __future__ import annotations

from typing import Any

import torch

from fulmen.errors import ConfigError
from fulmen.metrics.folding import tensors_of
from fulmen.metrics.metric import accepted
from fulmen.metrics.together import step_together


class Group:
    """Metrics that keep the same states: the first is updated, and the others are given what it has."""

    def __init__(self, metrics: list[Any]) -> None:
        self.metrics = metrics
        self._apart = False
        """Whether they were found to hold different things; they do until they are reset."""
        if len(metrics) == 1:
            return
        if len({tuple(metric._defaults) for metric in metrics}) > 1:
            raise ConfigError(
                "Metrics of a group share their states, and these have different ones.",
                received="; ".join(f"{type(m).__name__}: {', '.join(m._defaults)}" for m in metrics),
                fix="leave them out of `compute_groups`",
            )
        self._held = (*metrics[0]._defaults, "_update_count")
        """Attributes that are one object for all, the number of batches as well."""
        if not any(metric.update_count for metric in metrics):
            self.share()

    @property
    def is_in_step(self) -> bool:
        """Whether all hold the same objects: nobody was updated alone, or had states loaded."""
        leader = self.metrics[0].__dict__
        for name in self._held:  # on every update: plain loops, at a third of the cost of `all`
            held = leader[name]
            for metric in self.metrics:
                if metric.__dict__[name] is not held:
                    return False
        return True

    @property
    def _is_one(self) -> bool:
        """Whether one update does for all. States that are equal, as after a checkpoint, become one again."""
        if self.is_in_step:
            return True
        if not self._apart:
            self._apart = not all(self._is_equal(other) for other in self.metrics[1:])
            if not self._apart:
                self.share()
        return not self._apart

    def _is_equal(self, other: Any) -> bool:
        leader = self.metrics[0]
        if other.update_count != leader.update_count:
            return False
        pairs = [(tensors_of(vars(leader)[name]), tensors_of(vars(other)[name])) for name in leader._defaults]
        return all(len(own) == len(same) and all(map(torch.equal, own, same)) for own, same in pairs)

    def share(self) -> None:
        """Give all what the first has."""
        self._apart = False
        leader = self.metrics[0].__dict__
        shared = {name: leader[name] for name in self._held}
        shared["_computed"] = None
        shared["_shares_lists"] = True
        for metric in self.metrics:  # as `_put_states`, in one go: this is in every update
            metric.__dict__.update(shared)

    def update(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Add a batch."""
        leader = self.metrics[0]
        if len(self.metrics) == 1 or not self._is_one:
            for metric in self.metrics:
                metric.update(*args, **accepted(metric, kwargs))
            return
        leader.__dict__["_shares_lists"] = False  # the others get what is added to them
        try:
            leader.update(*args, **accepted(leader, kwargs))
        finally:
            self.share()

    def step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Add a batch; returns each one's value of it."""
        if len(self.metrics) == 1 or not self._is_one:
            return [metric(*args, **accepted(metric, kwargs)) for metric in self.metrics]
        leader = self.metrics[0]
        leader.__dict__["_shares_lists"] = False
        try:
            values = step_together(self.metrics, args, accepted(leader, kwargs))
        finally:
            self.share()
        for metric, value in zip(self.metrics, values, strict=True):
            metric._forward_cache = value
        return values
