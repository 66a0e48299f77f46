"""Small batches on the host, kept until there are many: counting each takes longer than keeping labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C import _len_torch_dispatch_stack
from torch.compiler import is_compiling

_MOST_SAMPLES = 64
"""In a batch: with more, torch counts them as fast."""

_MANY = 4096
"""So many samples wait to be counted at the most."""


class Tally:
    """How often each of at most 256 classes was predicted where each is true, in small batches."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._labels = frozenset(range(classes))
        self._counted = torch.zeros(classes * classes, dtype=torch.int64, device="cpu")
        self._predicted = bytearray()
        self._true = bytearray()

    def add(self, preds: Tensor, target: Tensor) -> bool:
        """Add a batch of scores (N, C) and labels (N); False, with nothing added, where it is for torch.

        It is where it is large, on an accelerator, traced, of other shapes and types, or has wrong labels.
        """
        try:
            samples, classes = preds.shape
            if (
                samples > _MOST_SAMPLES
                or classes != self._classes
                or target.dtype is not torch.int64
                or not target.is_cpu
                or not preds.is_floating_point()
                or type(preds) is not Tensor  # as `is_concrete`, which would be a call more
                or is_compiling()
                or _len_torch_dispatch_stack()
            ):
                return False
            true = target.tolist()
            if len(true) != samples or not self._labels.issuperset(true):
                return False
        except (TypeError, ValueError):  # of more dimensions, or fewer
            return False
        predicted, kept = self._predicted, self._true
        predicted += bytearray(preds.argmax(1).tolist())
        kept += bytearray(true)
        if len(kept) >= _MANY:
            self._counted = self.matrix()
            kept.clear()
            predicted.clear()
        return True

    def matrix(self) -> Tensor:
        """The counts [true, predicted], as one row."""
        if not self._true:  # a buffer of nothing makes no tensor
            return self._counted
        true, predicted = (torch.frombuffer(b, dtype=torch.uint8) for b in (self._true, self._predicted))
        cells = torch.add(predicted, true.long(), alpha=self._classes)
        return torch.bincount(cells, None, self._classes**2).add_(self._counted)
