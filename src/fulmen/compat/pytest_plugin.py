"""`pytest -p fulmen.compat.pytest_plugin`: in the session, imports of Lightning find fulmen."""

from __future__ import annotations

from fulmen.compat import lightning


def pytest_load_initial_conftests() -> None:
    """Before any file of the project is imported."""
    lightning.install()


def pytest_configure() -> None:
    """The same, where a conftest names this plugin."""
    lightning.install()


def pytest_unconfigure() -> None:
    """The session is over."""
    lightning.uninstall()
