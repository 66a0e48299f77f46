"""Processes that are started once for many tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .ranks import Ranks
from .warm import Nursery


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    """Two processes in one group."""
    ranks = Ranks(2, tmp_path_factory.mktemp("ranks"))
    yield ranks
    ranks.end()


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """What starts scripts quickly."""
    made = Nursery()
    yield made
    made.end()
