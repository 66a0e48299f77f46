"""32 bits: torch as it is."""

from __future__ import annotations

from fulmen.precision.precision import Precision


class FullPrecision(Precision):
    """`32-true`: parameters and computations in float32, unless the module says otherwise itself."""

    name = "32-true"
