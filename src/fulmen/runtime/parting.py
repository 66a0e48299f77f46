"""The end of torch.distributed's group when the script ends; NCCL complains where it is left open."""

from __future__ import annotations

import atexit
import sys
import threading
from contextlib import suppress
from typing import Any

import torch.distributed

distributed: Any = torch.distributed

PART_S = 5.0
"""How long that may take: NCCL waits for the others of the host, who may be at work or gone."""


class Parting:
    """Ends the default group at exit, unless the script has failed: then nobody may be left to part from.

    In a thread, which cannot hold up the exit. It waits from the beginning, for at exit none can be started.
    """

    def __init__(self) -> None:
        self._due = threading.Event()
        self._called_off = False
        self._thread = threading.Thread(target=self._part, daemon=True, name="fulmen-parting")
        self._thread.start()
        atexit.register(self._at_exit)

    def call_off(self) -> None:
        """The group is ended by something else."""
        self._called_off = True
        self._due.set()
        self._thread.join()
        atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        if getattr(sys, "last_value", None) is None:
            self._due.set()
            self._thread.join(PART_S)

    def _part(self) -> None:
        self._due.wait()
        if not self._called_off and distributed.is_initialized():
            with suppress(RuntimeError):  # somebody is gone
                distributed.destroy_process_group()
