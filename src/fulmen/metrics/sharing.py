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
        self._held = (*metrics[0]._defaults, "_progress")
        """Attributes that are one object for all."""
        if not any(metric.update_count for metric in metrics):
            self.share()

    @property
    def is_in_step(self) -> bool:
        """Whether all hold the same objects: nobody was updated alone, or had states loaded."""
        leader, *others = self.metrics
        own = leader.__dict__
        for name in self._held:  # on every update: plain loops, at a third of the cost of `all`
            held = own[name]
            for metric in others:
                if metric.__dict__[name] is not held:
                    return False
        return True

    def _become_one(self) -> bool:
        """Share states that are equal, as after a checkpoint; False where they are not, until a reset."""
        if not self._apart:
            self._apart = not all(self._is_equal(other) for other in self.metrics[1:])
            if not self._apart:
                self.share()
        return not self._apart

    def _is_equal(self, other: Any) -> bool:
        leader = self.metrics[0]
        if other.update_count != leader.update_count:
            return False
        states, others = leader.metric_state, other.metric_state
        pairs = [(tensors_of(states[name]), tensors_of(others[name])) for name in states]
        return all(len(own) == len(same) and all(map(torch.equal, own, same)) for own, same in pairs)

    def share(self) -> None:
        """Give all what the first has."""
        self._apart = False
        own = self.metrics[0].__dict__
        shared = {name: own[name] for name in self._held}
        shared["_computed"] = None
        shared["_shares_states"] = True
        for metric in self.metrics:  # as `_put_states`, in one go: this is in every update of some
            metric.__dict__.update(shared)

    def update(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Add a batch."""
        if len(self.metrics) == 1 or not (self.is_in_step or self._become_one()):
            for metric in self.metrics:
                metric.update(*args, **accepted(metric, kwargs))
            return
        leader = self.metrics[0]
        own = leader.__dict__
        own["_shares_states"] = False  # the others get what is added to them
        try:
            leader.update(*args, **accepted(leader, kwargs))
        finally:
            own["_shares_states"] = True
            last = self.metrics[-1].__dict__
            for name in self._held:
                if last[name] is not own[name]:  # it is a new one, and not what all have, changed in place
                    self.share()
                    break

    def settle(self) -> None:
        """Have what waits in the states, once for all, before each sees to it for itself."""
        if len(self.metrics) > 1 and self.metrics[0]._progress.waiting is not None and self.is_in_step:
            self.metrics[0]._settle()
            self.share()

    def step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Add a batch; returns each one's value of it."""
        if len(self.metrics) == 1 or not (self.is_in_step or self._become_one()):
            return [metric(*args, **accepted(metric, kwargs)) for metric in self.metrics]
        leader = self.metrics[0]
        leader.__dict__["_shares_states"] = False
        try:
            values = step_together(self.metrics, args, accepted(leader, kwargs))
        finally:
            self.share()
        for metric, value in zip(self.metrics, values, strict=True):
            metric._forward_cache = value
        return values
