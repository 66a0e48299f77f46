"""What travels between processes: by value, but views of one memory are views of one memory there."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

import torch

from fulmen.errors import ConfigError

DEEPEST = 8
"""How far to look for what cannot be sent."""


class Parcel:
    """Something for another process; packed when that one is started, unless it inherits memory anyway."""

    def __init__(self, content: Any) -> None:
        self._content = content
        self._packed: bytes | None = None

    def open(self) -> Any:
        """The content."""
        return self._content if self._packed is None else unpack(self._packed)

    def __getstate__(self) -> dict[str, Any]:
        try:
            packed = pack(self._content)
        except Exception as error:
            raise ConfigError(
                "What the other processes are to run cannot be pickled.",
                received=f"{find_culprit(self._content)}: {error}",
                fix='make it picklable, leave it out, or use "ddp_fork" or "ddp", which pickle nothing',
            ) from error
        return {"_content": None, "_packed": packed}


class _Pickler(ForkingPickler):
    """Sends what only a process being started can be given (queues, locks), but copies tensors.

    Else all processes would train one and the same memory.
    """

    def __init__(self, file: Any, protocol: int | None = None) -> None:
        super().__init__(file, protocol)

    def reducer_override(self, obj: Any) -> Any:
        is_tensor = isinstance(obj, torch.Tensor)
        return obj.__reduce_ex__(pickle.DEFAULT_PROTOCOL) if is_tensor else NotImplemented


_pickling: Any = SimpleNamespace(__name__="pickle", Pickler=_Pickler)


def pack(content: Any) -> bytes:
    """The content as bytes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, pickle_module=_pickling)
    return buffer.getvalue()


def unpack(packed: bytes) -> Any:
    """What was packed, by this program."""
    return torch.load(io.BytesIO(packed), weights_only=False)


def find_culprit(content: Any) -> str:
    """The path of the innermost part that cannot be pickled, such as `Net.layers[2].hook`."""
    path = ""
    for _ in range(DEEPEST):
        inner = next(((step, part) for step, part in _parts(content) if not _can_pack(part)), None)
        if inner is None:
            break
        step, part = inner
        path, content = path + step if path else _name(part), part
    return path or _name(content)


def _name(content: Any) -> str:
    if isinstance(content, MethodType):
        content = content.__self__
    return (content if isinstance(content, (type, FunctionType)) else type(content)).__qualname__


def _parts(content: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict):
        yield from ((f"[{key!r}]", part) for key, part in content.items())
    elif isinstance(content, (list, tuple)):
        yield from ((f"[{index}]", part) for index, part in enumerate(content))
    elif isinstance(content, MethodType):
        yield "", content.__self__
    elif not isinstance(content, (type, FunctionType)):
        yield from ((f".{key}", part) for key, part in getattr(content, "__dict__", {}).items())


def _can_pack(part: Any) -> bool:
    try:
        pack(part)
    except Exception:
        return False
    return True
