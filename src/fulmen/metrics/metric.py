"""What every metric is: declared states that batches are added to, and a value computed from them.

A metric may be used alone, in a `LightningModule` that logs it, and in many processes: the states say
themselves how those of two batches, or of two processes, become one.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.compiler import is_dynamo_compiling

from fulmen.base.report import warn_once
from fulmen.base.tree import detach
from fulmen.errors import UsageError
from fulmen.metrics.arithmetic import Arithmetic
from fulmen.metrics.folding import States, fold
from fulmen.metrics.plot import Drawn, plot_values
from fulmen.metrics.states import Stateful
from fulmen.metrics.together import join_states, several_processes, step_together, synchronise, synchronised

_set_grad_enabled = torch._C._set_grad_enabled
"""What `torch.set_grad_enabled` and `torch.no_grad` call: at a third and a seventh of their cost."""


class Metric(Arithmetic, Stateful, ABC):
    """Base of all metrics: write `update` and `compute`, and declare what is kept between batches::

        class MeanError(Metric):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
                self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

            def update(self, preds, target):
                self.total = self.total + (preds - target).sum()
                self.count = self.count + target.numel()

            def compute(self):
                return self.total / self.count

    Calling the metric gives the value of this batch alone and adds the batch, with one `update`.

    Args:
        compute_on_step: whether calling gives a value; else it only adds the batch.
        dist_sync_on_step: whether the value of a batch is that of all processes' batches.
        process_group: whose states are combined; by default, those of all processes.
        dist_sync_fn: gathers instead of us: `f(tensor, group)` gives a list with every rank's tensor.
        sync_on_compute: whether `compute` combines the states of all processes.
        compute_with_cache: whether a computed value is kept until the next update.
        compute_on_cpu: keep states that grow in host memory.
        distributed_available_fn: tells whether there are several processes.
    """

    is_differentiable: ClassVar[bool | None] = None
    higher_is_better: ClassVar[bool | None] = None
    full_state_update: ClassVar[bool | None] = None
    """Whether `update` depends on what came before, so that the value of one batch needs a second update."""
    _keeps_no_graph: bool = False
    """Whether states can hang on no graph, whatever is added: then `update` need not turn gradients off."""

    _not_sent: ClassVar[tuple[str, ...]] = ()
    """States that no other process needs: what `_states_to_send` gives holds what is in them."""

    def __init__(
        self,
        compute_on_step: bool = True,
        dist_sync_on_step: bool = False,
        process_group: Any = None,
        dist_sync_fn: Callable[..., list[Tensor]] | None = None,
        *,
        sync_on_compute: bool = True,
        compute_with_cache: bool = True,
        compute_on_cpu: bool = False,
        distributed_available_fn: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__()
        self.compute_on_step = compute_on_step
        self.dist_sync_on_step = dist_sync_on_step
        self.process_group = process_group
        self.dist_sync_fn = dist_sync_fn
        self.sync_on_compute = sync_on_compute
        self.compute_with_cache = compute_with_cache
        self.compute_on_cpu = compute_on_cpu
        self.distributed_available_fn = distributed_available_fn

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, wrap in (("update", _counting), ("compute", _caching)):
            method = getattr(cls, name)
            if not isinstance(getattr(method, "raw", None), Callable):
                setattr(cls, name, wrap(method))

    @property
    def update_options(self) -> Hashable | None:
        """What `update` depends on besides the batch.

        Metrics of a collection that have the same `update`, and options that are equal and not None, keep the
        same states: one of them is updated for all.
        """
        return None

    @property
    def update_count(self) -> int:
        """How many batches were added since the last reset."""
        return self._update_count

    @property
    def update_called(self) -> bool:
        """Whether any batch was added since the last reset."""
        return self._update_count > 0

    def merge_state(self, incoming_state: States | Metric) -> None:
        """Add what another metric of the same kind has accumulated, given as the metric or as its states."""
        self._check_unsynced("merge_state")
        if isinstance(incoming_state, Metric):
            if type(incoming_state) is not type(self):
                raise UsageError(
                    "Only metrics of one kind can be merged.",
                    received=type(incoming_state).__name__,
                    expected=type(self).__name__,
                )
            states, count = incoming_state.metric_state, incoming_state._update_count
        elif not isinstance(incoming_state, dict) or incoming_state.keys() != self._defaults.keys():
            raise UsageError(
                f"These are no states of a {type(self).__name__}.",
                received=list(incoming_state) if isinstance(incoming_state, dict) else incoming_state,
                expected=f"a {type(self).__name__}, or a dict of {', '.join(self._defaults)}",
            )
        else:
            states, count = incoming_state, 1
        if count:
            self._own_states()
            counts = [self._update_count, count]
            self._put_states(join_states(self, [self.metric_state, states], counts), sum(counts))

    def combine_states(self, parts: list[States], counts: Sequence[int]) -> States:
        """The states of several batches or ranks as one, each part being that of `counts` batches.

        Override it where states can only be combined together, as mean and variance can. The lists of the
        first part may be extended.
        """
        return {
            name: fold(reduction, [part[name] for part in parts], counts)
            for name, reduction in self._reductions.items()
        }

    def plot(self, val: Any = None, ax: Any = None) -> Drawn:
        """Draw a value, or a list of them over steps; returns the figure and the axes. Needs matplotlib.

        Args:
            val: what calling the metric, or `compute`, gave; by default, what `compute` gives.
            ax: what to draw on; by default, the axes of a new figure.
        """
        return plot_values(self.compute() if val is None else val, ax, name=type(self).__name__)

    def _check_unsynced(self, action: str) -> None:
        if self._before_sync is not None:
            raise UsageError(
                f"`{type(self).__name__}.{action}` was called while its states are those of all processes.",
                fix="call `unsync` before",
            )

    # --------------------------------------------------------------------------------- to be written by kinds

    @abstractmethod
    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch."""

    @abstractmethod
    def compute(self) -> Any:
        """The value over all batches that were added."""

    # ----------------------------------------------------------------------------------------- batch by batch

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch; returns the value of this batch alone."""
        if is_dynamo_compiling():
            return outside_of_graphs(Metric.forward, self, *args, **kwargs)
        self._forward_cache = self._step(args, kwargs)
        return self._forward_cache

    def _step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self.compute_on_step:
            self.update(*args, **kwargs)
            return None
        if self._added.shared_in is not None:
            self._own_states()
        return step_together([self], args, kwargs)[0]

    @property
    def _can_be_added_to(self) -> bool:
        """Whether the states of a batch can be combined with those before it."""
        if self.full_state_update is not None:
            return not self.full_state_update
        if self._combines_jointly:
            return True
        return not any(
            reduction is None and isinstance(self._defaults[name], Tensor)
            for name, reduction in self._reductions.items()
        )

    # ----------------------------------------------------------------------------------------- many processes

    def sync(
        self,
        dist_sync_fn: Callable[..., list[Tensor]] | None = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        """Replace the states by those of all processes, until `unsync`."""
        self._check_unsynced("sync")
        available = distributed_available or self.distributed_available_fn or several_processes
        if should_sync and available():
            synchronise([self], process_group or self.process_group, dist_sync_fn or self.dist_sync_fn)

    def unsync(self, should_unsync: bool = True) -> None:
        """Have the states of this process again."""
        if not should_unsync:
            return
        if self._before_sync is None:
            raise UsageError(f"`{type(self).__name__}.unsync` was called, and nothing is synchronised.")
        self._put_states(self._before_sync)
        self._before_sync = None

    @contextmanager
    def sync_context(self, should_unsync: bool = True, **arguments: Any) -> Generator[None, None, None]:
        """The states of all processes inside, those of this one afterwards; takes what `sync` takes."""
        self.sync(**arguments)
        try:
            yield
        finally:
            self.unsync(should_unsync and self._before_sync is not None)

    @staticmethod
    def synchronised_together(metrics: Iterable[nn.Module]) -> AbstractContextManager[None]:
        """Inside, these metrics have the states of all processes, which travelled together."""
        return synchronised(metrics)

    @property
    def _synchronises(self) -> bool:
        """Whether `compute` would combine the states of processes now."""
        if not self.sync_on_compute or self._before_sync is not None or not self._defaults:
            return False
        return (self.distributed_available_fn or several_processes)()

    def _states_to_send(self) -> States:
        """What other processes need to know."""
        return self.metric_state

    @property
    def _combines_jointly(self) -> bool:
        return type(self).combine_states is not Metric.combine_states

    # -------------------------------------------------------------------------- as a module, and as an object

    def clone(self) -> Any:
        """A copy of its own, with all that was accumulated."""
        return deepcopy(self)

    def __copy__(self) -> Any:
        copied = type(self).__new__(type(self))
        copied.__setstate__(self.__getstate__())
        copied._own_states()
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        memo[id(self.process_group)] = self.process_group  # a connection, not a value
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__setstate__(deepcopy(self.__getstate__(), memo))
        return copied

    def __getstate__(self) -> dict[str, Any]:
        # What the last call gave may hang on a graph, which can be neither copied nor pickled.
        return {**vars(self), "_forward_cache": detach(self._forward_cache)}


def outside_of_graphs(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a call gives that compiled code leaves its graph for.

    States that are others after every batch would have it compiled anew for each, and given up after eight.
    """
    return torch.compiler.disable(call)(*args, **kwargs)


