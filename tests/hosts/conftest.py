"""A network for each test, and a loud word where there can be none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .network import Network, missing, running


@pytest.fixture
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A switch to which hosts alpha, beta and gamma can be joined."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with running(tmp_path_factory.mktemp("network"), ("alpha", "beta", "gamma")) as switch:
        yield switch


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reason = missing()
    if reason is not None:
        terminalreporter.section("several hosts", red=True, bold=True)
        terminalreporter.line(f"The tests with several hosts DID NOT RUN: {reason}", red=True)
