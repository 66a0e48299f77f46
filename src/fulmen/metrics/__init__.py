"""Values over many batches, computed exactly on any number of processes; usable without a Trainer."""

from fulmen.metrics import (
    aggregation,
    classification,
    image,
    regression,
    retrieval,
    segmentation,
    text,
    wrappers,
)
from fulmen.metrics.aggregation import *
from fulmen.metrics.classification import *
from fulmen.metrics.collection import MetricCollection
from fulmen.metrics.composition import CompositionalMetric
from fulmen.metrics.image import *
from fulmen.metrics.metric import Metric
from fulmen.metrics.regression import *
from fulmen.metrics.retrieval import *
from fulmen.metrics.segmentation import *
from fulmen.metrics.text import *
from fulmen.metrics.wrappers import *

__all__ = ["CompositionalMetric", "Metric", "MetricCollection"]
__all__ += aggregation.__all__
__all__ += classification.__all__
__all__ += image.__all__
__all__ += regression.__all__
__all__ += retrieval.__all__
__all__ += segmentation.__all__
__all__ += text.__all__
__all__ += wrappers.__all__
