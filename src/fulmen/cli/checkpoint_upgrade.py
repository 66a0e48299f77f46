"""Checkpoints of older versions, written anew as they are written now."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

from fulmen.base import files
from fulmen.base.manifest import save_tensors
from fulmen.base.safe_load import demand_restored, load_tensors, unrestored_class
from fulmen.compat.lightning.checkpoints import (
    LEGACY_KEY,
    changes_for,
    migrate,
    notes_updates_alone,
    written_by,
)
from fulmen.core.containers import restored
from fulmen.core.hparams import AttributeDict
from fulmen.engine.checkpoint import OWN_KEY, VERSION_KEY
from fulmen.engine.lightning_loops import from_progress
from fulmen.engine.progress import Progress
from fulmen.errors import CheckpointError

BACKUP = ".bak"


def checkpoints_at(path: str, extension: str) -> Iterator[str]:
    """The file at `path`, or all below it whose names end so; what links lead to is found where it is."""
    if not files.is_folder(path):
        yield path
        return
    for name in files.list_names(path):
        place = files.join(path, name)
        if os.path.islink(place) or name.startswith("."):
            continue
        if files.is_folder(place) or name.endswith(f".{extension.lstrip('.')}"):
            yield from checkpoints_at(place, extension)


def upgrade(path: str) -> list[str]:
    """Bring one file up to date, and keep it as it was beside it; returns what was changed."""
    content = load_tensors(path, map_location="cpu")
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError("The file is not a checkpoint.", received=path)
    changes = changes_for(content)
    if OWN_KEY in content or LEGACY_KEY in content or written_by(content) is None or not changes:
        return []
    upgraded = _writable(migrate(content, path), path)
    backup = path + BACKUP
    if files.exists(backup):
        raise CheckpointError(
            f"{path} is left as it is: there is a backup already.",
            received=backup,
            fix="move it away, or remove it",
        )
    with files.open_file(path, "rb") as original, files.open_whole(backup) as copy:
        shutil.copyfileobj(original, copy)
    save_tensors(upgraded, path)
    return [
        f"it was of Lightning {content.get(VERSION_KEY, '(unknown)')}, and is kept as {backup}",
        *changes,
    ]


def _writable(checkpoint: dict[str, Any], path: str) -> dict[str, Any]:
    """With real objects in place of what stands for them, and with `loops`, which other readers ask for."""
    if notes_updates_alone(checkpoint):
        updates = checkpoint["global_step"]
        place = Progress(epoch=checkpoint["epoch"], optimizer_step=updates, window=updates)
        checkpoint["loops"] = from_progress(place, automatic=True)
    for prefix in ("", "datamodule_"):
        part, kind = f"{prefix}hyper_parameters", f"{prefix}hparams_type"
        if part in checkpoint:
            found = restored(checkpoint[part])
            checkpoint[part] = dict(found) if type(found) is AttributeDict else found
        if name := unrestored_class(checkpoint.get(kind)):
            checkpoint[kind] = name.rpartition(".")[2]
    for part, content in checkpoint.items():
        demand_restored(content, path=path, part=str(part))
    return checkpoint
