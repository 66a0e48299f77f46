"""Models that `torch.compile` was given: steps are compiled, and what they say to the Trainer is not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from fulmen.engine.run import Run

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]
"""What makes a compiled function of another, with the options that were given."""

_SAID = (
    "all_gather", "clip_gradients", "log", "log_dict", "lr_schedulers", "manual_backward", "optimizers",
    "print", "toggle_optimizer", "untoggle_optimizer",
)  # fmt: skip
"""What steps say to the Trainer: it would be compiled anew wherever a number in it is another one."""


def within_compiled(model: Any, last: Run | None) -> tuple[Any, Compile | None]:
    """The module that `torch.compile` was given, and how it compiles; another model as it is.

    A module that was compiled in the `last` run stays so.
    """
    dynamo = sys.modules.get("torch._dynamo")  # which takes a second to import, and is there if it was used
    if dynamo is not None and isinstance(model, dynamo.OptimizedModule):
        return model._orig_mod, model.dynamo_ctx
    return model, last.compile if last is not None and last.module is model else None


@contextmanager
def compiled_calls(run: Run) -> Iterator[None]:
    """Inside, `module(...)` is compiled if the model was, and what steps say to the Trainer breaks graphs."""
    if run.compile is None:
        yield
        return
    own, module = vars(run.module), run.module
    replaced = {name: torch.compiler.disable(getattr(module, name)) for name in _SAID}
    replaced["_compiled_call_impl"] = run.compile(module._call_impl)  # as `nn.Module.compile` has it
    before = {name: own[name] for name in replaced if name in own}
    own.update(replaced)
    try:
        yield
    finally:
        for name in replaced:
            own.pop(name, None)
        own.update(before)
