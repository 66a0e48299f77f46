"""Word and character error rate: what must be edited, as a share of what was wanted."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fulmen.metrics.metric import Metric
from fulmen.metrics.text.alignment import edit_distance
from fulmen.metrics.text.inputs import Texts, paired


def word_error_rate(preds: Texts, target: Texts) -> Tensor:
    """Edits of words per word of `target`; see `WordErrorRate`."""
    edits, units = _counts(preds, target, str.split)
    return torch.tensor(edits) / units


def char_error_rate(preds: Texts, target: Texts) -> Tensor:
    """Edits of characters per character of `target`; see `CharErrorRate`."""
    edits, units = _counts(preds, target, lambda text: text)
    return torch.tensor(edits) / units


class _ErrorRate(Metric):
    """Base of error rates: edits that turn what was said into what was wanted, per unit that was wanted."""

    is_differentiable = False
    higher_is_better = False

    edits: Tensor
    units: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("edits", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("units", torch.tensor(0), dist_reduce_fx="sum")

    @abstractmethod
    def _split(self, text: str) -> Sequence[str]:
        """The units that are edited."""

    def update(self, preds: Texts, target: Texts) -> None:
        """Add texts, one or a list, and those that were wanted."""
        edits, units = _counts(preds, target, self._split)
        self.edits = self.edits + edits
        self.units = self.units + units

    def compute(self) -> Tensor:
        """Edits per unit of the target."""
        return self.edits.to(self.dtype) / self.units


class WordErrorRate(_ErrorRate):
    """Insertions, deletions and substitutions of words that turn `preds` into `target`, per word of `target`.

    Words are what whitespace separates. From 0, without an upper bound; infinite where no word was wanted and
    some were said, NaN where there is no word at all.
    """

    def _split(self, text: str) -> Sequence[str]:
        return text.split()


class CharErrorRate(_ErrorRate):
    """Insertions, deletions and substitutions of characters that turn `preds` into `target`, per one of it.

    Every character counts, also blanks. From 0, without an upper bound; infinite where nothing was wanted and
    something was said, NaN where there is nothing at all.
    """

    def _split(self, text: str) -> Sequence[str]:
        return text


def _counts(preds: Texts, target: Texts, split: Callable[[str], Sequence[str]]) -> tuple[int, int]:
    """The edits, and the units of the target."""
    edits = units = 0
    for text, wanted in paired(preds, target):
        wanted_units = split(wanted)
        edits += edit_distance(split(text), wanted_units)
        units += len(wanted_units)
    return edits, units
