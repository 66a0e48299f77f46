"""A process that ends with the one that has started it.

Run as a script, with that one's pid and a command, it becomes the command: tied from its first moment on.
"""

from __future__ import annotations

import os
import signal
import sys

SET_SIGNAL_AT_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def tie_to_parent(*, tied: bool = True) -> None:
    """Have the kernel kill this process as soon as its parent is gone, or no longer; only Linux can."""
    if sys.platform == "linux":
        try:
            import ctypes

            ctypes.CDLL(None).prctl(SET_SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL if tied else 0)
        except (ImportError, OSError, AttributeError):  # a Python without it, or another C library
            pass


if __name__ == "__main__":
    tie_to_parent()
    if os.getppid() == int(sys.argv[1]):
        os.execv(sys.argv[2], sys.argv[2:])
    sys.exit(1)
