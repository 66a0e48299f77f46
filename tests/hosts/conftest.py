"""A network for each test, and a loud word where there can be none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .network import Network, missing, running
from .training import parse, train


@pytest.fixture(scope="session")
def hosts_are_possible() -> None:
    """Skips what needs several hosts where there can be none; the end of the report says so loudly."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def network(hosts_are_possible: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A switch to which hosts alpha, beta and gamma can be joined."""
    with running(tmp_path_factory.mktemp("network"), ("alpha", "beta", "gamma")) as switch:
        yield switch


@pytest.fixture(scope="session")
def alone(hosts_are_possible: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process comes to."""
    return train(parse(str(tmp_path_factory.mktemp("alone"))))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reason = missing()
    if reason is not None:
        terminalreporter.section("several hosts", red=True, bold=True)
        terminalreporter.line(f"The tests with several hosts DID NOT RUN: {reason}", red=True)
