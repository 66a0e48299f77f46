"""The one door to environment variables."""

from __future__ import annotations

import os

import pytest

from fulmen.base import environ


def test_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULMEN_SET", "a b")
    monkeypatch.setenv("FULMEN_EMPTY", "")
    assert environ.read("FULMEN_SET") == "a b"
    assert environ.read("FULMEN_EMPTY") == ""
    assert environ.read("FULMEN_NOT_SET") is None


def test_read_prefixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULMEN_A_ONE", "1")
    monkeypatch.setenv("FULMEN_A_TWO", "2")
    monkeypatch.setenv("FULMEN_B", "3")
    assert environ.read_prefixed("FULMEN_A_") == {"ONE": "1", "TWO": "2"}
    assert environ.read_prefixed("FULMEN_C_") == {}


def test_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULMEN_WRITTEN", "before")
    environ.write("FULMEN_WRITTEN", "after")
    assert os.environ["FULMEN_WRITTEN"] == "after"
