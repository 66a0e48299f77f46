"""Says what has started it, and with which warnings."""

import sys
import warnings

from fulmen.runtime.clusters import detect

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    found = type(detect()).__name__
print(sys.argv[1], found, *(str(warning.message) for warning in caught), flush=True)
