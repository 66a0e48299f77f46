"""What users can call is a file that a change has to edit, so that a reviewer sees it."""

from __future__ import annotations

import difflib
from pathlib import Path

from . import public_api


def test_the_public_api_is_the_one_on_record() -> None:
    recorded = (Path(__file__).parent / "public_api.txt").read_text().splitlines()
    changes = list(difflib.unified_diff(recorded, public_api.lines(), "on record", "now", lineterm="", n=1))
    assert not changes, "\n".join([*changes, f"\nIf that is meant: {public_api.__doc__}"])
