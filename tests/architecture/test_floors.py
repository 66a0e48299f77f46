"""Who imports whom: a package knows only what stands above it."""

from __future__ import annotations

import ast
import sys

from .sources import ROOT, Import, imports, sources

FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"base"}),
    frozenset({"runtime"}),
    frozenset({"metrics"}),
    frozenset({"precision"}),
    frozenset({"strategies"}),
    frozenset({"core"}),
    frozenset({"engine"}),
    frozenset({"tuner"}),
    frozenset({"callbacks", "loggers", "profilers", "export"}),
    frozenset({"build"}),
    frozenset({"trainer"}),
    frozenset({"__init__"}),
    frozenset({"compat"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
"""From the top down. Members of one floor do not import each other."""

LEVELS = {part: level for level, floor in enumerate(FLOORS) for part in floor}

INDEPENDENT = frozenset({"metrics", "precision", "strategies"})
"""Members with floors of their own that still do not need each other."""

COMES_WITH_TORCH = "fsspec"


def target(found: Import) -> str:
    """The member of the package that is imported."""
    return found.module.split(".")[1] if "." in found.module else "__init__"


def is_third_party(found: Import) -> bool:
    return found.root not in sys.stdlib_module_names and found.root not in ("fulmen", "torch")


def complain(wrong: list[Import]) -> None:
    assert not wrong, "\n".join(["", *map(str, wrong)])


def test_each_member_of_the_package_has_a_floor() -> None:
    assert {source.part for source in sources()} <= LEVELS.keys()


def test_imports_only_what_stands_above() -> None:
    edges = [(found.source.part, target(found), found) for found in imports() if found.root == "fulmen"]
    across = [(importer, imported, found) for importer, imported, found in edges if importer != imported]
    assert across
    complain([found for importer, imported, found in across if LEVELS[imported] >= LEVELS[importer]])
    complain([found for importer, imported, found in across if {importer, imported} <= INDEPENDENT])


def test_imports_of_the_package_are_absolute_and_at_the_top() -> None:
    complain([found for found in imports() if found.module.startswith(".")])
    complain([found for found in imports() if found.root == "fulmen" and not found.at_top])


def test_of_other_packages_only_torch_is_imported_at_the_top() -> None:
    complain([found for found in imports() if found.at_top and is_third_party(found)])


def test_optional_packages_are_imported_through_require() -> None:
    complain([found for found in imports() if is_third_party(found) and found.root != COMES_WITH_TORCH])


def test_one_file_alone_knows_the_environment() -> None:
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    readers = set()
    for source in sources():
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os" and node.attr in names:
                readers.add(source.name)
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                readers |= {source.name for alias in node.names if alias.name in names}
    assert readers == {"base/environ.py"}


def test_the_floors_are_those_of_the_documentation() -> None:
    lines = (ROOT / "CONTRIBUTING.md").read_text().splitlines()
    line = next(line for line in lines if line.startswith("errors > "))
    floors = [{part.strip() for part in floor.split(",")} - {"..."} for floor in line.split(">")]
    levels = [{LEVELS[part] for part in floor} for floor in floors]
    assert [len(level) for level in levels] == [1] * len(floors)
    assert levels == sorted(levels, key=min)
    assert len(set.union(*levels)) == len(floors)
