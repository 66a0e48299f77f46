"""Where checkpoints go in a process that does not write for all, though it trains on its own."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import zlib

from fulmen.base import files

_root: str | None = None


def own_folder(folder: str) -> str:
    """A folder of this process alone in place of another one, always the same; it ends with the process."""
    global _root
    if is_own(folder):
        return folder
    if _root is None:
        _root = tempfile.mkdtemp(prefix="fulmen-checkpoints-")
        atexit.register(shutil.rmtree, _root, ignore_errors=True)
    return os.path.join(_root, f"{zlib.crc32(folder.encode(errors='surrogateescape')):08x}")


def is_own(path: str) -> bool:
    """Whether `own_folder` has given it, or a folder that it is in."""
    return _root is not None and files.absolute(path).startswith(os.path.join(_root, ""))
