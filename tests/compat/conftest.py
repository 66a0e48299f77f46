"""How the tests of old code run it: by its own imports, in a folder of its own."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fulmen.compat import lightning
from fulmen.compat.lightning import versions

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture
def installed() -> Iterator[None]:
    """`import pytorch_lightning` is this package, for one test."""
    lightning.install()
    yield
    lightning.uninstall()


@pytest.fixture
def run_script(
    installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """Run a script of `scripts/` as `fulmen run` does, and give what it has left in result.json."""

    def run(name: str, *arguments: str, version: str | None = None) -> Any:
        monkeypatch.setattr(sys, "argv", [name, *arguments, "--folder", str(tmp_path)])
        monkeypatch.chdir(tmp_path)
        versions.declare(version)
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        return json.loads((tmp_path / "result.json").read_text())

    state = torch.get_rng_state()
    yield run
    versions.declare(None)
    torch.set_rng_state(state)
