"""Metrics as functions: of all the data at once."""

from fulmen.metrics.functional import classification, image, regression, retrieval, segmentation, text
from fulmen.metrics.functional.classification import *
from fulmen.metrics.functional.image import *
from fulmen.metrics.functional.regression import *
from fulmen.metrics.functional.retrieval import *
from fulmen.metrics.functional.segmentation import *
from fulmen.metrics.functional.text import *

__all__: list[str] = []
__all__ += classification.__all__
__all__ += image.__all__
__all__ += regression.__all__
__all__ += retrieval.__all__
__all__ += segmentation.__all__
__all__ += text.__all__
