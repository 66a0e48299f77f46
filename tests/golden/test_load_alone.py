"""What fulmen writes needs no fulmen to be read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .runs import CASES, run

SCRIPT = Path(__file__).with_name("load_alone.py")
WITHOUT_FULMEN = """
import runpy, sys
sys.modules["fulmen"] = None
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def load_alone(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *options], capture_output=True, text=True, timeout=200)


def test_weights_load_without_fulmen(tmp_path: Path) -> None:
    """Those that are kept, and one that is new."""
    kept = [str(path) for path in SCRIPT.parent.glob("*/*.ckpt")]
    run(CASES["early_stopping"], tmp_path, save_as=tmp_path / "new.ckpt")
    done = load_alone("-c", WITHOUT_FULMEN, str(SCRIPT), str(tmp_path / "new.ckpt"), *kept)
    assert done.returncode == 0, done.stderr
    assert f"of {len(kept) + 1} checkpoints" in done.stdout


def test_it_is_not_shown_where_fulmen_is() -> None:
    done = load_alone(str(SCRIPT))
    assert done.returncode == 1
    assert "can be imported" in done.stderr
