"""Ways of working that no signature shows, read off the code of a module."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from fulmen.compat.lightning.versions import Spelling
from fulmen.core.module import LightningModule

OPTIMIZER_TO_BACKWARD = Spelling(
    "self.manual_backward(loss, optimizer)", last="1.3", modern="self.manual_backward(loss)"
)
NEVER_CLEARS = Spelling(
    "manual optimization that never clears gradients", "1.1", "1.1", "optimizer.zero_grad() before backward"
)
LOGS_BY_RETURNING = Spelling(
    "return {'log': ..., 'progress_bar': ...}", modern="self.log(name, value, prog_bar=True)"
)
"""Of the versions that read those keys, none is asked for: they are logged in all."""


def habits_of(module: LightningModule) -> list[Spelling]:
    """Those that decide as what a module is run."""
    if module.automatic_optimization:
        return []
    words = _words(type(module))
    found: list[Spelling] = []
    if _passes_optimizer(type(module)):
        found.append(OPTIMIZER_TO_BACKWARD)
    if "manual_backward" in words and "step" in words and not words & {"zero_grad", "optimizer_zero_grad"}:
        found.append(NEVER_CLEARS)
    return found


@cache
def logs_by_returning(kind: type) -> bool:
    """Whether the code of `training_step` speaks of the keys that once logged."""
    code = getattr(kind.training_step, "__code__", None)  # pyright: ignore[reportAttributeAccessIssue]
    constants = getattr(code, "co_consts", ())
    groups = (constant if isinstance(constant, tuple) else (constant,) for constant in constants)
    words = {word for group in groups for word in group}
    return any(key in words for key in ("log", "progress_bar"))


@cache
def _words(kind: type) -> set[str]:
    """The names that the methods of a user's class use."""
    return {name for function in _functions(kind) for name in function.__code__.co_names}


def _functions(kind: type) -> Iterator[Any]:
    for base in kind.__mro__[: kind.__mro__.index(LightningModule)]:
        yield from (value for value in vars(base).values() if inspect.isfunction(value))


@cache
def _passes_optimizer(kind: type) -> bool:
    """Whether `manual_backward` is called with more than a loss."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "manual_backward"
        and (len(node.args) > 1 or any(word.arg in ("optimizer", "opt") for word in node.keywords))
        for function in _functions(kind)
        if "manual_backward" in function.__code__.co_names
        for node in ast.walk(_source(function))
    )


def _source(function: Callable[..., Any]) -> ast.AST:
    """The code of a function; nothing where its file is not there."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError):
        return ast.Module([], [])


def never_calls_closure(override: Callable[..., Any]) -> bool:
    """Whether an `optimizer_step` makes no use of the closure that it is given, or takes none."""
    code = getattr(override, "__code__", None)
    closures = {"optimizer_closure", "second_order_closure", "closure", "args", "kwargs"}
    names = closures & set(getattr(code, "co_varnames", ()))
    return code is not None and not any(
        isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names
        for node in ast.walk(_source(override))
    )
