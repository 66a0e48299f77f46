"""How a value is to be logged."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

_COMPARED = (bool, int, float, complex, str, bytes, CodeType, MethodType)
"""The types of what is the same where it is equal."""


class LogArguments(NamedTuple):
    """The arguments of `LightningModule.log` that have to be the same in each call for one name."""

    prog_bar: bool = False
    logger: bool | None = None
    on_step: bool | None = None
    on_epoch: bool | None = None
    reduce_fx: Any = "mean"
    enable_graph: bool = False
    sync_dist: bool = False
    add_dataloader_idx: bool = True
    rank_zero_only: bool = False

    def say_the_same_as(self, other: LogArguments) -> bool:
        """Whether all are equal, or `reduce_fx` is a lambda, or its like, that each call makes anew."""
        one, two = (tuple(_parts(arguments.reduce_fx)) for arguments in (self, other))
        return (
            self._replace(reduce_fx=None) == other._replace(reduce_fx=None)
            and len(one) == len(two)
            and all(map(_are_the_same, one, two))
        )

    def __str__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())


def _parts(reduction: Any) -> Iterator[Any]:
    """What a reduction does: of a function its code, and all that it holds."""
    if isinstance(reduction, FunctionType):
        yield reduction.__code__
        yield from reduction.__defaults__ or ()
        yield from (reduction.__kwdefaults__ or {}).values()
        yield from (cell.cell_contents for cell in reduction.__closure__ or ())
    elif isinstance(reduction, partial):
        yield from (reduction.func, *reduction.args)
        yield from (part for pair in sorted(reduction.keywords.items()) for part in pair)
    else:
        yield reduction


def _are_the_same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and isinstance(one, _COMPARED) and one == other)
