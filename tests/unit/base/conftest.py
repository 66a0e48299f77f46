"""Where files of the tests lie."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fulmen.base import files


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty folder on either kind of file system."""
    if request.param == "disk":
        yield str(tmp_path)
        return
    url = f"memory://{uuid.uuid4().hex}"
    files.make_folder(url)
    yield url
    files.remove(url)
