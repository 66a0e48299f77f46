"""Habits of CONTRIBUTING.md that a machine can check."""

from __future__ import annotations

import ast
import importlib
import io
import re
import tokenize
from collections.abc import Iterator

from .sources import Source, sources

LONGEST_FILE = 450
LONGEST_FUNCTION = 70
"""Lines of its body."""

OF_THE_PAST = re.compile(
    r"\b(deprecated?|deprecation|legacy)\b"
    r"|\b(lightning|since|until|before|version|v)\s?(0\.\d+|1\.\d+|2\.[0-5])\b",
    re.IGNORECASE,
)
"""Words that only `compat` has a use for."""


def complain(wrong: list[str]) -> None:
    assert not wrong, "\n".join(["", *wrong])


def test_files_are_short() -> None:
    lengths = {source.name: len(source.text.splitlines()) for source in sources()}
    complain([f"{name}: {length} lines" for name, length in lengths.items() if length > LONGEST_FILE])


def test_functions_are_short() -> None:
    lengths = {
        f"{source.name}:{node.lineno} {node.name}": _body_lines(node)
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    complain([f"{name}: {length} lines" for name, length in lengths.items() if length > LONGEST_FUNCTION])


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_everything_public_has_a_docstring() -> None:
    complain([name for source in sources() for name in _undocumented(source)])


def _undocumented(source: Source) -> Iterator[str]:
    """What a file defines without a word on it; a method that overrides another one is described there."""
    if not ast.get_docstring(source.tree):
        yield source.name
    for node in _public_definitions(source.tree):
        if not ast.get_docstring(node):
            yield f"{source.name}:{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef):
            bases = getattr(importlib.import_module(source.module), node.name).__mro__
            for method in _public_definitions(node):
                members = [vars(base)[method.name] for base in bases if method.name in vars(base)]
                if not any(member.__doc__ for member in members):
                    yield f"{source.name}:{method.lineno} {node.name}.{method.name}"


def _public_definitions(parent: ast.Module | ast.ClassDef) -> list[ast.ClassDef | ast.FunctionDef]:
    definitions = [node for node in parent.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    return [node for node in definitions if not node.name.startswith("_")]


def test_no_folder_is_called_utils() -> None:
    refused = {"util", "utils", "utilities", "helpers", "common", "misc"}
    complain([source.name for source in sources() if refused & set(source.module.split("."))])


def test_only_compat_speaks_of_the_past() -> None:
    wrong = []
    for source in sources():
        if source.part != "compat":
            for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
                prose = token.type in (tokenize.COMMENT, tokenize.STRING)
                search = OF_THE_PAST.search if prose else OF_THE_PAST.fullmatch
                if found := search(token.string):
                    wrong.append(f"{source.name}:{token.start[0]} {found[0]}")
    complain(wrong)


def test_words_of_the_past_are_found() -> None:
    assert all(map(OF_THE_PAST.search, ["# deprecated", "as in Lightning 1.5", "since v2.0", "legacy path"]))
    assert not any(map(OF_THE_PAST.search, ["as Lightning 2.6 does", "torch 2.6", "lr=1.0", "before 0 or 1"]))
