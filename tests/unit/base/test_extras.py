"""Optional packages: imported where they are used; a missing one says how to get it."""

from __future__ import annotations

import random
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fulmen.base import extras
from fulmen.errors import FulmenError, MissingExtra


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Makes a package that can be imported, from the text of its module; gives its name."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def make(text: str) -> str:
        name = f"made_{uuid.uuid4().hex}"
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
        (tmp_path / name / "part.py").write_text("VALUE = 3")
        names.append(name)
        return name

    yield make
    for name in list(sys.modules):
        if name.partition(".")[0] in names:
            del sys.modules[name]


def test_finding_out_does_not_import(make_package: Callable[[str], str]) -> None:
    name = make_package("raise RuntimeError('imported')")
    assert extras.available(name)
    assert name not in sys.modules


@pytest.mark.parametrize(
    "name", ["no_such_package_at_all", "no_such_package_at_all.part", "json.no_such_part"]
)
def test_what_is_not_available(name: str) -> None:
    assert not extras.available(name)


def test_require_imports(make_package: Callable[[str], str]) -> None:
    name = make_package("VALUE = 2")
    assert extras.require(name, extra="made").VALUE == 2
    assert extras.require(f"{name}.part", extra="made").VALUE == 3


def test_a_missing_package_says_how_to_get_it() -> None:
    with pytest.raises(
        MissingExtra, match=r"'no_such_package'(.|\n)*pip install 'fulmen\[plots\]'"
    ) as raised:
        extras.require("no_such_package.part", extra="plots")
    assert isinstance(raised.value, ImportError)
    assert isinstance(raised.value, FulmenError)


def test_an_error_inside_the_package_is_not_taken_for_its_absence(make_package: Callable[[str], str]) -> None:
    name = make_package("import another_package_that_is_not_there")
    with pytest.raises(ModuleNotFoundError, match="another_package_that_is_not_there") as raised:
        extras.require(name, extra="made")
    assert not isinstance(raised.value, MissingExtra)


def test_importing_draws_no_random_number(make_package: Callable[[str], str]) -> None:
    """Some packages draw when they are imported; data that is augmented must not notice."""
    name = make_package("import random\nDRAWN = random.random()")
    before = random.getstate()
    extras.require(name, extra="made")
    assert random.getstate() == before
