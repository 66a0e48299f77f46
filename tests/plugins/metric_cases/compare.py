"""Whether two values, of whatever nesting, are the same or close."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def tensors_in(tree: Any) -> Iterator[Tensor]:
    """All tensors in nested dicts, lists and tuples."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from tensors_in(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from tensors_in(value)


def check_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Fail unless numbers agree, absolutely or relatively; they may be tensors, arrays or Python's."""
    if isinstance(expected, Mapping):
        assert actual.keys() == expected.keys()
        for name in expected:
            check_close(actual[name], expected[name], tolerance)
    elif isinstance(expected, (list, tuple)) and isinstance(actual, (list, tuple)):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            check_close(one, other, tolerance)
    else:
        wanted = torch.as_tensor(expected, dtype=torch.float64)
        torch.testing.assert_close(
            torch.as_tensor(actual).to(torch.float64), wanted, rtol=tolerance, atol=tolerance, equal_nan=True
        )


def check_same(actual: Any, expected: Any) -> None:
    """Fail unless both are the same to the last bit."""
    assert type(actual) is type(expected)
    if isinstance(expected, Mapping):
        assert actual.keys() == expected.keys()
        for name in expected:
            check_same(actual[name], expected[name])
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            check_same(one, other)
    elif isinstance(expected, Tensor):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)
    else:
        assert actual == expected
