"""Notes each time the host reads a tensor, which on an accelerator makes it wait for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

READING_CALLS = frozenset(
    {"item", "tolist", "numpy", "cpu", "equal", "allclose", "nonzero", "is_nonzero"}
    | {f"__{name}__" for name in ("bool", "float", "int", "index", "contains", "array", "repr", "format")}
)


@contextmanager
def watch_reads(note: Callable[[str], Any]) -> Iterator[None]:
    """Inside, `note` is told the name of each read, by Python code or within torch's own."""
    with _Calls(note) as calls, _Operations(note, calls):
        yield


class _Calls(TorchFunctionMode):
    """Calls of torch's functions; some of them read without an operation that would tell."""

    def __init__(self, note: Callable[[str], Any]) -> None:
        super().__init__()
        self._note = note
        self.reading = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # Here the run's device is the host as well; what is meant for the host calls it by its name.
        to_host = func is torch.Tensor.to and any(
            type(x) is str and x == "cpu" for x in (*args[1:], *kwargs.values())
        )
        if self.reading or not (func.__name__ in READING_CALLS or to_host):
            return func(*args, **kwargs)
        self._note(func.__name__)
        self.reading = True
        try:
            return func(*args, **kwargs)
        finally:
            self.reading = False


class _Operations(TorchDispatchMode):
    """Operations, whoever calls them, unless they are part of a call that was noted."""

    def __init__(self, note: Callable[[str], Any], calls: _Calls) -> None:
        super().__init__()
        self._note = note
        self._calls = calls

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and not self._calls.reading:
            self._note(str(func))
        return func(*args, **(kwargs or {}))
