"""Reading and writing checkpoints as versions of old did, whose classes are not there any more."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

MODEL_CHECKPOINT = "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"
EARLY_STOPPING = "pytorch_lightning.callbacks.early_stopping.EarlyStopping"
ATTRIBUTE_DICT = "pytorch_lightning.utilities.parsing.AttributeDict"
USERS = "__main__.Counter"


def _class(name: str, base: type = object) -> type:
    module, _, short = name.rpartition(".")
    return type(short, (base,), {"__module__": module, "__qualname__": short})


CLASSES = {name: _class(name) for name in (MODEL_CHECKPOINT, EARLY_STOPPING, USERS)}
CLASSES[ATTRIBUTE_DICT] = _class(ATTRIBUTE_DICT, dict)


@contextmanager
def classes_of_old() -> Iterator[None]:
    """Inside, pickle finds the classes under the names that they had."""
    before = dict(sys.modules)
    main = sys.modules["__main__"]
    try:
        for name, found in CLASSES.items():
            module, _, short = name.rpartition(".")
            parts = module.split(".")
            for count in range(1, len(parts) + 1):
                parent = ".".join(parts[:count])
                sys.modules.setdefault(parent, ModuleType(parent))
            setattr(sys.modules[module], short, found)
        yield
    finally:
        del main.Counter  # pyright: ignore[reportAttributeAccessIssue]
        for added in sys.modules.keys() - before.keys():
            if added.startswith("pytorch_lightning"):
                del sys.modules[added]


def read(path: Path) -> dict[Any, Any]:
    """All that is in a file, with its classes."""
    with classes_of_old():
        return torch.load(path, weights_only=False)


def write(checkpoint: dict[Any, Any], path: Path, *, zipped: bool = True) -> Path:
    """Write a file; not `zipped`, as torch did it before 1.6."""
    with classes_of_old():
        torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
    return path


def replaced(content: Any, old: str, new: str) -> Any:
    """The same with `new` for `old` in all texts."""
    if isinstance(content, dict):
        return {replaced(key, old, new): replaced(value, old, new) for key, value in content.items()}
    return content.replace(old, new) if isinstance(content, str) else content
