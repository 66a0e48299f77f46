"""The other framework, where it is installed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

OWN_ENVIRONMENT = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "peers: needs a Python that has Lightning 2.6")


@pytest.fixture(scope="session")
def peers_python() -> str:
    """A Python that has Lightning: $FULMEN_PEERS_PYTHON, or that of .venv-peers; else tests are skipped."""
    python = os.environ.get("FULMEN_PEERS_PYTHON") or str(OWN_ENVIRONMENT)
    if not os.path.exists(python):
        pytest.skip("no Python with Lightning: set FULMEN_PEERS_PYTHON, or make .venv-peers")
    found = subprocess.run([python, "-c", "import lightning.pytorch"], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return python