def accepted(metric: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Those keyword arguments that the `update` of a metric, ours or another one, takes."""
    if not kwargs:
        return kwargs
    parameters = inspect.signature(metric.update).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return kwargs
    return {name: value for name, value in kwargs.items() if name in parameters}


def _counting(update: Callable[..., None]) -> Callable[..., None]:
    """`update` of a class, with what goes for every metric."""

    @functools.wraps(update)
    def counting(self: Metric, *args: Any, **kwargs: Any) -> None:
        if type(self).update is not counting:  # called through `super()`
            return update(self, *args, **kwargs)
        if is_dynamo_compiling():
            return outside_of_graphs(counting, self, *args, **kwargs)
        own: Any = self.__dict__  # past `nn.Module`, which looks for parameters: this is in every update
        if own["_before_sync"] is not None:
            self._check_unsynced("update")
        if own["_added"].shared_in is not None:
            self._own_states()
        try:
            if self._keeps_no_graph or not torch.is_grad_enabled():
                update(self, *args, **kwargs)
            else:
                _set_grad_enabled(False)
                try:
                    update(self, *args, **kwargs)
                finally:
                    _set_grad_enabled(True)
        finally:
            own["_computed"] = None  # also where it failed half-way
        own["_added"].batches += 1
        if own["compute_on_cpu"]:
            self._keep_lists_on_host()
        return None

    vars(counting)["raw"] = update  # for those that do the rest themselves
    return counting


def _caching(compute: Callable[..., Any]) -> Callable[..., Any]:
    """`compute` of a class, with what goes for every metric."""

    @functools.wraps(compute)
    def caching(self: Metric, *args: Any, **kwargs: Any) -> Any:
        if type(self).compute is not caching:  # called through `super()`
            return compute(self, *args, **kwargs)
        if not self._defaults:  # its value is that of other metrics, which may be updated by themselves
            return compute(self, *args, **kwargs)
        if self._computed is not None and self._computed_at == self._update_count:
            return self._computed
        if not (self._update_count or self._synchronises):  # other processes may have data
            warn_once(
                f"`{type(self).__name__}.compute` was called before `update`: the value is that of no data."
            )
        if self._synchronises:
            with self.sync_context():
                value = compute(self, *args, **kwargs)
        else:
            value = compute(self, *args, **kwargs)
        if self.compute_with_cache:
            self._computed, self._computed_at = value, self._update_count
        return value

    vars(caching)["raw"] = compute
    return caching
