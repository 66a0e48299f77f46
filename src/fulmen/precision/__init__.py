"""In which numbers a model computes."""

from fulmen.precision.double import DoublePrecision
from fulmen.precision.full import FullPrecision
from fulmen.precision.half import HalfPrecision
from fulmen.precision.mixed import MixedPrecision
from fulmen.precision.precision import Precision

__all__ = ["DoublePrecision", "FullPrecision", "HalfPrecision", "MixedPrecision", "Precision"]
