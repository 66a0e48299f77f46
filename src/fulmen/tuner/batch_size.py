"""The search for the largest batch that fits into memory."""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from fulmen.base.report import info
from fulmen.base.tree import leaves
from fulmen.engine.rehearsal import Rehearsal
from fulmen.errors import ConfigError, UsageError, did_you_mean
from fulmen.tuner.attributes import find_attribute, read_attribute, set_attribute

MODES = ("power", "binsearch")


class BatchSizeSearch:
    """Tries sizes with a few steps each.

    "power" doubles the size until it fails; "binsearch" goes on with halving the interval between the largest
    that did not and the least that did, and takes off `margin`, a share of the size found, for safety.
    """

    def __init__(
        self,
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> None:
        if mode not in MODES:
            raise ConfigError(
                "The batch size cannot be searched for so.",
                received=f"mode={mode!r}",
                expected="'power' or 'binsearch'",
                fix=did_you_mean(str(mode), MODES),
            )
        if not 0 <= margin < 1:
            raise ConfigError("`margin` is no share.", received=margin, expected="0.0 up to less than 1.0")
        for name, value in (
            ("steps_per_trial", steps_per_trial),
            ("init_val", init_val),
            ("max_trials", max_trials),
            ("max_val", max_val),
        ):
            if value < 1:
                raise ConfigError(f"`{name}` is not a positive number.", received=value)
        self.mode = mode
        self.steps_per_trial = steps_per_trial
        self.init_val = init_val
        self.max_trials = max_trials
        self.batch_arg_name = batch_arg_name
        self.margin = margin
        self.max_val = max_val

    def run(self, rehearsal: Rehearsal) -> int:
        """Search, and let module or datamodule have what was found."""
        if rehearsal.shares_data:
            raise UsageError("The batch size is searched for by a single process.", fix="devices=1")
        name = find_attribute(rehearsal, [self.batch_arg_name], "batch_arg_name")
        if rehearsal.given_loaders is not None:
            raise UsageError(
                "The batch size of loaders that were handed over cannot be changed.",
                fix="define the loaders in the module or the datamodule, where they use "
                f"`self.{self.batch_arg_name}`",
            )
        before = read_attribute(rehearsal, name)
        try:
            found = self._search(rehearsal, name)
        except BaseException:
            set_attribute(rehearsal, name, before)
            raise
        set_attribute(rehearsal, name, found)
        info(f"Batch size set to {found}")
        return found

    def _search(self, rehearsal: Rehearsal, name: str) -> int:
        fits, fails = 0, None
        size = min(self.init_val, self.max_val)
        for _ in range(self.max_trials):
            samples = self._try(rehearsal, name, size)
            if samples:
                fits = int(min(size, samples))
            else:
                fails = size
            size = self._next(fits, fails, samples)
            if size is None:
                break
        if not fits:
            raise UsageError("No batch size was found that fits into memory.", received=f"{fails} does not")
        return max(1, int(fits * (1 - self.margin))) if self.mode == "binsearch" else fits

    def _next(self, fits: int, fails: int | None, samples: float) -> int | None:
        """The size to try next; None where there is none."""
        if fails is None:
            return None if fits >= min(samples, self.max_val) else min(2 * fits, self.max_val)
        if not fits:
            return fails // 2 or None
        return (fits + fails) // 2 if self.mode == "binsearch" and fails - fits > 1 else None

    def _try(self, rehearsal: Rehearsal, name: str, size: int) -> float:
        """How many samples there are; 0 where batches of this size do not fit."""
        set_attribute(rehearsal, name, size)
        try:
            return _samples_of(rehearsal.go(self.steps_per_trial))
        except (torch.OutOfMemoryError, MemoryError):
            pass  # what the error holds on to is freed first
        if torch.cuda.is_initialized():
            gc.collect()
            torch.cuda.empty_cache()
        return 0


def _samples_of(loaders: Any) -> float:
    """Samples of the largest data set; infinite where nobody knows."""
    found = [leaf for leaf in leaves(loaders) if isinstance(leaf, DataLoader)]
    sizes = [
        len(loader.dataset) if not isinstance(loader.dataset, IterableDataset) else float("inf")  # pyright: ignore[reportArgumentType]
        for loader in found
    ]
    return max(sizes, default=float("inf"))
