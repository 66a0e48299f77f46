"""Checkpoint files and the manifests beside them, by which a damaged file is known."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import IO, Any, Literal

import torch

from fulmen.base import files
from fulmen.errors import CheckpointError

_FORMAT = 1
_BLOCK_BYTES = 1 << 20
_ZIP_MAGIC = b"PK\x03\x04"
_DEEPEST = 8


@dataclass(frozen=True)
class Manifest:
    """What a file held when it was written."""

    size: int
    """In bytes."""
    sha256: str


@dataclass(frozen=True)
class Verdict:
    """Whether a checkpoint is as it was written, and how that is known."""

    intact: bool
    checked_by: Literal["manifest", "records", "nothing"]
    """Its manifest, the checksums in torch's own format, or nothing: the file says nothing about itself."""
    problem: str | None = None
    """What is wrong, or why nothing could be checked."""


def manifest_path(path: files.AnyPath) -> str:
    """Where the manifest of the file at `path` lies: hidden, beside it."""
    return files.hidden_beside(path, ".manifest")


def write_manifest(path: files.AnyPath, manifest: Manifest) -> None:
    """Write the manifest of the file at `path`."""
    files.write_whole(manifest_path(path), lambda file: file.write(_encode(manifest)))


def _encode(manifest: Manifest) -> bytes:
    return json.dumps({"format": _FORMAT, **asdict(manifest)}).encode()


def read_manifest(path: files.AnyPath) -> Manifest | None:
    """The manifest of the file at `path`, None where there is none; `CheckpointError` where it is damaged."""
    place = manifest_path(path)
    if not files.exists(place):
        return None
    try:
        with files.open_file(place, "rb") as file:
            fields = json.loads(file.read())
        if fields.pop("format") == _FORMAT:
            return Manifest(size=int(fields["size"]), sha256=str(fields["sha256"]))
        received = "another format"
    except (ValueError, KeyError, AttributeError, TypeError):
        received = "damaged JSON"
    raise CheckpointError(f"The manifest {place} cannot be read.", received=received)


