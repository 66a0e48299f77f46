"""Values by class, under their names."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fulmen.errors import ConfigError, UsageError
from fulmen.metrics.wrappers.base import Derived, Values, checked_metric, value_of


class ClasswiseWrapper(Derived):
    """Gives the values of a metric that has one for each class as a dict.

    The names are `prefix + label + postfix`; labels are numbers where none are given, and with neither
    prefix nor postfix the name of the metric's class stands before them: "multiclassaccuracy_0".
    """

    def __init__(
        self,
        metric: Any,
        labels: list[str] | None = None,
        prefix: str | None = None,
        postfix: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if labels is not None and not all(isinstance(label, str) for label in labels):
            raise ConfigError("`labels` are names.", received=repr(labels), expected="a list of strings")
        self.metric = checked_metric(metric)
        self.labels = labels
        unnamed = prefix is None and postfix is None
        self.prefix = f"{type(metric).__name__.lower()}_" if unnamed else prefix or ""
        self.postfix = postfix or ""

    @property
    def higher_is_better(self) -> bool | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the metric says."""
        return self.metric.higher_is_better

    def _derive(self, values: Values) -> dict[str, Tensor]:
        of_classes = value_of(self.metric, values)
        count = len(of_classes) if of_classes.ndim else None
        labels = self.labels or [str(number) for number in range(count or 0)]
        if count != len(labels) or not count:
            raise UsageError(
                "The metric does not give one value for each class.",
                received=f"a tensor of shape {tuple(of_classes.shape)} of {type(self.metric).__name__}",
                expected=f"{len(self.labels)} values" if self.labels else "a value for each class",
                fix="average=None for the metric, and as many labels as there are classes",
            )
        return {
            self.prefix + label + self.postfix: value for label, value in zip(labels, of_classes, strict=True)
        }
