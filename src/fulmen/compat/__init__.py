"""What lets code run that was written for other versions of this API; the only place that knows of them."""

from fulmen.compat.spelling import OldSpelling

__all__ = ["OldSpelling"]
