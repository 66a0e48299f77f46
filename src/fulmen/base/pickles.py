"""The pickle in a file of `torch.save`: where it lies, and one that torch's restricted unpickler can read."""

from __future__ import annotations

import io
import pickletools
import zipfile
from typing import IO

_PICKLES_BEFORE_CONTENT = 3
"""Before the zip format: magic number, protocol, system."""


def as_archive(content: IO[bytes]) -> IO[bytes]:
    """What a file of before the zip format holds apart from tensors, as torch would find it in an archive."""
    start, end = _bounds_of_old(content)
    content.seek(start)
    return _archive({"archive/data.pkl": content.read(end - start), "archive/version": b"3"})


def without_discards(content: IO[bytes]) -> IO[bytes]:
    """A copy that takes the first of two equal objects, where pickle had made one twice to throw one away.

    It does so with what holds a method of its own, as some schedulers did.
    """
    content.seek(0)
    if not zipfile.is_zipfile(content):
        start, end = _bounds_of_old(content)
        content.seek(0)
        whole = content.read()
        return io.BytesIO(whole[:start] + _without_discards(whole[start:end]) + whole[end:])
    with zipfile.ZipFile(content) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    return _archive(
        {
            name: _without_discards(record) if name.endswith("/data.pkl") else record
            for name, record in records.items()
        }
    )


def _archive(records: dict[str, bytes]) -> IO[bytes]:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, record in records.items():
            archive.writestr(name, record)
    made.seek(0)
    return made


def _bounds_of_old(content: IO[bytes]) -> tuple[int, int]:
    content.seek(0)
    ends = []
    for _ in range(_PICKLES_BEFORE_CONTENT + 1):
        for _ in pickletools.genops(content):
            pass
        ends.append(content.tell())
    return ends[-2], ends[-1]


def _without_discards(pickled: bytes) -> bytes:
    operations = [(operation.name, position) for operation, _, position in pickletools.genops(pickled)]
    kept, start = [], 0
    for made, (name, position), fetched, after in zip(
        operations, operations[1:], operations[2:], operations[3:], strict=False
    ):
        if (made[0], name) == ("REDUCE", "POP") and fetched[0] in ("BINGET", "LONG_BINGET"):
            kept.append(pickled[start:position])
            start = after[1]
    return b"".join([*kept, pickled[start:]])
