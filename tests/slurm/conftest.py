"""One cluster for all tests, and a loud word where there can be none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fulmen

from .cluster import Cluster, missing, running


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The nodes of a running SLURM."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with running() as nodes:
        nodes.variables["PYTHONPATH"] = str(Path(fulmen.__file__).parents[1])
        yield nodes


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reason = missing()
    if reason is not None:
        terminalreporter.section("SLURM", red=True, bold=True)
        terminalreporter.line(f"The tests with a real SLURM DID NOT RUN: {reason}", red=True)
