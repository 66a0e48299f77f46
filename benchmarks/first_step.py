"""A script that trains in two processes: python -m benchmarks.first_step FRAMEWORK FOLDER

Each of them leaves a file in the folder, with the moment at which it had done a step.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Any

from torch import distributed

from benchmarks.distributed import BARE, fit_ddp, train_bare_ddp
from benchmarks.work import Batches, make_module


def main(framework: str, folder: str) -> None:
    """Train a little."""
    batches = Batches(-1, 0, time.monotonic)
    if framework == BARE:  # whose processes are started by another program
        distributed.init_process_group("gloo")
        train_bare_ddp(framework, batches)
        note_moment(folder, distributed.get_rank())
        distributed.destroy_process_group()
    else:
        fit(framework, batches, folder)


def fit(framework: str, batches: Batches, folder: str) -> None:
    """A step of a fit, which starts the second process itself."""
    pl = importlib.import_module(framework)

    class Note(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            note_moment(folder, trainer.global_rank)

    fit_ddp(pl, make_module(pl, logged_values=0), batches, max_steps=1, callbacks=[Note()])


def note_moment(folder: str, rank: int) -> None:
    """Now, on a clock that all processes of the machine have in common."""
    Path(folder, str(rank)).write_text(str(time.monotonic()))


if __name__ == "__main__":
    main(*sys.argv[1:])
