"""Files, local or behind an fsspec URL: whole or not at all when written, nothing executed when read."""

from __future__ import annotations

import io
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeAlias

import torch

from fulmen.errors import CheckpointError

AnyPath: TypeAlias = "str | os.PathLike[str]"


def is_url(path: AnyPath) -> bool:
    """Whether `path` lives on a remote file system (`s3://`, `memory://`, ...)."""
    return "://" in str(path) and not str(path).startswith("file://")


def _local(path: AnyPath) -> str:
    return os.fspath(path).removeprefix("file://")


def _remote(path: AnyPath) -> tuple[Any, str]:
    import fsspec  # costs as much to import as this whole package, and few runs need it

    return fsspec.core.url_to_fs(str(path))


def join(folder: AnyPath, *names: str) -> str:
    """A path below `folder`, which may be a URL."""
    return (
        "/".join([str(folder).rstrip("/"), *names])
        if is_url(folder)
        else os.path.join(_local(folder), *names)
    )


def absolute(path: AnyPath) -> str:
    """The path as it is understood from anywhere; URLs stay as they are."""
    return str(path) if is_url(path) else os.path.abspath(os.path.expanduser(_local(path)))


def exists(path: AnyPath) -> bool:
    """Whether there is a file or folder."""
    if is_url(path):
        fs, inner = _remote(path)
        return bool(fs.exists(inner))
    return os.path.exists(_local(path))


def is_folder(path: AnyPath) -> bool:
    """Whether there is a folder."""
    if is_url(path):
        fs, inner = _remote(path)
        return bool(fs.isdir(inner))
    return os.path.isdir(_local(path))


def list_names(folder: AnyPath) -> list[str]:
    """Sorted names of what is in `folder`; nothing where it does not exist."""
    if is_url(folder):
        fs, inner = _remote(folder)
        return sorted(Path(p).name for p in fs.ls(inner, detail=False)) if fs.isdir(inner) else []
    return sorted(os.listdir(_local(folder))) if os.path.isdir(_local(folder)) else []


def modified_s(path: AnyPath) -> float:
    """When a file was written last, in seconds since the epoch."""
    if is_url(path):
        fs, inner = _remote(path)
        return float(fs.modified(inner).timestamp())
    return os.stat(_local(path)).st_mtime


def make_folder(path: AnyPath) -> None:
    """Create a folder and its parents where they are missing."""
    if is_url(path):
        fs, inner = _remote(path)
        fs.makedirs(inner, exist_ok=True)
    else:
        os.makedirs(_local(path), exist_ok=True)


def remove(path: AnyPath) -> None:
    """Delete a file, a link or a whole folder; nothing happens where there is none."""
    if is_url(path):
        fs, inner = _remote(path)
        if fs.exists(inner):
            fs.rm(inner, recursive=True)
    elif os.path.islink(_local(path)) or os.path.isfile(_local(path)):
        os.remove(_local(path))
    elif os.path.isdir(_local(path)):
        shutil.rmtree(_local(path))


def open_file(path: AnyPath, mode: str = "r") -> IO[Any]:
    """Open a file on any file system."""
    newline = None if "b" in mode else ""  # what is written is what is read, on every file system
    if is_url(path):
        fs, inner = _remote(path)
        return fs.open(inner, mode) if newline is None else fs.open(inner, mode, newline=newline)
    return open(_local(path), mode, newline=newline)


def write_whole(path: AnyPath, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that, whenever the process dies, either the old content is there or the new one.

    Locally: a temporary file beside the target, fsync, rename, fsync of the folder. Object stores publish a
    file when it is closed, which is the same promise.
    """
    if is_url(path):
        content = io.BytesIO()
        write(content)  # first, for a remote file that is closed by an error would be published half written
        fs, inner = _remote(path)
        with fs.open(inner, "wb") as file:
            file.write(content.getbuffer())
        return
    target = Path(_local(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there, and renames are durable
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_tensors(content: Any, path: AnyPath) -> None:
    """`torch.save`, whole or not at all."""
    try:
        write_whole(path, lambda file: torch.save(content, file))
    except OSError as error:
        raise CheckpointError(
            "The checkpoint could not be written.", received=f"{path}: {error.strerror or error}"
        ) from error
