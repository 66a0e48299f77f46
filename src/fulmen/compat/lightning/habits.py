"""Ways of working that no signature shows, read off the code of a module."""

from __future__ import annotations

import ast
import dis
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from fulmen.compat.lightning.versions import Spelling
from fulmen.compat.spelling import say_modern

if TYPE_CHECKING:
    from fulmen.compat.lightning.arguments import OldSettings
    from fulmen.engine.run import Run

OPTIMIZER_TO_BACKWARD = Spelling(
    "self.manual_backward(loss, optimizer)", last="1.3", modern="self.manual_backward(loss)"
)
NEVER_CLEARS = Spelling(
    "manual optimization that never clears gradients", "1.1", "1.1", "optimizer.zero_grad() before backward"
)
TRAINER_STEPS = Spelling(
    "Trainer(gradient_clip_val=, accumulate_grad_batches=) in manual optimization", last="1.1",
    modern="self.clip_gradients(optimizer, ...) and optimizer.step() every n batches",
)  # fmt: skip
FILLS_RESULTS = Spelling("TrainResult or EvalResult", last="1.1", modern="self.log(name, value)")
METRIC_IS_RETURNED = Spelling(
    "a metric that `validation_step` returns and a callback monitors",
    last="1.1",
    modern="self.log(name, value)",
)
LOGS_BY_RETURNING = Spelling(
    "return {'log': ..., 'progress_bar': ...}", modern="self.log(name, value, prog_bar=True)"
)
"""Of the versions that read those keys, none is asked for: they are logged in all."""

COUNTS = (
    (
        "global_step", ("on_train_batch_end", "on_batch_end", "validation_step", "on_validation_end"),
        "global_step - 1, as a step is counted at once",
    ),
    ("current_epoch", ("on_train_end", "on_fit_end"), "current_epoch - 1, as the last epoch is over"),
)  # fmt: skip
"""What was counted later up to 1.5: the name, where it is read, and what gives the old number."""

HABITS = (
    OPTIMIZER_TO_BACKWARD, NEVER_CLEARS, TRAINER_STEPS, FILLS_RESULTS, METRIC_IS_RETURNED, LOGS_BY_RETURNING,
)  # fmt: skip


def habits_of(run: Run, settings: OldSettings) -> list[Spelling]:
    """Those that decide as what a run's module is run."""
    module = run.module
    words = words_of(type(module))
    found: list[Spelling] = []
    if words & {"TrainResult", "EvalResult"}:
        found.append(FILLS_RESULTS)
    if _monitors_what_is_returned(run):
        found.append(METRIC_IS_RETURNED)
    if module.automatic_optimization and settings.automatic_optimization:
        return found
    if _passes_optimizer(type(module)):
        found.append(OPTIMIZER_TO_BACKWARD)
    if "manual_backward" in words and "step" in words and not words & {"zero_grad", "optimizer_zero_grad"}:
        found.append(NEVER_CLEARS)
    options = run.trainer._step
    if (found or not settings.automatic_optimization) and (
        options.gradient_clip_val or options.accumulate_grad_batches > 1
    ):
        found.append(TRAINER_STEPS)
    return found


def say_what_counts_otherwise(owner: Any) -> None:
    """Name the methods that read a number that was another one up to 1.5."""
    for name, methods, modern in COUNTS:
        for method in methods:
            code = getattr(inspect.unwrap(getattr(type(owner), method, owner)), "__code__", None)
            if code is not None and name in _names_in(code):
                say_modern(f"{name} in `{type(owner).__name__}.{method}`", modern)


def _monitors_what_is_returned(run: Run) -> bool:
    """Whether a callback follows what stands in the code of `validation_step`, while nobody logs anything."""
    monitored = {vars(callback).get("monitor") for callback in run.callbacks} - {None}
    if not monitored:
        return False
    owners = (type(run.module), *map(type, run.callbacks))
    if any(words_of(owner) & {"log", "log_dict", "log_metrics"} for owner in owners):
        return False
    if monitored & {"early_stop_on", "checkpoint_on"}:
        monitored.add("val_loss")
    return bool(monitored & _constants(type(run.module).validation_step))


@cache
def logs_by_returning(kind: type) -> bool:
    """Whether the code of `training_step` speaks of the keys that once logged."""
    words = _constants(kind.training_step)  # pyright: ignore[reportAttributeAccessIssue]
    return any(key in words for key in ("log", "progress_bar"))


def _constants(function: Any) -> set[Any]:
    """What stands in the code of a function, the keys of its dicts among it."""
    constants = getattr(getattr(inspect.unwrap(function), "__code__", None), "co_consts", ())
    groups = (constant if isinstance(constant, tuple) else (constant,) for constant in constants)
    return {word for group in groups for word in group}


@cache
def words_of(kind: type) -> set[str]:
    """The names that the methods of a user's class use."""
    return {name for function in _functions(kind) for name in _names_in(function.__code__)}


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:  # functions in it
        if isinstance(inner, CodeType):
            yield from _names_in(inner)


def _functions(kind: type) -> Iterator[Any]:
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in ("fulmen", "torch", "builtins"):
            continue
        own = (inspect.unwrap(value) for value in vars(base).values() if inspect.isfunction(value))
        yield from (function for function in own if inspect.isfunction(function))


@cache
def _passes_optimizer(kind: type) -> bool:
    """Whether `manual_backward` is called with more than a loss."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "manual_backward"
        and (len(node.args) > 1 or any(word.arg in ("optimizer", "opt") for word in node.keywords))
        for function in _functions(kind)
        if "manual_backward" in _names_in(function.__code__)
        for node in ast.walk(_source(function))
    )


def _source(function: Callable[..., Any]) -> ast.AST:
    """The code of a function; nothing where its file is not there."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError):
        return ast.Module([], [])


def asks_whether(frame: FrameType) -> bool:
    """Whether code that is reading an attribute only wants to know whether that is anything.

    That is told by the next instruction: a jump, a negation or a comparison with None.
    """
    following = [i for i in dis.get_instructions(frame.f_code) if i.offset > frame.f_lasti]
    names = [i.opname for i in following if i.opname not in ("CACHE", "COPY", "EXTENDED_ARG", "NOP")]
    if names[:1] == ["LOAD_CONST"]:
        return names[1:2] == ["IS_OP"]
    return any(("JUMP" in name and "_IF_" in name) or name in ("UNARY_NOT", "TO_BOOL") for name in names[:1])


def never_calls_closure(override: Callable[..., Any]) -> bool:
    """Whether an `optimizer_step` makes no use of the closure that it is given, or takes none."""
    function: Any = inspect.unwrap(override)
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    names = {
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if "closure" in name or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    loaded = (i.argval for i in dis.get_instructions(code) if "LOAD_FAST" in i.opname)  # one, or a pair
    used = {name for value in loaded for name in (value if isinstance(value, tuple) else (value,))}
    return not names & {*used, *code.co_cellvars}
