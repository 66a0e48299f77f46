"""Which data is left alone: that of which every part is known to draw no random number."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    ConcatDataset,
    Dataset,
    Subset,
    TensorDataset,
    default_collate,
    default_convert,
)

from fulmen.engine.seeded_data import draws_nothing


class OwnDataset(TensorDataset):
    """It may do anything, and so may the next ones."""


class OwnTensor(torch.Tensor):
    pass


class OwnSample(dict[str, Any]):
    pass


class OwnIndices(list[int]):
    pass


PLAIN = TensorDataset(torch.arange(4.0), torch.arange(4))
OWN = OwnDataset(torch.arange(4.0))
KNOWN: dict[str, Any] = {
    "tensors": PLAIN,
    "a tensor": torch.arange(4),
    "a range": range(4),
    "a subset": Subset(PLAIN, [0, 2]),
    "a subset by an array": Subset(PLAIN, np.array([0, 2])),  # pyright: ignore[reportArgumentType]
    "a subset by a tensor": Subset(PLAIN, torch.tensor([0, 2])),  # pyright: ignore[reportArgumentType]
    "several": ConcatDataset([PLAIN, Subset(PLAIN, range(2))]),
    "a list of pairs": [(torch.zeros(2), 1), (np.zeros(2), 0)],
    "a list of dicts": [{"text": "a", "tokens": [1, 2], "weight": np.float32(0.5)}],
}
UNKNOWN: dict[str, Any] = {
    "a data set": OWN,
    "tensors of its own": TensorDataset(torch.zeros(3).as_subclass(OwnTensor)),
    "a subset": Subset(OWN, [0, 2]),
    "a subset by indices of its own": Subset(PLAIN, OwnIndices([0, 2])),
    "one of several": ConcatDataset([PLAIN, OWN]),
    "samples in a list": [{"x": 1.0}, OwnSample(x=1.0)],
    "a part of a sample": [(OwnSample(x=1.0), 1)],
    "too many samples to look at": [0.0] * 100_000,
    "no data set of torch's": Dataset(),
}


@pytest.mark.parametrize("collate", [default_collate, default_convert])
@pytest.mark.parametrize("kind", KNOWN)
def test_known(kind: str, collate: Any) -> None:
    assert draws_nothing(KNOWN[kind], collate)


@pytest.mark.parametrize("kind", UNKNOWN)
def test_unknown(kind: str) -> None:
    assert not draws_nothing(UNKNOWN[kind], default_collate)


def test_a_collate_function_that_nobody_knows() -> None:
    assert not draws_nothing(PLAIN, partial(default_collate))
