"""Runs with random settings go in fulmen exactly as they go in Lightning 2.6.

Each batch, validation, schedule, logged row and metric, in order. FULMEN_PEERS_SEED chooses other runs.
"""

from __future__ import annotations

import json
import os
import subprocess
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

import fulmen as pl
from fulmen.core.logger import Logger

from ..fixtures.random_runs import Settings, random_settings, run

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

SEED = int(os.environ.get("FULMEN_PEERS_SEED", "1"))
COUNT = 120
SCRIPT = Path(__file__).parent / "trace_in_lightning.py"


@pytest.fixture(scope="module")
def theirs(peers_python: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    file = tmp_path_factory.mktemp("lightning") / "runs.json"
    command = [peers_python, "-W", "ignore", str(SCRIPT), str(SEED), str(COUNT), str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text())


def first_difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    """Where two runs part."""
    for part in ("notes", "rows"):
        for index, (own, other) in enumerate(zip_longest(ours[part], theirs[part])):
            if own != other:
                return f"{part} {index}: {own}, in Lightning {other}"
    parts = [name for name in theirs if ours.get(name) != theirs[name]]
    return "; ".join(f"{name}: {ours.get(name)}, in Lightning {theirs[name]}" for name in parts) or None


@pytest.mark.parametrize(("index", "settings"), [*enumerate(random_settings(SEED, COUNT))], ids=range(COUNT))
def test_random_run(index: int, settings: Settings, theirs: list[dict[str, Any]], tmp_path: Path) -> None:
    ours = json.loads(json.dumps(run(settings, pl, Logger, tmp_path)))
    assert first_difference(ours, theirs[index]) is None, settings
