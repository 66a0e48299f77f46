"""Metrics around metrics."""

from fulmen.metrics.wrappers.bootstrapping import BootStrapper
from fulmen.metrics.wrappers.classwise import ClasswiseWrapper
from fulmen.metrics.wrappers.minmax import MinMaxMetric
from fulmen.metrics.wrappers.running import Running
from fulmen.metrics.wrappers.tracker import MetricTracker

__all__ = ["BootStrapper", "ClasswiseWrapper", "MetricTracker", "MinMaxMetric", "Running"]
