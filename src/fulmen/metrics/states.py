"""What is kept between batches: declared once, set back, moved, saved and loaded by itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fulmen.base.tree import map_leaves
from fulmen.errors import ConfigError
from fulmen.metrics.folding import Reduction, States
from fulmen.metrics.reductions import BY_NAME


class Added:
    """What is changed in place when a batch is added, besides states; metrics that share those have one."""

    def __init__(self, batches: int = 0, shared_in: object | None = None) -> None:
        self.batches = batches
        self.shared_in = shared_in
        """The group that has this, and the states, in common: who adds to them alone takes copies first."""
        self.waiting: Any = None
        """What is not in the states yet; `_settle` adds it to them."""


class Stateful(nn.Module):
    """A module with states: attributes that batches are added to."""

    def __init__(self) -> None:
        super().__init__()
        self._defaults: States = {}
        self._reductions: dict[str, Reduction] = {}
        self._persistent: dict[str, bool] = {}
        self._added = Added()
        self._computed: Any = None
        self._computed_at = 0
        """Of how many batches it is the value: metrics that share states do not hear of each one."""
        self._forward_cache: Any = None
        self._before_sync: States | None = None
        self._device = torch.empty(0).device
        self._dtype = torch.get_default_dtype()

    def add_state(
        self,
        name: str,
        default: Tensor | list[Tensor],
        dist_reduce_fx: str | Callable[..., Any] | None = None,
        persistent: bool = False,
    ) -> None:
        """Declare an attribute that is kept between batches and set back by `reset`.

        Args:
            name: of the attribute.
            default: a tensor, or an empty list that tensors are appended to.
            dist_reduce_fx: how several values become one: "sum", "mean", "max", "min", "cat"; a callable of
                the values stacked in a new first dimension (or of the list of all tensors, where the state is
                a list); None leaves them stacked.
            persistent: whether `state_dict` holds it.
        """
        if not name.isidentifier():
            raise ConfigError("A state is an attribute.", received=repr(name), expected="a Python name")
        if not isinstance(default, Tensor) and not (isinstance(default, list) and not default):
            raise ConfigError(
                f"The default of the state {name!r} cannot be used.",
                received=repr(default),
                expected="a tensor or an empty list",
            )
        dist_reduce_fx = next((name for name, fx in BY_NAME.items() if fx is dist_reduce_fx), dist_reduce_fx)
        known = (*BY_NAME, None)
        if not callable(dist_reduce_fx) and dist_reduce_fx not in known:
            raise ConfigError(
                f"The `dist_reduce_fx` of the state {name!r} is unknown.",
                received=repr(dist_reduce_fx),
                expected=f"one of {', '.join(map(repr, known))}, or a callable",
            )
        self._defaults[name] = default.detach().clone() if isinstance(default, Tensor) else []
        self._reductions[name] = dist_reduce_fx
        self._persistent[name] = persistent
        setattr(self, name, self._fresh_states()[name])

    @property
    def metric_state(self) -> States:
        """The states as they are, by name."""
        if self._added.waiting is not None:
            self._settle()
        return {name: self.__dict__[name] for name in self._defaults}

    def reset(self) -> None:
        """Forget every batch."""
        self._put_states(self._fresh_states(), 0)
        self._forward_cache = self._before_sync = None

    # ---------------------------------------------------------------------------- where they are, and as what

    @property
    def device(self) -> torch.device:
        """Where the states are."""
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        """The type of what is computed."""
        return self._dtype

    def set_dtype(self, dst_type: torch.dtype) -> Any:
        """Compute values in another type, and keep states of floating point in one that is as wide at least.

        No state gets narrower than it was declared: a sum in half precision would end at 65504. `half()`,
        `double()` and the like on the metric, or on a module that it is part of, change no type at all.
        """
        self._dtype = dst_type
        for metric in self.modules():
            if isinstance(metric, Stateful):
                metric._dtype = dst_type
                metric._map_tensors(partial(_widened, dtype=dst_type))
                metric._computed = None
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Any:
        super()._apply(fn, *args, **kwargs)
        self._device = fn(torch.empty(0, device=self._device)).device
        self._map_tensors(partial(_moved, fn=fn, device=self._device))
        return self

    def _map_tensors(self, fn: Callable[[Tensor], Tensor]) -> None:
        self.__dict__.update(map_leaves(self.metric_state, Tensor, fn))
        for name in ("_defaults", "_computed", "_forward_cache", "_before_sync"):
            self.__dict__[name] = map_leaves(self.__dict__[name], Tensor, fn)

    def persistent(self, mode: bool = False) -> None:
        """Whether `state_dict` holds all the states."""
        self._persistent = dict.fromkeys(self._persistent, mode)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, kept in self._persistent.items():
            if kept:
                state = self.metric_state[name]
                destination[prefix + name] = list(state) if isinstance(state, list) else state

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing_keys: list[str],
        unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        for name, kept in self._persistent.items():
            if prefix + name in state_dict:
                state = map_leaves(state_dict.pop(prefix + name), Tensor, lambda t: t.to(self._device))
                self._put_states({name: state}, max(self._update_count, 1))
            elif kept and strict:
                missing_keys.append(prefix + name)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    # ------------------------------------------------------------------------------------------ having others

    def _fresh_states(self) -> States:
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False):  # else training could not change them in place
                return self._fresh_states()
        return {
            name: default.clone() if isinstance(default, Tensor) else []
            for name, default in self._defaults.items()
        }

    @property
    def _update_count(self) -> int:
        return self._added.batches

    @_update_count.setter
    def _update_count(self, batches: int) -> None:
        self._put_states({}, batches)

    def _settle(self) -> None:
        """Add what waits to the states of this metric, and have it wait no more; others may still have it."""

    def _put_states(self, states: States, update_count: int | None = None) -> None:
        """Have these states; they are plain attributes, which `nn.Module` need not look at."""
        own = self.__dict__
        if own["_added"].waiting is not None:
            self._settle()  # there may be more states than these
        own.update(states)
        own["_computed"] = None
        if update_count is not None:
            own["_added"] = Added(update_count, own["_added"].shared_in)

    def _own_states(self) -> None:
        """Have what is no other metric's, as it may be changed in place."""
        with torch.inference_mode(False):  # else tensors could not be changed outside of it
            states: States = {
                name: list(state) if isinstance(state, list) else state.clone()
                for name, state in self.metric_state.items()
            }
        self._put_states(states)
        self._added = Added(self._update_count)

    def _keep_lists_on_host(self) -> None:
        for state in self.metric_state.values():
            if isinstance(state, list):
                state[:] = [tensor.cpu() for tensor in state]


def _widened(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor of floating point in a type that holds its own and another one."""
    return tensor.to(torch.promote_types(tensor.dtype, dtype)) if tensor.is_floating_point() else tensor


def _moved(tensor: Tensor, fn: Callable[[Tensor], Tensor], device: torch.device) -> Tensor:
    """What `fn` does to a tensor, but for changes of its type."""
    if device.type == "mps" and tensor.dtype is torch.float64:  # which it does not have
        return tensor.to(device, torch.float32)
    keeps_type = fn(tensor.new_empty(0)).dtype is tensor.dtype
    return fn(tensor) if keeps_type else tensor.to(device)
