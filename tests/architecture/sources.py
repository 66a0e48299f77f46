"""The source files of the package, parsed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeGuard

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "fulmen"


@dataclass(frozen=True)
class Source:
    """One file."""

    path: Path
    text: str = field(repr=False)
    tree: ast.Module = field(repr=False)

    @property
    def name(self) -> str:
        """Path below the package, such as "engine/fit.py"."""
        return self.path.relative_to(PACKAGE).as_posix()

    @property
    def module(self) -> str:
        """What it is imported as."""
        return ".".join(["fulmen", *self.name.removesuffix(".py").split("/")]).removesuffix(".__init__")

    @property
    def part(self) -> str:
        """The member of the package that it is in, such as "engine"; "__init__" for the package itself."""
        return self.name.split("/")[0].removesuffix(".py")


@cache
def sources() -> list[Source]:
    """Every file of the package."""
    texts = {path: path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
    assert texts
    return [Source(path, text, ast.parse(text, str(path))) for path, text in texts.items()]


@dataclass(frozen=True)
class Import:
    """A module that is imported at run time; what only a type checker imports does not count."""

    source: Source
    line: int
    module: str
    at_top: bool

    @property
    def root(self) -> str:
        """The outermost package."""
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line} imports {self.module}"


@cache
def imports() -> list[Import]:
    """Every import of every file."""
    return [found for source in sources() for found in _imports(source, source.tree, at_top=True)]


def _imports(source: Source, node: ast.AST, *, at_top: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(source, node.lineno, alias.name, at_top)
    elif isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        # `from fulmen import build` names a module, `from fulmen.build import make_loggers` does not.
        modules = [f"{module}.{alias.name}" for alias in node.names] if module == "fulmen" else [module]
        for name in modules:
            yield Import(source, node.lineno, name, at_top)
    else:
        at_top = at_top and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for child in ast.iter_child_nodes(node):
            if not (_is_for_type_checkers(node) and child in node.body):
                yield from _imports(source, child, at_top=at_top)


def _is_for_type_checkers(node: ast.AST) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
