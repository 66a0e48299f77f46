"""Checkpoint files that `torch.save` would not write: pickles opcode by opcode, in zip archives."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

RECORD_BYTES = 16  # of data/0

NONE, TRUE, EMPTY_TUPLE, EMPTY_LIST, EMPTY_DICT = b"N", b"\x88", b")", b"]", b"}"


def text(value: str) -> bytes:
    """A string."""
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def number(value: int) -> bytes:
    """A whole number of any size."""
    content = pickle.encode_long(value)
    return b"\x8a" + bytes([len(content)]) + content


def named(module: str, name: str) -> bytes:
    """A function or class."""
    return f"c{module}\n{name}\n".encode()


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def list_of(*items: bytes) -> bytes:
    return b"](" + b"".join(items) + b"e"


def dict_of(**items: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def put(memo: int, value: bytes) -> bytes:
    """A value that can be had again."""
    return value + b"r" + struct.pack("<I", memo)


def get(memo: int) -> bytes:
    return b"j" + struct.pack("<I", memo)


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return named(module, name) + tuple_of(*arguments) + b"R"


def storage(key: str = "0", elements: int = 4, *more: bytes) -> bytes:
    """What a tensor's numbers are in; there is a record for the key "0"."""
    description = text("storage"), named("torch", "FloatStorage"), text(key), text("cpu"), number(elements)
    return tuple_of(*description, *more) + b"Q"


def tensor(storage: bytes, size: list[int], stride: list[int], offset: int = 0) -> bytes:
    hooks = call("collections", "OrderedDict")
    size_and_stride = (tuple_of(*map(number, size)), tuple_of(*map(number, stride)))
    return call("torch._utils", "_rebuild_tensor_v2", storage, number(offset), *size_and_stride, TRUE, hooks)


def archive(pickled: bytes, *, compression: int = zipfile.ZIP_STORED, **records: bytes) -> bytes:
    """A file as `torch.save` lays it out."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickled + b".")
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", bytes(RECORD_BYTES))
        for name, record in records.items():
            archive.writestr(f"archive/{name}", record)
    return content.getvalue()


def legacy(pickled: bytes) -> bytes:
    """The same before the zip format; no storage follows."""
    magic, protocol, system = (pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {}))
    return magic + protocol + system + b"\x80\x02" + pickled + b"." + pickle.dumps([], 2)


def two_faced(shown: bytes, loaded: bytes) -> bytes:
    """An archive in which `zipfile` finds the records of one archive, and torch those of another."""

    def table_of(content: bytes) -> tuple[int, bytes]:
        end = content.rindex(b"PK\x05\x06")
        count, length, start = struct.unpack_from("<HLL", content, end + 10)
        fields = struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, count, count, length, start)
        return end, b"PK\x06\x06" + fields

    end_shown, table_shown = table_of(shown)
    end_loaded, table_loaded = table_of(loaded)
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, end_loaded, 1)  # `zipfile` takes the table before it
    narrow = b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return loaded[:end_loaded] + table_loaded + shown[:end_shown] + table_shown + locator + narrow


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
