"""Small batches on the host, kept until there are many: counting each takes longer than keeping labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C import _is_tracing, _len_torch_dispatch_stack

MOST_SAMPLES = 64
"""In a batch: with more, torch counts them as fast."""

_MOST_BATCHES = 512
"""Which wait at the most."""


class Tally:
    """What was predicted and what is true in small batches, of at most 256 classes: a label is a byte."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._labels = frozenset(range(classes))
        self._batches: list[tuple[bytes, bytes]] = []

    @property
    def is_full(self) -> bool:
        """Whether it is time to count."""
        return len(self._batches) >= _MOST_BATCHES

    def add(self, preds: Tensor, target: Tensor) -> bool:
        """Keep a batch of scores (N, C) and labels (N); False, with nothing kept, where it is for torch.

        It is where it is large, on an accelerator, traced, of other shapes and types, has wrong labels, or
        where many wait already.
        """
        shape = preds.shape
        if (
            len(shape) != 2
            or shape[0] > MOST_SAMPLES
            or shape[1] != self._classes
            or target.ndim != 1
            or target.dtype is not torch.int64
            or not preds.is_floating_point()
            or not (preds.is_cpu and target.is_cpu)
            or type(preds) is not Tensor
            or _is_tracing()
            or _len_torch_dispatch_stack()
            or len(self._batches) >= _MOST_BATCHES
        ):
            return False
        try:
            true, predicted = target.tolist(), preds.argmax(1).tolist()
        except RuntimeError:  # they have no values, as under `vmap`
            return False
        if len(true) != len(predicted) or not self._labels.issuperset(true):
            return False
        self._batches.append((bytes(true), bytes(predicted)))  # in one go: a signal may come at any time
        return True

    def matrix(self) -> Tensor:
        """How often each class was predicted where each is true: [true, predicted], as one row."""
        true = bytearray().join([labels for labels, _ in self._batches])
        predicted = bytearray().join([labels for _, labels in self._batches])
        cells = self._classes**2
        if not true:  # a buffer of nothing makes no tensor
            return torch.zeros(cells, dtype=torch.int64, device="cpu")
        rows = torch.frombuffer(true, dtype=torch.uint8).long()
        columns = torch.frombuffer(predicted, dtype=torch.uint8)
        return torch.bincount(torch.add(columns, rows, alpha=self._classes), None, cells)
