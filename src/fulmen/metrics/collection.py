"""Metrics that get the same batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from typing import Any

from torch import nn
from torch.compiler import is_dynamo_compiling

from fulmen.errors import ConfigError
from fulmen.metrics.metric import Metric, outside_of_graphs
from fulmen.metrics.plot import Drawn, plot_values
from fulmen.metrics.sharing import Group
from fulmen.metrics.together import synchronised
from fulmen.metrics.wrappers.base import Derived, passes_on, receivers


class MetricCollection(nn.ModuleDict):
    """Metrics, ours and those of other libraries, that are called, updated, computed and reset as one.

    Those that keep the same states are updated once: precision, recall and F1 of one task, say; one that is
    in several others, as terms of arithmetic are, as well. Every call gives a dict of values by name.

    Args:
        metrics: one or several metrics or collections, named after their classes; or a dict that names them.
        additional_metrics: more of them, where the first is not a dict.
        prefix: before every name in the results.
        postfix: behind every name.
        compute_groups: whether metrics may share states; or lists of names of those that do.
    """

    def __init__(
        self,
        metrics: Any,
        *additional_metrics: Any,
        prefix: str | None = None,
        postfix: str | None = None,
        compute_groups: bool | Sequence[Sequence[str]] = True,
    ) -> None:
        super().__init__()
        self.prefix = prefix or ""
        self.postfix = postfix or ""
        self._sharing = compute_groups
        self._groups: list[Group] = []
        """All that get batches."""
        self._derived: list[Derived] = []
        """Those that have their values from others."""
        self.add_metrics(metrics, *additional_metrics)

    def add_metrics(self, metrics: Any, *additional_metrics: Any) -> None:
        """Add metrics, given as to the constructor."""
        given = metrics if isinstance(metrics, (Mapping, Sequence)) else [metrics]
        if isinstance(metrics, MetricCollection):
            given = [metrics]
        if isinstance(given, Mapping) and not additional_metrics:
            for name, metric in sorted(given.items()):
                self._add(name, metric, f"{name}_")
        elif isinstance(given, Mapping):
            raise ConfigError("Metrics were given in a dict and besides it.", fix="one dict with all of them")
        else:
            for metric in (*given, *additional_metrics):
                self._add(type(metric).__name__, metric, "")
        self._group()

    def _add(self, name: str, metric: Any, outer: str) -> None:
        """Add a metric, or all of a collection with what tells them apart before their names."""
        if isinstance(metric, MetricCollection):
            for inner, member in metric.items():
                self._add(outer + inner, member, "")
            return
        if not isinstance(metric, nn.Module) or not callable(getattr(type(metric), "compute", None)):
            raise ConfigError(
                f"{name!r} cannot be part of a collection.",
                received=type(metric).__name__,
                expected="a metric or a collection of metrics",
            )
        if name in self._modules:
            raise ConfigError(
                f"Two metrics of a collection are called {name!r}.",
                fix="give them names: MetricCollection({'name': metric, ...})",
            )
        self.add_module(name, metric)

    # ------------------------------------------------------------------------------------------------ sharing

    def _group(self) -> None:
        """Find out who keeps the same states."""
        wanted = () if isinstance(self._sharing, bool) else self._sharing
        if unknown := {name for names in wanted for name in names} - self._modules.keys():
            raise ConfigError(
                "`compute_groups` has names of metrics that there are not.",
                received=", ".join(map(repr, sorted(unknown))),
                expected=f"of {', '.join(map(repr, self._modules))}",
            )
        names = self._names()
        alike: dict[Hashable, list[Metric]] = {}
        for metric in receivers(self._modules.values()):
            alike.setdefault(self._key(names.get(id(metric), []), metric), []).append(metric)
        self._groups = [Group(metrics) for metrics in alike.values()]
        members: dict[int, Any] = {id(metric): metric for metric in self._modules.values()}
        self._derived = [metric for metric in members.values() if passes_on(metric)]

    def _names(self) -> dict[int, list[str]]:
        """What each metric is called here, by its id."""
        names: dict[int, list[str]] = {}
        for name, metric in self._modules.items():
            names.setdefault(id(metric), []).append(name)
        return names

    def _key(self, names: list[str], metric: Any) -> Hashable:
        """What those have in common that share states."""
        if not isinstance(metric, Metric):
            return id(metric)
        if isinstance(self._sharing, Sequence):
            return next((tuple(group) for group in self._sharing if set(names) & {*group}), id(metric))
        if self._sharing and metric.update_options is not None:
            return type(metric).update, metric.update_options, *metric._defaults
        return id(metric)

    @property
    def compute_groups(self) -> dict[int, list[str]]:
        """The names of those that keep the same states, numbered."""
        names = self._names()
        shared = [[n for m in group.metrics for n in names.get(id(m), [])] for group in self._groups]
        derived = [names[id(metric)] for metric in self._derived]
        return dict(enumerate(group for group in shared + derived if group))

    def _apply(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self._shared_afterwards():
            return super()._apply(fn, *args, **kwargs)

    @contextmanager
    def _shared_afterwards(self) -> Generator[None, None, None]:
        """Each metric's states are replaced inside; those that were in step still are afterwards."""
        shared = [group for group in self._groups if len(group.metrics) > 1 and group.is_in_step]
        yield
        for group in shared:
            group.share()

    # -------------------------------------------------------------------------------------------- as a metric

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Add a batch; returns the values of this batch alone."""
        if is_dynamo_compiling():
            return outside_of_graphs(MetricCollection.forward, self, *args, **kwargs)
        values = {
            id(metric): value
            for group in self._groups
            for metric, value in zip(group.metrics, group.step(args, kwargs), strict=True)
        }
        for metric in self._derived:
            metric._forward_cache = metric._take({id(m): values[id(m)] for m in metric._receivers()})
            values[id(metric)] = metric._forward_cache
        return self._named({name: values[id(metric)] for name, metric in self._modules.items()})

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch."""
        if is_dynamo_compiling():
            outside_of_graphs(MetricCollection.update, self, *args, **kwargs)
            return
        for group in self._groups:
            group.update(args, kwargs)
        for metric in self._derived:
            metric._count_batch()

    def compute(self) -> dict[str, Any]:
        """The values over all batches that were added; the states of processes travel together."""
        for group in self._groups:
            group.settle()
        with synchronised([self]):
            return self._named({name: metric.compute() for name, metric in self.items(keep_base=True)})

    def reset(self) -> None:
        """Forget every batch."""
        for metric in self.values():
            metric.reset()
        self._share()

    def _share(self) -> None:
        for group in self._groups:
            if len(group.metrics) > 1:
                group.share()

    @staticmethod
    def synchronised_together(metrics: Iterable[nn.Module]) -> AbstractContextManager[None]:
        """Inside, these metrics have the states of all processes, which travelled together."""
        return synchronised(metrics)

    def _named(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values under the names that are shown; of a metric that gives several, each under its own."""
        inner = [name for value in values.values() if isinstance(value, dict) for name in value]
        ambiguous = len(inner) != len(set(inner))
        shown: dict[str, Any] = {}
        for name, value in values.items():
            if isinstance(value, dict):
                shown |= {self._full(f"{name}_{k}" if ambiguous else k): v for k, v in value.items()}
            else:
                shown[self._full(name)] = value
        return shown

    def plot(self, val: Any = None, ax: Any = None, together: bool = False) -> Drawn | list[Drawn]:
        """Draw each metric's value, or values over steps; returns figure and axes of each. Needs matplotlib.

        Args:
            val: what calling the collection, or `compute`, gave, or a list of these; by default, what each
                metric draws of all that was added.
            ax: what to draw on: one for each metric, or, `together`, a single one.
            together: whether numbers are drawn on common axes; then these are returned.
        """
        if together:
            return plot_values(self.compute() if val is None else val, ax)
        axes: Any = [None] * len(self) if ax is None else ax
        if val is None:
            return [metric.plot(ax=own) for metric, own in zip(self.values(), axes, strict=True)]
        steps: Any = val if isinstance(val, (list, tuple)) else [val]
        return [
            metric.plot([step[name] for step in steps] if len(steps) > 1 else steps[0][name], ax=own)
            for (name, metric), own in zip(self.items(), axes, strict=True)
        ]

    def persistent(self, mode: bool = True) -> None:
        """Whether `state_dict` holds the states."""
        for metric in self.values():
            metric.persistent(mode)

    def set_dtype(self, dst_type: Any) -> MetricCollection:
        """Keep states of floating point, and compute values, in another type."""
        with self._shared_afterwards():
            for metric in self.values():
                metric.set_dtype(dst_type)
        return self

    def clone(self, prefix: str | None = None, postfix: str | None = None) -> MetricCollection:
        """A copy of its own with all that was accumulated, under other names if some are given."""
        copied = deepcopy(self)
        copied.prefix = self.prefix if prefix is None else prefix
        copied.postfix = self.postfix if postfix is None else postfix
        return copied

    @property
    def metric_state(self) -> dict[str, Any]:
        """The states of each metric, by its name."""
        return {name: metric.metric_state for name, metric in self.items(keep_base=False)}

    # ---------------------------------------------------------------------------------------------- as a dict

    def _full(self, name: str) -> str:
        return self.prefix + name + self.postfix

    def keys(self, keep_base: bool = False) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The names, as in the results; with `keep_base`, without prefix and postfix."""
        return (
            self._modules.keys() if keep_base else {self._full(name): None for name in self._modules}.keys()
        )

    def values(self, copy_state: bool = True) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The metrics. Their states can be read at any time; `copy_state` is understood and not needed."""
        return self._modules.values()

    def items(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, keep_base: bool = False, copy_state: bool = True
    ) -> Any:
        """Names and metrics."""
        return dict(zip(self.keys(keep_base), self.values(), strict=True)).items()

    def __getitem__(self, key: str, copy_state: bool = True) -> Any:
        base = key if key in self._modules else key.removeprefix(self.prefix).removesuffix(self.postfix)
        return self._modules[base]

    def __contains__(self, key: object) -> bool:
        return key in self._modules or key in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())
