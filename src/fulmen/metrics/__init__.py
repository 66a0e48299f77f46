"""Values over many batches, computed exactly on any number of processes; usable without a Trainer."""

from fulmen.metrics.collection import MetricCollection
from fulmen.metrics.composition import CompositionalMetric
from fulmen.metrics.metric import Metric

__all__ = ["CompositionalMetric", "Metric", "MetricCollection"]
