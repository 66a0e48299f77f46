"""Where checkpoints lie: the folder they go to by default, and links to them."""

from __future__ import annotations

import math
import os
import uuid
from typing import TYPE_CHECKING

from fulmen.base import files

if TYPE_CHECKING:
    from fulmen.trainer import Trainer


def default_folder(trainer: Trainer) -> str:
    """Beside what the first logger writes."""
    if not trainer.loggers:
        return files.join(files.absolute(trainer.default_root_dir), "checkpoints")
    logger = trainer.loggers[0]
    root = files.absolute(logger.save_dir or trainer.default_root_dir)
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return files.join(root, *(part for part in (str(logger.name or ""), version, "checkpoints") if part))


def same_folder(a: str | None, b: str | None) -> bool:
    """Whether both paths lead to one folder."""
    if a is None or b is None or files.is_url(a) or files.is_url(b):
        return a == b
    return os.path.realpath(a) == os.path.realpath(b)


def make_link(trainer: Trainer, link: str, target: str) -> bool:
    """Make `link` a relative symbolic link to `target`; False where that is impossible."""
    made = False
    if trainer.is_global_zero and not files.is_url(link) and os.path.exists(target):
        temporary = f"{link}.{uuid.uuid4().hex[:8]}.tmp"
        try:
            os.symlink(os.path.relpath(target, os.path.dirname(link)), temporary, os.path.isdir(target))
            if os.path.isdir(link) and not os.path.islink(link):
                files.remove(link)  # a folder cannot be replaced in one go
            os.replace(temporary, link)
            made = True
        except OSError:
            files.remove(temporary)
    return trainer.strategy.broadcast(made)


def yaml_number(value: float) -> str:
    """As YAML 1.1 readers understand it: they take `1e-05` for a word, `1.0e-05` for a number."""
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value)
    return text if "." in text else text.replace("e", ".0e")
