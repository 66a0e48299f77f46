"""fulmen trains PyTorch models: you write the science in a LightningModule, a Trainer does the rest."""

import importlib
from typing import Any

from fulmen import callbacks, loggers, profilers, strategies
from fulmen.base import seams
from fulmen.base.random import seed_everything
from fulmen.base.version import VERSION
from fulmen.core.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule
from fulmen.engine.combined_loader import CombinedLoader
from fulmen.engine.result import FitResult
from fulmen.engine.sharding import SplitByRank
from fulmen.trainer import Trainer

seams.connect("fulmen.compat.lightning.interpreter:INTERPRETER")

__version__ = VERSION

__all__ = [
    "Callback",
    "CombinedLoader",
    "FitResult",
    "LightningDataModule",
    "LightningModule",
    "SplitByRank",
    "Trainer",
    "callbacks",
    "loggers",
    "profilers",
    "seed_everything",
    "strategies",
]


def __getattr__(name: str) -> Any:
    """`fulmen.metrics`, which a run that uses none need not import."""
    if name == "metrics":
        return importlib.import_module("fulmen.metrics")
    raise AttributeError(f"module 'fulmen' has no attribute {name!r}")
