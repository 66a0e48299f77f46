"""Ways of working that no signature shows, read off the code of a module."""

from __future__ import annotations

import ast
import dis
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
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

WRAPPED = "outputs[0][0]['extra']"
FLAT = "outputs[0]['loss']"
"""How hooks read what steps have returned."""


@dataclass(frozen=True)
class Count(Spelling):
    """A number that was another one in some hooks; `modern` gives what it was."""

    hooks: tuple[str, ...] = ()


_STEP = "global_step - 1, as a step is counted at once"
_RATE = "the rate in on_train_epoch_start, as schedulers step with the last batch"
_EPOCH_ENDS = ("training_epoch_end", "on_train_epoch_end", "on_epoch_end")
COUNTS = (
    Count(
        "global_step", last="1.5", modern=_STEP,
        hooks=("on_train_batch_end", "on_batch_end", "on_validation_start", "on_validation_epoch_start",
               "on_validation_batch_start", "validation_step", "validation_step_end",
               "on_validation_batch_end", "validation_epoch_end", "on_validation_epoch_end",
               "on_validation_end", "on_validation_model_eval", "on_validation_model_train",
               "on_epoch_end", "on_save_checkpoint"),
    ),
    Count("global_step", last="1.3", modern=_STEP, hooks=("training_epoch_end", "on_train_epoch_end")),
    Count("current_epoch", last="1.5", modern="current_epoch - 1, as the last epoch is over",
          hooks=("on_train_end", "on_fit_end", "teardown")),
    Count("param_groups", last="1.3", modern=_RATE, hooks=_EPOCH_ENDS),
    Count("get_last_lr", last="1.3", modern=_RATE, hooks=_EPOCH_ENDS),
    Count("get_lr", last="1.3", modern=_RATE, hooks=_EPOCH_ENDS),
)  # fmt: skip
"""What was counted later once, or steps earlier now: by name, in the hooks that may read it."""

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


def is_ours(made: Any) -> bool:
    """Whether a class or function is this package's own."""
    return str(getattr(made, "__module__", "")).startswith("fulmen.")


def say_what_counts_otherwise(owner: Any, version: str) -> None:
    """Name the methods that read a number that was another one in `version`."""
    for count in COUNTS:
        for hook in count.hooks if version in count.versions else ():
            method = inspect.unwrap(getattr(type(owner), hook, owner))
            code = getattr(method, "__code__", None)
            if code is not None and not is_ours(method) and count.name in _names_in(code):
                say_modern(f"{count.name} in `{type(owner).__name__}.{hook}`", count.modern)


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
    """Whether the code of a class, whichever method of it, speaks of the keys that once logged."""
    return any({"log", "progress_bar"} & _constants(function) for function in _functions(kind))


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


def how_outputs_are_read(hook: Callable[..., Any], place: int) -> str:
    """How a hook reads its `outputs`, which are at `place`: `WRAPPED`, `FLAT` or, where it does not, ""."""
    code = getattr(inspect.unwrap(hook), "__code__", None)
    if code is None:
        return ""
    parameter = [*inspect.signature(hook).parameters][place]
    words = {*_names_in(code), *_constants(hook)}
    followers = _after_loads_of(parameter, code)
    if words & {"extra", "minimize"} and "extra" not in followers:
        return WRAPPED
    return FLAT if followers and hook.__name__ not in words else ""


def _after_loads_of(name: str, code: CodeType) -> list[Any]:
    """What the instructions are about that come after the loads of a variable, in inner functions too."""
    found: list[Any] = []
    for one, following in pairwise(dis.get_instructions(code)):
        loaded = one.argval if isinstance(one.argval, tuple) else (one.argval,)  # one, or a pair
        if one.opname.startswith("LOAD") and name in loaded:
            found.append(following.argval)
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return [*found, *(value for function in inner for value in _after_loads_of(name, function))]


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
