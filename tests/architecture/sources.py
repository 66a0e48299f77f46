"""The source files of the package, parsed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "fulmen"


@dataclass(frozen=True)
class Source:
    """One file."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """Path below the package, such as "engine/fit.py"."""
        return self.path.relative_to(PACKAGE).as_posix()

    @property
    def part(self) -> str:
        """The package's member that it belongs to: "engine", "trainer", "__init__"."""
        return self.name.split("/")[0].removesuffix(".py")


@dataclass(frozen=True)
class Import:
    """One imported module, and whether the statement stands at module top."""

    module: str
    line: int
    at_top: bool

    @property
    def root(self) -> str:
        return self.module.partition(".")[0]


@cache
def sources() -> list[Source]:
    paths = sorted(PACKAGE.rglob("*.py"))
    assert paths
    return [Source(path, text := path.read_text(), ast.parse(text, str(path))) for path in paths]


def imports(source: Source) -> Iterator[Import]:
    """Every import that is executed; those for the type checker are not."""
    return _imports(source.tree, at_top=True)


def _imports(node: ast.AST, *, at_top: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, at_top)
    elif isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        # `from fulmen import build` imports a module of the package, `from fulmen.build import make` a name.
        names = [f"fulmen.{alias.name}" for alias in node.names] if module == "fulmen" else [module]
        for name in names:
            yield Import(name, node.lineno, at_top)
    else:
        at_top = at_top and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        skipped = node.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" else []
        for child in ast.iter_child_nodes(node):
            if child not in skipped:
                yield from _imports(child, at_top=at_top)


def is_third_party(imported: Import) -> bool:
    return imported.root not in sys.stdlib_module_names and imported.root not in ("fulmen", "torch")
