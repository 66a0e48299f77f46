"""Options of a metric, as attributes to read."""

from __future__ import annotations

from typing import Any

from fulmen.errors import UsageError


class Option:
    """The option of this name, of a metric that keeps it with others in an attribute, if it has it."""

    def __init__(self, kept_in: str) -> None:
        self._kept_in = kept_in

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, metric: Any, kind: type | None = None) -> Any:
        if metric is None:
            return self
        for attributes in (self._options(metric), vars(metric)):
            if self._name in attributes:
                return attributes[self._name]
        raise AttributeError(f"{type(metric).__name__} has no {self._name!r}")

    def __set__(self, metric: Any, value: object) -> None:
        options = self._options(metric)
        if self._name not in options:  # an attribute like any other, of a user's own class
            vars(metric)[self._name] = value
        elif options[self._name] != value:
            raise UsageError(
                f"`{self._name}` of a {type(metric).__name__} cannot be changed: it may hold batches.",
                received=f"{value!r} instead of {options[self._name]!r}",
                fix="make another metric",
            )

    def _options(self, metric: Any) -> dict[str, Any]:
        kept = vars(metric).get(self._kept_in, {})
        return kept if isinstance(kept, dict) else vars(kept)
