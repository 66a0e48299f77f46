"""Names that stand for one of several classes or functions, by task."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from fulmen.metrics.arguments import check_among

TaskName = Literal["binary", "multiclass", "multilabel"]

Signature = TypeVar("Signature", bound=Callable[..., Any])


def by_task(*kinds: Callable[..., Any]) -> Callable[[Signature], Signature]:
    """Make a function of its signature alone: it calls one of these with those arguments that this one takes.

    They are that of the binary, the multiclass and, if there is one, the multilabel task.
    """
    of_task = dict(zip(("binary", "multiclass", "multilabel"), kinds, strict=False))
    taken = {task: inspect.signature(kind).parameters.keys() for task, kind in of_task.items()}

    def decorate(interface: Any) -> Any:
        parameters = inspect.signature(interface).parameters
        defaults = {p.name: p.default for p in parameters.values() if p.default is not p.empty}

        @functools.wraps(interface)
        def choose(*args: Any, **kwargs: Any) -> Any:
            interface(*args, **kwargs)  # which does nothing, and raises where arguments do not fit
            given = defaults | dict(zip(parameters, args, strict=False)) | kwargs
            task = given["task"]
            check_among("task", task, tuple(of_task))
            its_own = taken[task]
            return of_task[task](**{k: v for k, v in given.items() if k in its_own or k not in parameters})

        return choose

    return decorate
