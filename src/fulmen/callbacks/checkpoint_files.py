"""Where checkpoints lie: the folder they go to by default, and links to them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from fulmen.base import files

if TYPE_CHECKING:
    from fulmen.trainer import Trainer


def default_folder(trainer: Trainer, version: int | str | None = None) -> str:
    """Beside what the first logger writes, or wrote in another version."""
    if not trainer.loggers:
        return files.join(files.absolute(trainer.default_root_dir), "checkpoints")
    logger = trainer.loggers[0]
    root = files.absolute(logger.save_dir or trainer.default_root_dir)
    version = logger.version if version is None else version
    version = version if isinstance(version, str) else f"version_{version}"
    return files.join(root, *(part for part in (str(logger.name or ""), version, "checkpoints") if part))


def common_folder(trainer: Trainer, wanted: str | None) -> str:
    """Where the processes of a run keep checkpoints: in the folder that was asked for, or by default."""
    return trainer.strategy.broadcast(trainer.strategy.folder_for(wanted or default_folder(trainer)))


def same_folder(a: str | None, b: str | None) -> bool:
    """Whether both paths lead to one folder."""
    if a is None or b is None or files.is_url(a) or files.is_url(b):
        return a == b
    return os.path.realpath(a) == os.path.realpath(b)


def lies_below(folder: str | None, path: str) -> bool:
    """Whether a path leads into a folder; of URLs, nobody can tell, and they count."""
    return files.is_url(path) or Path(str(folder)) in Path(files.absolute(path)).parents


def make_link(trainer: Trainer, link: str, target: str) -> bool:
    """Make `link` lead to the checkpoint `target`; False where that is impossible."""
    strategy = trainer.strategy
    return strategy.broadcast(
        strategy.is_global_zero and strategy.checkpoint_io.link_checkpoint(target, link)
    )


def visible_names(folder: str) -> list[str]:
    """What is in a folder, without manifests, files that are being written, and the like."""
    return [name for name in files.list_names(folder) if not name.startswith(".")]


def write_scores(path: files.AnyPath, scores: Mapping[str, Tensor]) -> None:
    """Write checkpoints with their scores as YAML."""
    with files.open_file(path, "w") as file:
        for name, score in scores.items():
            file.write(f"{json.dumps(name)}: {_yaml_number(float(score))}\n")


def _yaml_number(value: float) -> str:
    """As YAML 1.1 readers understand it: they take `1e-05` for a word, `1.0e-05` for a number."""
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value)
    return text if "." in text else text.replace("e", ".0e")
