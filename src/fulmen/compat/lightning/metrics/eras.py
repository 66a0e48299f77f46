"""What versions of `pytorch_lightning.metrics` disagree about, and how it is decided.

A signature that fits the call decides where one version alone has it. Else the declared version does; with
none declared, things are as in the newest version that takes the call, and where another one would have given
other numbers, a warning says so.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, NewType

from torch import Tensor

from fulmen.compat.lightning.versions import VERSIONS, declared
from fulmen.compat.spelling import say_modern
from fulmen.errors import UnknownArgumentError

NEWEST = "1.4"
"""The last version that had metrics."""

Threshold = NewType("Threshold", float)
"""A float and no int, which tells a threshold from a number of classes."""
SampleWeights = Tensor | Sequence[float]


def version() -> str | None:
    """The version that was declared, or the last one with metrics, if that was before; None: undeclared."""
    given = declared()
    return given and min(given, NEWEST, key=VERSIONS.index)


# ------------------------------------------------------------------------- the same spelling, other numbers


@dataclass(frozen=True)
class Change:
    """Numbers that versions disagree about although a script is spelled the same."""

    what: str
    last: str
    """The last version that had them as `before`."""
    before: str
    after: str
    is_offered: bool = True
    """Whether they can be had as before."""

    def is_undone(self, matters: bool | Callable[[], bool] = True) -> bool:
        """Whether it is as before. Where that is not declared it is as after, which is said if it matters."""
        given = version()
        if given is not None:
            return VERSIONS.index(given) <= VERSIONS.index(self.last)
        if matters if isinstance(matters, bool) else matters():
            self.say()
        return False

    def say(self) -> None:
        """Warn that versions disagree."""
        wish = f"; to have that, `fulmen run --as {self.last}`" if self.is_offered else ""
        say_modern(
            f"{self.what}, on which versions of pytorch_lightning.metrics disagree,",
            f"{self.after}. Up to {self.last}: {self.before}{wish}",
        )


RESETTING_COMPUTE = Change(
    "`Metric.update` after `compute` without `reset`", "1.1",
    "`compute` resets the metric", "batches are added to those of before",
)  # fmt: skip
ABSENT_CLASSES = Change(
    "The average over classes some of which are neither true nor predicted", "1.3",
    "they have the score 0", "they are left out, and NaN where no average is taken",
)  # fmt: skip
BINARY_LABELS = Change(
    "`Precision()` and `Recall()` of labels 0 and 1, without `num_classes`", "1.1",
    "scores of class 1", "scores of both classes (num_classes=1 gives those of class 1)",
)  # fmt: skip
SCORES_AS_LABELS = Change(
    "A function given scores of the shape of `target`", "1.1",
    "they are cut off to labels, nearly all 0", "they are compared with the threshold",
)  # fmt: skip
IGNORED_CLASS = Change(
    "`ignore_index` of IoU", "1.3",
    "the class has no score", "where it is true, positions count for no other class either",
)  # fmt: skip
SMOOTHED_WORDS = Change(
    "`smooth=True` of `bleu_score`", "1.2",
    "single words are smoothed too", "single words are not smoothed",
)  # fmt: skip
LABELS_APART = Change(
    "A curve or average precision of several labels", "1.2",
    "one of all labels together", "one for each label",
)  # fmt: skip
AUC_OF_DISORDER = Change(
    "`auc` of points that are in no order", "1.0",
    "the same", "they are sorted, which 1.1 to 1.4 do only if `reorder=True` asks for it",
)  # fmt: skip
NO_COUNTS = Change(
    "`Precision()` and `Recall()` of several classes, without `num_classes`", "1.1",
    "labels are added up as if they were numbers, which makes scores above 1",
    "the score of all classes together", is_offered=False,
)  # fmt: skip
OBLONG_WINDOW = Change(
    "`ssim` with a window that is no square", "1.3",
    "the same", "half the window is left out at the border, while 1.4 takes the other half", is_offered=False,
)  # fmt: skip
IS_MULTICLASS = Change(
    "`is_multiclass` of precision and recall", "1.3",
    "the same", "it is heeded, which 1.4 does not", is_offered=False,
)  # fmt: skip
CATEGORICAL_DIM = Change(
    "`argmax_dim` of `to_categorical`", "1.2",
    "1.1 and 1.2 do not heed it", "the dimension is the one that is given", is_offered=False,
)  # fmt: skip
AVERAGE_OF_WEIGHTS = Change(
    "`sample_weights` of `average_precision`", "1.4",
    "from 1.1 on they are not heeded", "samples have their weights", is_offered=False,
)  # fmt: skip
PSNR_REDUCTION = Change(
    "`reduction` of `psnr` without `dim`", "1.0",
    "1.0.0 reduces squared errors, 1.0.8 nothing",
    "with 1.0 declared, with `pred=` or `return_state=`, squared errors are reduced; else nothing is",
)  # fmt: skip


CHANGES = (
    RESETTING_COMPUTE, ABSENT_CLASSES, BINARY_LABELS, SCORES_AS_LABELS, NO_COUNTS, IS_MULTICLASS,
    IGNORED_CLASS, LABELS_APART, AUC_OF_DISORDER, AVERAGE_OF_WEIGHTS, PSNR_REDUCTION, OBLONG_WINDOW,
    SMOOTHED_WORDS, CATEGORICAL_DIM,
)  # fmt: skip
"""All that versions disagree about."""


# ---------------------------------------------------------------------------------------- several signatures

ALIASES = {
    "pred": "preds",
    "preds": "pred",
    "sample_weight": "sample_weights",
    "sample_weights": "sample_weight",
}


def by_version(
    name: str,
    variants: Mapping[str, Callable[..., Any]],
    change: Change | None = None,
    matters: Callable[[Mapping[str, Any]], bool] = lambda _: False,
) -> Callable[..., Any]:
    """The function `name`, of which versions have different forms, each given with the first version of it.

    `change` says how forms that a call fits differ in numbers, where `matters(arguments)`.
    """
    by_age = [variants[first] for first in sorted(variants, key=VERSIONS.index, reverse=True)]
    newest = by_age[0]

    @functools.wraps(newest)
    def of_version(*args: Any, **kwargs: Any) -> Any:
        preferred = [form for form in [_of_declared(variants)] if form]
        forms = [*preferred, *(form for form in by_age if form not in preferred)]
        fitting = _fitting(forms, args, kwargs) or _fitting(forms, args, kwargs, rename=True)
        if not fitting:
            raise UnknownArgumentError(
                f"No version of `{name}` takes these arguments.",
                received=", ".join([*(type(arg).__name__ for arg in args), *(f"{arg}=" for arg in kwargs)]),
                expected="; or ".join(map(written, by_age)),
            )
        form, bound = fitting[0]
        if change and not preferred and len(fitting) > 1 and matters(bound.arguments):
            change.say()
        return form(*bound.args, **bound.kwargs)

    of_version.__name__ = of_version.__qualname__ = name
    vars(of_version)["variants"] = dict(variants)
    return of_version


def written(call: Callable[..., Any]) -> str:
    """The arguments of a function or class as Python writes them, without those that all metrics take."""
    parameters = inspect.signature(call).parameters.values()
    own = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in own)


def accepting(**old_names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a function so that arguments may have names of other versions: `accepting(pred="preds")`."""

    def decorate(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def accepting_all(*args: Any, **kwargs: Any) -> Any:
            return call(*args, **{old_names.get(name, name): value for name, value in kwargs.items()})

        vars(accepting_all)["old_names"] = old_names
        return accepting_all

    return decorate


def _of_declared(variants: Mapping[str, Callable[..., Any]]) -> Callable[..., Any] | None:
    given = version()
    if given is None:
        return None
    known = [first for first in variants if VERSIONS.index(first) <= VERSIONS.index(given)]
    return variants[max(known, key=VERSIONS.index)] if known else None


def _fitting(
    forms: Sequence[Callable[..., Any]],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    rename: bool = False,
) -> list[tuple[Callable[..., Any], inspect.BoundArguments]]:
    """The forms that take these arguments, maybe under the names of another version; and those of each."""
    return [(form, bound) for form in forms if (bound := _bound(form, args, kwargs, rename))]


def _bound(
    form: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], rename: bool
) -> inspect.BoundArguments | None:
    """The arguments as those of one form, or None if it does not take them."""
    signature, hints = _signature(form)
    if rename:
        kwargs = {name if name in hints else ALIASES.get(name, name): value for name, value in kwargs.items()}
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return None
    fits = all(_fits(value, hints[name]) for name, value in bound.arguments.items())
    bound.apply_defaults()
    return bound if fits else None


@functools.cache
def _signature(form: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    return inspect.signature(form), typing.get_type_hints(form)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value may be meant for an argument of this type."""
    if isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union:
        return any(_fits(value, option) for option in typing.get_args(hint))
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    if hint is Threshold:
        return isinstance(value, float)
    if hint in (bool, str, Tensor, NoneType):
        return isinstance(value, hint)
    if typing.get_origin(hint) is Sequence:
        return isinstance(value, Iterable) and not isinstance(value, str)
    return True
