"""When two calls of `log` say the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from fulmen.core.log_arguments import LogArguments

Maker = Callable[..., Any]


class Reducer:
    def greatest(self, values: Tensor) -> Tensor:
        return values.max()


def plain(values: Tensor) -> Tensor:
    return values.max()


REDUCER = Reducer()


def over(bound: Any) -> Any:
    return lambda values: values.clamp(max=bound).max()


def by_default(bound: Any) -> Any:
    return lambda values, most=bound: values.clamp(max=most).max()


def by_keyword(bound: Any) -> Any:
    def reduce(values: Tensor, *, most: Any = bound) -> Tensor:
        return values.clamp(max=most).max()

    return reduce


def by_partial(bound: Any) -> Any:
    return partial(torch.clamp, max=bound)


def by_position(bound: Any) -> Any:
    return partial(pow, bound)


MAKERS: dict[str, Maker] = {
    maker.__name__: maker for maker in (over, by_default, by_keyword, by_partial, by_position)
}


def say_the_same(one: Any, other: Any) -> bool:
    return LogArguments(reduce_fx=one).say_the_same_as(LogArguments(reduce_fx=other))


@pytest.mark.parametrize("made", MAKERS)
def test_functions_made_twice_are_the_same_where_they_hold_the_same(made: str) -> None:
    make = MAKERS[made]
    assert make(2.0) is not make(2.0)
    assert say_the_same(make(2.0), make(2.0))
    assert say_the_same(make("a"), make("a"))
    assert not say_the_same(make(2.0), make(3.0))
    assert not say_the_same(make(1), make(True))


@pytest.mark.parametrize("made", MAKERS)
def test_objects_that_they_hold_are_the_same_where_they_are_one(made: str) -> None:
    make, tensor = MAKERS[made], torch.ones(2)
    assert say_the_same(make(tensor), make(tensor))
    assert not say_the_same(make(tensor), make(tensor.clone()))


def test_bound_methods_are_the_same_where_their_object_is() -> None:
    assert say_the_same(REDUCER.greatest, REDUCER.greatest)
    assert not say_the_same(REDUCER.greatest, Reducer().greatest)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mean", "max"),
        ("mean", plain),
        (lambda values: values.max(), lambda values: values.min()),
        (partial(torch.clamp, max=1.0), torch.clamp),
        (partial(torch.clamp, max=1.0), partial(torch.clamp, min=1.0)),
        (partial(torch.clamp, max=1.0), partial(torch.clip, max=1.0)),
    ],
)
def test_what_does_something_else_is_not_the_same(one: Any, other: Any) -> None:
    assert not say_the_same(one, other)


def test_the_other_arguments_count_as_well() -> None:
    given = LogArguments(reduce_fx=over(1.0))
    assert given.say_the_same_as(given._replace(reduce_fx=over(1.0)))
    assert not given.say_the_same_as(given._replace(reduce_fx=over(1.0), prog_bar=True))
