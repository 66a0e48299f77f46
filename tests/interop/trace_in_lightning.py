"""Make random runs in Lightning: `python trace_in_lightning.py SEED COUNT FILE` writes them down in FILE."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path

import lightning.pytorch as pl  # pyright: ignore[reportMissingImports]
import torch
from lightning.pytorch.loggers.logger import Logger  # pyright: ignore[reportMissingImports]

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from random_runs import random_settings, run  # pyright: ignore[reportMissingImports]

if __name__ == "__main__":
    seed, count, file = sys.argv[1:]
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        runs = [run(settings, pl, Logger, Path(root)) for settings in random_settings(int(seed), int(count))]
    Path(file).write_text(json.dumps(runs))
