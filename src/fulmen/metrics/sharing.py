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
        self._others = metrics[1:]
        self._apart = False
        """Whether they were found to hold different things; they do until they are reset."""
        self._mark = object()
        """What tells this group from others that a metric may be in; copies have one of their own."""
        if len(metrics) == 1:
            return
        if len({tuple(metric._defaults) for metric in metrics}) > 1:
            raise ConfigError(
                "Metrics of a group share their states, and these have different ones.",
                received="; ".join(f"{type(m).__name__}: {', '.join(m._defaults)}" for m in metrics),
                fix="leave them out of `compute_groups`",
            )
        self._held = (*metrics[0]._defaults, "_added")
        """Attributes that are one object for all."""
        if not any(metric.update_count for metric in metrics):
            self.share()

    @property
    def is_in_step(self) -> bool:
        """Whether all hold the same objects: nobody was updated alone, or had states loaded."""
        own = self.metrics[0].__dict__
        if own["_added"].shared_in is not self._mark:
            return False
        for name in self._held:  # on every update: plain loops, at a third of the cost of `all`
            held = own[name]
            for metric in self._others:
                if metric.__dict__[name] is not held:
                    return False
        return True

    def _become_one(self) -> bool:
        """Share states that are equal, as after a checkpoint; False where they are not, until a reset."""
        if not self._apart:
            self._apart = not all(self._is_equal(other) for other in self._others)
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
        leader = self.metrics[0]
        if leader._added.shared_in not in (None, self._mark):
            leader._own_states()  # another group has these
        leader._added.shared_in = self._mark
        shared = {name: leader.__dict__[name] for name in self._held}
        shared["_computed"] = None
        for metric in self.metrics:  # as `_put_states`, in one go: this is in every update of some
            metric.__dict__.update(shared)

    def update(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Add a batch."""
        leader = self.metrics[0]
        own_kwargs = accepted(leader, kwargs) if kwargs else kwargs
        if not self._others:
            leader.update(*args, **own_kwargs)
        elif self.is_in_step or self._become_one():
            self._update_together(leader, args, own_kwargs)
        else:
            for metric in self.metrics:
                metric.update(*args, **accepted(metric, kwargs))

    def _update_together(self, leader: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        own, last = leader.__dict__, self._others[-1].__dict__
        own["_added"].shared_in = None  # the others get what is added to them
        try:
            leader.update(*args, **kwargs)
        except BaseException:
            self.share()  # the others have it as well if it failed in the middle
            raise
        own["_added"].shared_in = self._mark
        for name in self._held:  # all others hold the same, so that the last one tells
            if last[name] is not own[name]:
                self.share()
                return

    def settle(self) -> None:
        """Have what waits in the states, once for all, before each sees to it for itself."""
        if len(self.metrics) > 1 and self.metrics[0]._added.waiting is not None and self.is_in_step:
            self.metrics[0]._settle()
            self.share()

    def step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Add a batch; returns each one's value of it."""
        if len(self.metrics) == 1 or not (self.is_in_step or self._become_one()):
            return [metric(*args, **accepted(metric, kwargs)) for metric in self.metrics]
        leader = self.metrics[0]
        try:
            values = step_together(self.metrics, args, accepted(leader, kwargs))
        finally:
            self.share()
        for metric, value in zip(self.metrics, values, strict=True):
            metric._forward_cache = value
        return values
