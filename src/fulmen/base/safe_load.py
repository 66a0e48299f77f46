"""Reading files that `torch.save` wrote without running anything that they name."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Any

import torch

from fulmen.base import files
from fulmen.base.claims import demand_no_more_than_it_holds
from fulmen.base.pickles import as_archive, without_discards
from fulmen.errors import CheckpointError, CheckpointNotFoundError


class _Named(type):
    class_name: str

    def __repr__(cls) -> str:
        return f"<unrestored {cls.class_name}>"


class Unrestored(metaclass=_Named):
    """Stands where a file holds an object of a class that was not allowed: its name, what it was made of."""

    class_name = "unknown"
    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Unrestored:
        made = super().__new__(cls)
        made.arguments = args
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __repr__(self) -> str:
        return repr(type(self))


class DictOfClass:
    """Makes what stands where a file holds a dict of a class of its own: torch fills no others than these."""

    class_name = "unknown"

    def __new__(cls, *args: Any) -> OrderedDict[Any, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        made = OrderedDict[Any, Any]()
        made.class_name = cls.class_name  # pyright: ignore[reportAttributeAccessIssue]
        return made


_DICTS = {
    "collections.defaultdict",
    "fulmen.core.hparams.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
}
"""Classes that are known to be dicts and nothing more, also of those that write checkpoints."""


def load_tensors(
    path: files.AnyPath, *, map_location: Any = None, weights_only: bool = True, mmap: bool = False
) -> Any:
    """Read a file that `torch.save` wrote.

    With `weights_only`, nothing named in the file is imported or called: objects of classes that torch does
    not know as harmless come back as `Unrestored`. With `mmap`, tensors of a local file in the zip format
    are read when they are looked at. Raises `CheckpointError` for a missing, truncated or foreign file.
    """
    if not files.exists(path):
        raise CheckpointNotFoundError("There is no such checkpoint.", received=path)
    if files.is_folder(path):
        raise CheckpointError("The checkpoint is a folder, not a file.", received=path)
    with files.open_file(path, "rb") as file:
        content = io.BytesIO(file.read()) if files.is_url(path) else file
        try:
            if not weights_only:
                return torch.load(content, map_location=map_location, weights_only=False)
            if demand_no_more_than_it_holds(content):
                content = without_discards(content)
                demand_no_more_than_it_holds(content)
            maps = mmap and content is file and zipfile.is_zipfile(file)
            source = str(path).removeprefix("file://") if maps else content
            with torch.serialization.safe_globals(_stand_ins(content)):
                loaded = torch.load(source, map_location=map_location, weights_only=True, mmap=maps)
            for _ in everything_in(loaded):  # raises where it is too deep
                pass
            return loaded
        except _DAMAGE as error:
            raise _unreadable(path, error) from error
        except Exception as error:
            if not weights_only:  # code that the file names ran, and failed
                raise
            raise _unreadable(path, error) from error


_DAMAGE = (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, LookupError, struct.error)


def _unreadable(path: files.AnyPath, error: Exception) -> CheckpointError:
    names_code = isinstance(error, pickle.UnpicklingError)
    perhaps = ", or names code that is not run" if names_code else ""
    return CheckpointError(
        f"The file is not a checkpoint, or is damaged{perhaps}: {path}",
        received=f"{type(error).__name__}: {_reason(str(error))}".removesuffix(": "),
        expected="a file written by Trainer.save_checkpoint or torch.save",
        fix="if you trust it: torch.serialization.add_safe_globals([...]), or weights_only=False"
        if names_code
        else None,
    )


def _reason(text: str) -> str:
    """The sentence of torch's error that says what is wrong, without the advice around it."""
    _, marker, reason = text.rpartition("WeightsUnpickler error: ")
    lines = [line.strip() for line in reason.splitlines() if line.strip()] or [""]
    return lines[0 if marker else min(1, len(lines) - 1)]


def _stand_ins(content: Any) -> list[Any]:
    """For each class in the file that torch would refuse, an inert one under its name."""
    try:
        is_archive = zipfile.is_zipfile(content)
        content.seek(0)
        archive = content if is_archive else as_archive(content)
        refused = torch.serialization.get_unsafe_globals_in_checkpoint(archive)
    finally:
        content.seek(0)
    return [(_stand_in(name), name) for name in refused]


def _stand_in(name: str) -> Any:
    base = DictOfClass if name in _DICTS else Unrestored
    return type(base)(base.__name__, (base,), {"class_name": name})


def demand_restored(content: Any, *, path: files.AnyPath, part: str) -> None:
    """Raise an error that names the first class in `content` that was not allowed."""
    for leaf in everything_in(content):
        name = unrestored_class(leaf)
        if name is not None:
            raise CheckpointError(
                f"The part {part!r} of the checkpoint {path} holds an object that is not plain data.",
                received=name,
                expected="tensors, numbers, strings and collections of them",
                fix=f"if you trust the file, torch.serialization.add_safe_globals([{name}]) "
                "before loading, or weights_only=False",
            )


def unrestored_class(value: Any) -> str | None:
    """The name of the class that `value` stands for, or for an object of; None where it is what it is."""
    if isinstance(value, Unrestored) or (
        isinstance(value, type) and issubclass(value, (Unrestored, DictOfClass))
    ):
        return value.class_name
    return vars(value).get("class_name") if type(value) is OrderedDict else None


_DEEPEST = 100
"""Levels of collections: what copies and prints them by recursion manages so many."""


def everything_in(content: Any) -> Iterator[Any]:
    """Leaves, keys, members of sets, dicts of other classes; `ValueError` for endless nests, false names."""
    depths: dict[int, int] = {}
    waiting = [(content, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value, (OrderedDict, Counter)) and vars(value).keys() & set(dir(value.__class__)):
                raise ValueError("a dict in it has attributes in place of its methods")
            inner = [*value.keys(), *value.values()]
            if unrestored_class(value) is not None:
                yield value
        elif isinstance(value, (list, tuple, set, frozenset)):
            inner = list(value)
        elif isinstance(value, Namespace):
            inner = list(vars(value).values())
        else:
            yield value
            continue
        # What is shared is looked at again only where it lies deeper, so that a tangle takes no time.
        if depth > depths.get(id(value), 0):
            if depth > _DEEPEST:
                raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
            depths[id(value)] = depth
            waiting.extend((each, depth + 1) for each in reversed(inner))
