"""Processes that are started once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .ranks import Ranks
from .warm import Nursery

FOLDER = Path(__file__).parent
_started: dict[str, Any] = {}


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    """Two processes in one group."""
    return _start("ranks", lambda: Ranks(2, tmp_path_factory.mktemp("ranks")))


@pytest.fixture(scope="module")
def nursery() -> Nursery:
    """What starts scripts quickly."""
    return _start("nursery", Nursery)


def _start(name: str, make: Callable[[], Any]) -> Any:
    if name not in _started:
        _started[name] = make()
    return _started[name]


@pytest.hookimpl(trylast=True)  # once the fixtures of the test are gone
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Tests elsewhere look at the processes that there are."""
    if nextitem is None or FOLDER not in nextitem.path.parents:
        pytest_sessionfinish()


def pytest_sessionfinish() -> None:
    """End them, also where the tests were broken off."""
    while _started:
        _started.popitem()[1].end()
