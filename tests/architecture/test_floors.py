"""Who imports whom: a package knows only what stands above it."""

from __future__ import annotations

import ast

import pytest

from .sources import ROOT, Source, imports, is_third_party, sources

FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"base"}),
    frozenset({"runtime"}),
    frozenset({"metrics"}),
    frozenset({"precision"}),
    frozenset({"strategies"}),
    frozenset({"core"}),
    frozenset({"engine"}),
    frozenset({"callbacks", "loggers", "profilers", "tuner", "export"}),
    frozenset({"build", "ckpt_path", "trainer_view"}),
    frozenset({"trainer"}),
    frozenset({"__init__"}),
    frozenset({"__main__", "cli", "compat"}),
)
"""From the top down. Members of one floor do not import each other."""

LEVEL = {part: level for level, floor in enumerate(FLOORS) for part in floor}

INDEPENDENT = ("metrics", "precision", "strategies")
"""Floors of their own, which do not need each other all the same."""

COMES_WITH_TORCH = "fsspec"

every_source = pytest.mark.parametrize("source", sources(), ids=lambda source: source.name)


def member(module: str) -> str:
    """The part of the package that a module belongs to; the package itself is its `__init__`."""
    return module.split(".")[1] if "." in module else "__init__"


def test_each_member_of_the_package_has_a_floor() -> None:
    assert {source.part for source in sources()} <= LEVEL.keys()


@every_source
def test_imports_only_what_stands_above(source: Source) -> None:
    inside = [found for found in imports(source) if found.root == "fulmen"]
    wrong = [
        f"{source.name}:{found.line} imports {found.module}"
        for found in inside
        if (target := member(found.module)) != source.part
        and (LEVEL[target] >= LEVEL[source.part] or (target in INDEPENDENT and source.part in INDEPENDENT))
    ]
    assert not wrong


@every_source
def test_imports_of_the_package_are_absolute_and_at_the_top(source: Source) -> None:
    wrong = [
        f"{source.name}:{found.line} imports {found.module}"
        for found in imports(source)
        if found.module.startswith(".") or (found.root == "fulmen" and not found.at_top)
    ]
    assert not wrong


@every_source
def test_only_torch_is_imported_at_the_top(source: Source) -> None:
    assert not [found for found in imports(source) if found.at_top and is_third_party(found)]


@every_source
def test_optional_packages_are_imported_through_require(source: Source) -> None:
    wrong = [
        f"{source.name}:{found.line} imports {found.module}"
        for found in imports(source)
        if is_third_party(found) and found.root != COMES_WITH_TORCH
    ]
    assert not wrong


@every_source
def test_one_file_alone_reads_the_environment(source: Source) -> None:
    if source.name == "base/environ.py":
        return
    readers = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    wrong = [
        f"{source.name}:{node.lineno} {ast.unparse(node)}"
        for node in ast.walk(source.tree)
        if (isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os" and node.attr in readers)
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and readers & {a.name for a in node.names})
    ]
    assert not wrong


def test_the_floors_are_those_of_the_documentation() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("errors > "))
    documented = [[part.strip() for part in floor.split(",")] for floor in line.split(">")]
    levels = [{LEVEL[part] for part in floor if part != "..."} for floor in documented]
    assert all(len(level) == 1 for level in levels), "members of one floor are written on one"
    order = [level.pop() for level in levels]
    assert order == sorted(order)
    assert len(set(order)) == len(order)
