"""Files, local or behind an fsspec URL: whole or not at all when written, nothing executed when read."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeAlias

if sys.platform != "win32":
    import fcntl

AnyPath: TypeAlias = "str | os.PathLike[str]"

TEMPORARY = ".tmp"
"""How the names of files end that are not complete."""


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


def hidden_beside(path: AnyPath, suffix: str) -> str:
    """The path of `.<name><suffix>` in the folder of `path`; of a long name, it has only the beginning."""
    if is_url(path):
        folder, _, name = str(path).rpartition("/")
        return f"{folder}/{_hidden(name, suffix)}"
    folder, name = os.path.split(_local(path))
    return os.path.join(folder, _hidden(name, suffix))


def _hidden(name: str, suffix: str) -> str:
    whole = f".{name}{suffix}"
    if len(os.fsencode(whole)) <= _LONGEST_NAME:
        return whole
    digest = hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()
    return f".{name[:_KEPT_CHARACTERS]}.{digest}{suffix}"


_LONGEST_NAME = 255
"""In bytes; the limit of nearly all file systems."""
_KEPT_CHARACTERS = 40


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


def link(path: AnyPath, place: AnyPath) -> bool:
    """Make `place` a relative symbolic link to what is at `path`; False where that is impossible."""
    if is_url(path) or is_url(place) or not exists(path):
        return False
    target, name = _local(path), _local(place)
    temporary = _temporary_beside(name)
    try:
        _remove_left_behind(Path(name))
        os.symlink(os.path.relpath(target, os.path.dirname(name)), temporary, os.path.isdir(target))
        if os.path.isdir(name) and not os.path.islink(name):
            remove(name)  # a folder cannot be replaced in one go
        os.replace(temporary, name)
    except OSError:
        remove(temporary)
        return False
    return True


def open_file(path: AnyPath, mode: str = "r") -> IO[Any]:
    """Open a file on any file system."""
    newline = None if "b" in mode else ""  # what is written is what is read, on every file system
    if is_url(path):
        fs, inner = _remote(path)
        return fs.open(inner, mode) if newline is None else fs.open(inner, mode, newline=newline)
    return open(_local(path), mode, newline=newline)


def write_whole(path: AnyPath, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that, whenever the process dies, either the old content is there or the new one."""
    with open_whole(path) as file:
        write(file)


@contextmanager
def open_whole(path: AnyPath, *, before_it_shows: Callable[[], None] | None = None) -> Iterator[IO[bytes]]:
    """A file to write into that takes its place at the end, where there was no error, and never half written.

    `before_it_shows` is called when the content is complete and safe, right before that.
    """
    if is_folder(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with _open_remote(path, before_it_shows) if is_url(path) else _open_local(path, before_it_shows) as file:
        yield file


@contextmanager
def _open_local(path: AnyPath, before_it_shows: Callable[[], None] | None) -> Iterator[IO[bytes]]:
    target = Path(_local(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_behind(target)
    temporary = Path(_temporary_beside(target))  # on the same file system, so that it can be renamed
    try:
        with open(temporary, "wb") as file:
            with suppress(OSError):  # not every file system has locks; those without keep what is left behind
                _lock(file)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if before_it_shows is not None:
                before_it_shows()
            if sys.platform == "win32":
                file.close()  # what is open cannot be renamed there; elsewhere the lock is held until then
            os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):  # the first error is the one to see
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


@contextmanager
def _open_remote(path: AnyPath, before_it_shows: Callable[[], None] | None) -> Iterator[IO[bytes]]:
    fs, inner = _remote(path)
    # Under another name, for an error in the middle closes the file, and closing is what publishes it.
    temporary = _remote(_temporary_beside(path))[1]
    try:
        with fs.open(temporary, "wb") as file:
            yield file
        if before_it_shows is not None:
            before_it_shows()
        fs.mv(temporary, inner)  # stores that cannot rename copy, on the server, and delete
    except BaseException:
        with suppress(OSError):
            fs.rm(temporary)
        raise


_MARK_LENGTH = 8


def _temporary_beside(path: AnyPath) -> str:
    return hidden_beside(path, f".{uuid.uuid4().hex[:_MARK_LENGTH]}{TEMPORARY}")


def _remove_left_behind(target: Path) -> None:
    """Delete the temporary files of `target` whose writers were killed; a living one holds a lock."""
    mark = "?" * _MARK_LENGTH
    start = _hidden(target.name, f".{mark}{TEMPORARY}").removesuffix(f"{mark}{TEMPORARY}")
    for left in target.parent.glob(f"{glob.escape(start)}{mark}{TEMPORARY}"):
        with suppress(OSError), open(left, "r+b") as file:
            _lock(file)
            left.unlink()


def _lock(file: IO[bytes]) -> None:
    """Hold the file as long as it is open; `OSError` where somebody else does."""
    if sys.platform != "win32":  # files that are open cannot be deleted there, which is as good
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":  # folders cannot be opened there, and renames are durable
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
