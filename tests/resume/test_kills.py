"""Real processes, killed at random moments: a dozen here, hundreds by `tools/kill_anywhere.py` itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import fulmen

TOOL = Path(__file__).parents[2] / "tools" / "kill_anywhere.py"
KILLS = 12


def test_a_dozen_kills() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(fulmen.__file__).parents[1])}
    command = [sys.executable, str(TOOL), "--kills", str(KILLS), "--seed", "7"]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    summary = finished.stdout.splitlines()[-1]
    assert re.fullmatch(rf"{KILLS} kills, \d+ runs, 5 configurations: all ended bit-identical", summary)