def write_with_manifest(path: files.AnyPath, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file, whole or not at all, and its manifest after it."""
    place = manifest_path(path)
    with (
        files.open_whole(place) as manifest_file,  # takes its place last
        # A manifest must never describe another file, so the old one goes before the new file comes.
        files.open_whole(path, before_it_shows=lambda: files.remove(place)) as file,
    ):
        hashing = _Hashing(file)
        try:
            write(hashing)  # pyright: ignore[reportArgumentType]
        except Exception:
            if hashing.failure is not None:  # torch hides it behind a complaint about positions
                raise hashing.failure from None
            raise
        manifest_file.write(_encode(Manifest(hashing.size, hashing.sha256.hexdigest())))
        manifest_file.flush()  # a disk that is too full for it is noticed before anything is replaced


class _Hashing:
    """A file open for writing that takes the checksum of what passes, in one go and without a copy."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        self.size += memoryview(data).nbytes
        try:
            return self._file.write(data)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        self._file.flush()


def save_tensors(content: Any, path: files.AnyPath) -> None:
    """`torch.save`, whole or not at all, with a manifest; `CheckpointError` says why it failed."""
    try:
        write_with_manifest(path, lambda file: torch.save(content, file))
    except OSError as error:
        raise CheckpointError(
            "The checkpoint could not be written.", received=f"{path}: {error.strerror or error}"
        ) from error
    except Exception as error:  # pickle raises whatever the objects in it do
        part = _unsavable_part(content)
        raise CheckpointError(
            "The checkpoint could not be written.",
            received=f"{path}: {f'in {part}: ' if part else ''}{type(error).__name__}: {error}",
            expected="tensors, numbers, strings, and what else pickle can store",
        ) from error


def _unsavable_part(content: Any) -> str:
    """The keys that lead to what cannot be saved alone; empty where every part can."""
    keys: list[str] = []
    while len(keys) < _DEEPEST:
        items = content.items() if isinstance(content, dict) else enumerate(content)
        bad = next(((key, value) for key, value in items if not _can_be_saved(value)), None)
        if bad is None:
            break
        keys.append(str(bad[0]))
        content = bad[1]
        if not isinstance(content, (dict, list, tuple)):
            break
    return " > ".join(keys)


def _can_be_saved(value: Any) -> bool:
    try:
        with open(os.devnull, "wb") as nowhere:
            torch.save(value, nowhere)
    except Exception:
        return False
    return True


def link_checkpoint(path: files.AnyPath, link: files.AnyPath) -> bool:
    """Make `link` lead to the checkpoint at `path`, whose manifest is its own; False where that fails."""
    if not files.link(path, link):
        return False
    with suppress(OSError):  # nobody asks for that of a link
        files.remove(manifest_path(link))
    return True


def remove_checkpoint(path: files.AnyPath) -> None:
    """Delete a checkpoint, and its manifest; nothing happens where there is none."""
    try:
        files.remove(manifest_path(path))  # first: left alone, it would speak of what comes to that place
        files.remove(path)
    except OSError as error:
        raise CheckpointError(
            "The checkpoint could not be removed.", received=f"{path}: {error.strerror or error}"
        ) from error


def verify(path: files.AnyPath, *, by_manifest: bool = True) -> Verdict:
    """Read a checkpoint through, and see whether it is what was written; of links, what they lead to.

    Without its manifest, or not `by_manifest`, a file is held against what it says about itself.
    """
    place = str(path) if files.is_url(path) else os.path.realpath(files.absolute(path))
    try:
        if not files.exists(place):
            return Verdict(False, "nothing", "there is no such file")
        if files.is_folder(place):
            return Verdict(True, "nothing", "a folder, which cannot be verified")
        manifest = read_manifest(place) if by_manifest else None
        if manifest is not None:
            problem = _compare(place, manifest)
            return Verdict(problem is None, "manifest", problem)
        return _check_records(place)
    except CheckpointError as error:
        return Verdict(False, "manifest", str(error).replace("\n", ";"))
    except OSError as error:
        return Verdict(False, "nothing", f"it cannot be read: {error.strerror or error}")


def _compare(path: str, manifest: Manifest) -> str | None:
    size, sha256 = 0, hashlib.sha256()
    with files.open_file(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            sha256.update(block)
            size += len(block)
    if size != manifest.size:
        return f"{size} bytes, not the {manifest.size} that were written"
    if sha256.hexdigest() != manifest.sha256:
        return "its content is not what was written (SHA-256 differs from the manifest's)"
    return None


def _check_records(path: str) -> Verdict:
    """What torch's zip format says about itself: a table of records at the end, a CRC for each."""
    with files.open_file(path, "rb") as file:
        start = file.read(len(_ZIP_MAGIC))
        if not start:
            return Verdict(False, "records", "the file is empty")
        file.seek(0)
        try:
            with zipfile.ZipFile(file) as archive:
                return _check_archive(archive, size=file.seek(0, os.SEEK_END))
        except OSError:
            raise
        except Exception as error:  # what zipfile raises for damaged bytes is of no one kind
            if start == _ZIP_MAGIC[: len(start)] or zipfile.is_zipfile(file):
                return Verdict(False, "records", f"torn or damaged: {error}")
            return Verdict(True, "nothing", "no manifest, and not in torch's zip format: cannot be verified")


def _check_archive(archive: zipfile.ZipFile, *, size: int) -> Verdict:
    records = archive.infolist()
    if sum(record.file_size for record in records) > size:  # torch does not compress: no bomb is unpacked
        return Verdict(False, "records", "its records claim to be larger than the file")
    for record in records:
        with archive.open(record) as content:
            while content.read(_BLOCK_BYTES):
                pass
    return Verdict(True, "records")
